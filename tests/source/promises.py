# SPDX-License-Identifier: Apache-2.0
"""The tests that the pages name are there: a promise whose test was renamed would be held by nobody.

A page names a file or folder in backticks (`tests/...`, or below `tests/`), a function of a Python test in
backticks (`test_...`), and a title of a C++ test in double quotes: several
words in double quotes are nothing else.

usage: promises.py JUNIT_FILE
"""
import re
import sys

import report

PAGES = ("docs/semantics.md", "docs/complaints.md")


def titles(text):
    """Of the test cases of a C++ file; a title may be cut into several literals."""
    found = re.findall(r'TEST_CASE\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)', text)
    return {"".join(re.findall(r'"((?:[^"\\]|\\.)*)"', one)) for one in found}


def functions(text):
    return set(re.findall(r"^def (test_\w+)", text, flags=re.MULTILINE))


def missing(page, text, known):
    """`known`: titles and functions. Lines that tell what is not there."""
    text = re.sub(r"\s+", " ", text)
    lines = [f"{page}: no test {name}" for name in re.findall(r"`(test_\w+)`", text) if name not in known]
    lines += [f'{page}: no test "{title}"' for title in re.findall(r'"([^"]*)"', text)
              if " " in title and title not in known]
    for name in re.findall(r"`(?:tests/)?([\w/]+/[\w.]+_test\.cc|mount/\w+\.py)`", text):
        if not (report.ROOT / "tests" / name).exists():
            lines.append(f"{page}: no tests/{name}")
    return lines


def self_test():
    code = 'TEST_CASE("one that is here") {}\nTEST_CASE(\n    "one that is "\n    "cut") {}\n'
    known = titles(code) | functions("def test_here(x):\n")
    good = 'it is ("one that is here", "one that is\ncut") and `test_here` in `tests/vfs/vfs_test.cc`'
    bad = ('"one that is gone"', "`test_gone`", "`tests/vfs/gone_test.cc`", "`mount/test_gone.py`")
    wrong = [f"took {text}" for text in bad if not missing("page", text, known)]
    return wrong + missing("page", good, known)


def main():
    known = set()
    for path in report.files(("tests",), (".cc",)):
        known |= titles(report.read(path))
    for path in report.files(("tests",), (".py",)):
        known |= functions(report.read(path))
    cases = {"the check tells good from bad": self_test()}
    for page in PAGES:
        cases[f"each test that {page} names is there"] = missing(page, report.read(page), known)
    report.finish("promises", cases, sys.argv[1])


if __name__ == "__main__":
    main()
