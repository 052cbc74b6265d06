# SPDX-License-Identifier: Apache-2.0
"""The habits of the source that a machine can see.

usage: tidy.py JUNIT_FILE
"""
import pathlib
import re
import sys

import report

LONGEST_LINE = 100
LONGEST_PYTHON_LINE = 120
LONGEST_FILE = 600
SPDX = "SPDX-License-Identifier: Apache-2.0"

# What may not be said, where, and why. Comments do not count, but for the first.
WORDS = (
    (r"\b(TODO|FIXME|XXX)\b", r"", "write it or leave it"),
    (r"\bstd::(recursive_)?mutex\b|\bstd::condition_variable\b", r"^src/(?!base/)",
     "base/mutex.h has the locks that are ranked and annotated"),
    (r"\b(sleep|usleep|nanosleep)\(|\bsleep_(for|until)\b", r"^tests/", "tests wait on counters"),
    (r"\b(steady|system|high_resolution)_clock::now\b|\bclock_gettime\(", r"^(?!src/base/)",
     "time comes from a Clock"),
    (r"\bs?rand\(|\bstd::random_device\b", r"^(?!src/base/)", "chance comes from a Seed"),
    (r"\busing namespace std\b", r"", "std:: is short enough"),
    (r"\bthrow\b", r"^(src|fuse)/", "errors are values"),
)


def markdown_files():
    return [path for path in report.files((".",), (".md",))
            if not any(part.startswith(("build", ".")) for part in path.parts[:-1])]


def scripts():
    """Shell and Python without a suffix are known by their first line."""
    found = report.files(("tests", "tools"), (".py", ".sh"))
    for folder in ("tools", ".ci"):
        if not (report.ROOT / folder).is_dir():
            continue
        for path in sorted((report.ROOT / folder).iterdir()):
            if path.is_file() and path.suffix == "" and path.read_bytes().startswith(b"#!"):
                found.append(path.relative_to(report.ROOT))
    return found


def without_comments(text):
    """The same lines, without // comments."""
    return re.sub(r"//[^\n]*", "", text)


def long_lines(path, text):
    """Tables that clang-format is told to leave, and text that is compared as it is, may be wide."""
    limit = LONGEST_PYTHON_LINE if str(path).endswith(".py") else LONGEST_LINE
    text = re.sub(r"// clang-format off.*?// clang-format on", blanked, text, flags=re.DOTALL)
    text = re.sub(r'R"\((.*?)\)"', blanked, text, flags=re.DOTALL)
    return [f"{path}:{number}: {len(line)} columns"
            for number, line in enumerate(text.splitlines(), 1) if len(line) > limit]


def blanked(found):
    return "\n" * found.group(0).count("\n")


def tabs(path, text):
    return [f"{path}:{number}: a tab" for number, line in enumerate(text.splitlines(), 1)
            if "\t" in line]


def length(path, text):
    lines = text.count("\n")
    return [f"{path}: {lines} lines, more than {LONGEST_FILE}"] if lines > LONGEST_FILE else []


def licence(path, text):
    first = [line for line in text.splitlines()[:2] if not line.startswith("#!")]
    return [] if first and SPDX in first[0] else [f"{path}:1: the SPDX line is not on top"]


def words(path, text):
    found = []
    for index, (pattern, where, why) in enumerate(WORDS):
        if not re.search(where, str(path)):
            continue
        searched = text if index == 0 else without_comments(text)
        for number, line in enumerate(searched.splitlines(), 1):
            match = re.search(pattern, line)
            if match:
                found.append(f"{path}:{number}: {match.group(0)}: {why}")
    return found


def titles(path, text):
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    count = len(re.findall(r"^# \S", outside, flags=re.MULTILINE))
    return [] if count == 1 else [f"{path}: {count} titles"]


def named_sources(folder, text):
    """The .cc files that a meson.build names, also by a foreach: name + '_test.cc'."""
    named = set()
    loops = {name: re.findall(r"'([^']*)'", values) for name, values in
             re.findall(r"foreach\s+(\w+)\s*:\s*\[(.*?)\]", text, flags=re.DOTALL)}
    for variable, ending in re.findall(r"(\w+)\s*\+\s*'([^']*\.cc)'", text):
        named |= {value + ending for value in loops.get(variable, [])}
    named |= set(re.findall(r"'([^']*\.cc)'", text))
    return {(report.ROOT / folder / name).resolve() for name in named}


def orphans(sources):
    named = set()
    for path in report.files(report.CODE_FOLDERS, ("meson.build",)):
        named |= named_sources(path.parent, report.read(path))
    return [f"{path}: no meson.build names it" for path in sources
            if path.suffix == ".cc" and (report.ROOT / path).resolve() not in named]


def self_test():
    path = pathlib.Path("src/store/a.cc")
    test = pathlib.Path("tests/a.cc")
    bad = (
        (long_lines, path, "x" * 101), (tabs, path, "\tx"), (length, path, "\n" * 601),
        (licence, path, "int x;\n"), (words, path, "// TO" "DO later"),
        (words, path, "std::mutex m;"), (words, path, "auto n = std::chrono::steady_clock::now();"),
        (words, path, "int n = rand();"), (words, test, "std::this_thread::sleep_for(1s);"),
        (words, path, "throw 1;"), (titles, path, "# a\n# b\n"), (titles, path, "## a\n"),
    )
    good = (
        (long_lines, path, "x" * 100), (length, path, "\n" * 600),
        (licence, path, f"// {SPDX}\n"), (licence, path, f"#!/bin/sh\n# {SPDX}\n"),
        (words, path, "int operand(int); // a mutex, std::mutex, is elsewhere"),
        (words, pathlib.Path("src/base/mutex.h"), "std::mutex m;"),
        (words, path, "const Clock& clock = system_clock();"),
        (titles, path, "# a\n```\n# no title\n```\n## b\n"),
    )
    wrong = [f"{check.__name__} took {text[:40]!r}" for check, place, text in bad
             if not check(place, text)]
    wrong += [f"{check.__name__} refused {text[:40]!r}" for check, place, text in good
              if check(place, text)]
    made = named_sources("tests", "foreach n : ['a', 'b']\n x(n + '_t.cc', 'c.cc')\nendforeach")
    expected = {(report.ROOT / "tests" / name).resolve() for name in ("a_t.cc", "b_t.cc", "c.cc")}
    if not expected <= made:
        wrong.append("named_sources did not see what a foreach makes")
    return wrong


def main():
    sources = report.code_files()
    all_text = {path: report.read(path) for path in sources + scripts()}
    code_text = {path: all_text[path] for path in sources}

    def over(texts, check):
        return [complaint for path, text in texts.items() for complaint in check(path, text)]

    cases = {
        "the check tells good from bad": self_test(),
        f"no line is longer than {LONGEST_LINE} columns": over(all_text, long_lines),
        "no tabs": over(all_text, tabs),
        f"no file is longer than {LONGEST_FILE} lines": over(all_text, length),
        "the licence is on top of each file": over(all_text, licence),
        "no words that do not belong": over(code_text, words),
        "each .cc is named in a meson.build": orphans(sources),
        "each page has one title": over(
            {path: report.read(path) for path in markdown_files()}, titles),
    }
    report.finish("tidy", cases, sys.argv[1])


if __name__ == "__main__":
    main()
