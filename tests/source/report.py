# SPDX-License-Identifier: Apache-2.0
"""What the source tests share: the files of the project, and a JUnit file of what was found.

A test is a dictionary of cases: a sentence -> a list of complaints ("path:line: what is wrong"). A
case without complaints has passed.
"""
import os
import pathlib
import sys
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
CODE_FOLDERS = ("include", "src", "fuse", "tools", "tests")
CODE_SUFFIXES = (".h", ".cc")
SHOWN = 20


def files(folders, suffixes):
    """Paths relative to the root, sorted."""
    found = []
    for folder in folders:
        for path, _, names in os.walk(ROOT / folder):
            for name in names:
                if name.endswith(suffixes):
                    found.append((pathlib.Path(path) / name).relative_to(ROOT))
    return sorted(found)


def code_files(folders=CODE_FOLDERS):
    return files(folders, CODE_SUFFIXES)


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def write_junit(path, suite, cases):
    failures = sum(1 for complaints in cases.values() if complaints)
    root = ElementTree.Element("testsuites")
    node = ElementTree.SubElement(root, "testsuite", name=suite, tests=str(len(cases)),
                                  failures=str(failures), errors="0", skipped="0")
    for name, complaints in cases.items():
        case = ElementTree.SubElement(node, "testcase", classname=suite, name=name)
        if complaints:
            failure = ElementTree.SubElement(case, "failure", message=complaints[0])
            failure.text = "\n".join(complaints)
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def finish(suite, cases, junit_path):
    """Prints what is wrong, writes the JUnit file and leaves with 0 or 1."""
    for name, complaints in cases.items():
        if complaints:
            print(f"{suite}: {name}: {len(complaints)} breach(es)")
            for complaint in complaints[:SHOWN]:
                print(f"  {complaint}")
            if len(complaints) > SHOWN:
                print(f"  ... {len(complaints) - SHOWN} more in {junit_path}")
    write_junit(junit_path, suite, cases)
    failed = sum(1 for complaints in cases.values() if complaints)
    print(f"{suite}: {len(cases) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
