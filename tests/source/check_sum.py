# SPDX-License-Identifier: Apache-2.0
"""tools/check-sum counts what the tests said, and does not miss a program that died.

usage: check_sum.py JUNIT_FILE
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import report

CASE = '<testsuite><testcase classname="c" name="n">{}</testcase></testsuite>'
PASSED, FAILED = CASE.format(""), CASE.format('<failure message="no"/>')

# what it is -> (result of meson, exit code, JUnit file or None, the wanted last line)
PROGRAMS = {
    "a case that passed": ("OK", 0, PASSED, "1 passed, 0 failed, 0 skipped"),
    "a case that failed": ("FAIL", 1, FAILED, "0 passed, 1 failed, 0 skipped"),
    "a case with an error": ("FAIL", 1, CASE.format("<error/>"), "0 passed, 1 failed, 0 skipped"),
    "a case that was skipped": ("OK", 0, CASE.format('<skipped message="why"/>'),
                                "0 passed, 0 failed, 1 skipped"),
    "a program that died without a file": ("FAIL", -11, None, "0 passed, 1 failed, 0 skipped"),
    "a program that claims to be well but left no file": ("OK", 0, None,
                                                          "0 passed, 1 failed, 0 skipped"),
    "a program that left half a file": ("FAIL", -6, "<testsuite><test",
                                        "0 passed, 1 failed, 0 skipped"),
    "a program that failed after its cases": ("FAIL", 1, PASSED, "1 passed, 1 failed, 0 skipped"),
    "a program that took too long": ("TIMEOUT", -15, PASSED, "1 passed, 1 failed, 0 skipped"),
    "a program without cases": ("OK", 0, "<testsuite/>", "0 passed, 1 failed, 0 skipped"),
}


def run(folder, failures, log):
    (folder / "failures").write_text(failures, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-B", str(report.ROOT / "tools" / "check-sum"), str(folder / "failures"),
         str(log)], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[-1] if done.stdout else done.stderr, done.returncode


def complaints(program):
    result, code, junit, wanted = program
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        path = folder / "one.xml"
        if junit is not None:
            path.write_text(junit, encoding="utf-8")
        log = folder / "check.json"
        log.write_text(json.dumps({"name": "one", "result": result, "returncode": code,
                                   "command": ["one", "-o", str(path)]}) + "\n", encoding="utf-8")
        last, exit_code = run(folder, "", log)
        wrong = [] if last == wanted else [f"said {last!r}, not {wanted!r}"]
        if exit_code != (0 if " 0 failed" in wanted else 1):
            wrong.append(f"exit {exit_code}")
        return wrong


def without_tests():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        said = run(folder, "", folder / "gone.json")
        broken = run(folder, "release: build\n", folder / "gone.json")
    wrong = [] if said == ("0 passed, 1 failed, 0 skipped", 1) else [str(said)]
    return wrong + ([] if broken == ("0 passed, 2 failed, 0 skipped", 1) else [str(broken)])


def main():
    cases = {f"{what} is counted": complaints(program) for what, program in PROGRAMS.items()}
    cases["a run without any test fails"] = without_tests()
    report.finish("check-sum", cases, sys.argv[1])


if __name__ == "__main__":
    main()
