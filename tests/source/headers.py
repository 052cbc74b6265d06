# SPDX-License-Identifier: Apache-2.0
"""Each header of include/ and src/ compiles alone, with the project's warnings as errors.

usage: headers.py JUNIT_FILE CACHE_FILE COMPILER...

The cache holds, for each header that has compiled, the hash of the command and of every file that
it read: what has not changed is not compiled again.
"""
import concurrent.futures
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

import report

FLAGS = ("-std=c++20", "-fsyntax-only", "-D_GNU_SOURCE", "-DLARDER_CHECK_RANKS", "-Wall", "-Wextra",
         "-Werror", "-Wconversion", "-Wshadow", "-Wnon-virtual-dtor", "-Wswitch-enum", "-Wundef",
         "-Wold-style-cast", "-x", "c++")
PARALLEL = 2


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def dependencies_in(make_rule):
    words = make_rule.replace("\\\n", " ").split()
    return [word for word in words[1:] if word != "-" and pathlib.Path(word).is_file()]


def compile_text(compiler, text):
    """(what the compiler complains of, or "", and the project's files that it read)."""
    with tempfile.NamedTemporaryFile(suffix=".d") as rule:
        done = subprocess.run(
            [*compiler, *FLAGS, f"-I{report.ROOT / 'include'}", f"-I{report.ROOT / 'src'}",
             "-MMD", "-MT", "x:", "-MF", rule.name, "-"],
            input=text, capture_output=True, text=True, check=False)
        read = dependencies_in(pathlib.Path(rule.name).read_text(encoding="utf-8"))
    return ("" if done.returncode == 0 else done.stderr.strip() or "the compiler failed"), read


def name_to_include(path):
    """include/larder/fd.h -> larder/fd.h; src/base/mutex.h -> base/mutex.h"""
    return "/".join(str(path).split("/")[1:])


def check(compiler, path, known):
    """The complaint or "", and the new entry of the cache."""
    entry = known.get(str(path))
    if entry is not None and all(pathlib.Path(name).is_file() and digest(name) == value
                                 for name, value in entry.items()):
        return "", entry
    complaint, read = compile_text(compiler, f'#include "{name_to_include(path)}"\n')
    if not complaint and "#pragma once" not in report.read(path).splitlines():
        complaint = "#pragma once is missing"
    return complaint, None if complaint else {name: digest(name) for name in read}


def self_test(compiler):
    wrong = []
    if not compile_text(compiler, "inline std::string text() { return {}; }\n")[0]:
        wrong.append("a header that lacks an include was taken")
    if not compile_text(compiler, "inline int cut(long n) { return (int)n; }\n")[0]:
        wrong.append("a header with a warning was taken")
    if compile_text(compiler, "#include <larder/units.h>\n")[0]:
        wrong.append("a good header was refused")
    return wrong


def main():
    junit, cache_path, compiler = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
    command = hashlib.sha256(json.dumps([compiler, FLAGS]).encode()).hexdigest()
    known = {}
    if cache_path.is_file():
        cache = json.loads(cache_path.read_text(encoding="utf-8"))
        known = cache["headers"] if cache["command"] == command else {}

    headers = report.files(("include", "src"), (".h",))
    cases = {"the check tells good headers from bad ones": self_test(compiler)}
    good = {}
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        results = pool.map(lambda path: check(compiler, path, known), headers)
        for path, (complaint, entry) in zip(headers, results):
            cases[f"{path} compiles alone"] = [complaint] if complaint else []
            if entry is not None:
                good[str(path)] = entry
    cache_path.parent.mkdir(parents=True, exist_ok=True)
    cache_path.write_text(json.dumps({"command": command, "headers": good}), encoding="utf-8")
    report.finish("headers", cases, junit)


if __name__ == "__main__":
    main()
