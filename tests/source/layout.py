# SPDX-License-Identifier: Apache-2.0
"""The source is laid out as clang-format and .clang-format have it.

usage: layout.py JUNIT_FILE
"""
import subprocess
import sys

import report

AT_ONCE = 20


def misplaced(name, text):
    """True where clang-format would change the text of a file called `name`."""
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", f"--assume-filename={name}"],
                          cwd=report.ROOT, input=text, capture_output=True, text=True, check=False)
    return done.returncode != 0


def self_test():
    wrong = []
    if not misplaced("src/a.cc", "int  main( ){return 0 ;}\n"):
        wrong.append("a bad layout was taken")
    if misplaced("src/a.cc", "int main() { return 0; }\n"):
        wrong.append("a good layout was refused")
    return wrong


def complaints(paths):
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *map(str, paths)],
                          cwd=report.ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return []
    lines = [line for line in done.stderr.splitlines() if " error: " in line]
    first_of = {line.split(":")[0]: line for line in reversed(lines)}
    return sorted(first_of.values()) or [done.stderr.strip() or "clang-format failed"]


def main():
    try:
        version = subprocess.run(["clang-format", "--version"], capture_output=True, text=True,
                                 check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        report.finish("layout", {"clang-format runs": [f"{error}: tools/setup installs it"]},
                      sys.argv[1])
    print(version)
    paths = report.code_files()
    found = []
    for start in range(0, len(paths), AT_ONCE):
        found += complaints(paths[start:start + AT_ONCE])
    report.finish("layout", {
        "the check tells good from bad": self_test(),
        "each file is laid out as clang-format does it": found,
    }, sys.argv[1])


if __name__ == "__main__":
    main()
