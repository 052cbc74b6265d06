# SPDX-License-Identifier: Apache-2.0
"""Nothing of what .clang-tidy lists is in the sources.

usage: lint.py JUNIT_FILE BUILD_DIRECTORY

What was found good is kept below BUILD_DIRECTORY with the hashes of the files that it was made of, and is
looked at again only when one of these changes.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import report

FOLDERS = ("src/", "fuse/", "tools/")
PARALLEL = 2
COMPLAINT = re.compile(r"^(?P<where>[^ ]+:\d+):\d+: (?:error|warning): (?P<what>.*)$")
SEEDED = """#include <string>
struct Name { Name(std::string text); };
int cut(const char* text) { return *(int*)text; }
"""


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def tidy(build, source, extra=()):
    """Sorted complaints: "path:line: what is wrong"."""
    done = subprocess.run(
        ["clang-tidy", "-p", str(build), "--quiet", "--extra-arg=-Wno-unknown-warning-option", *extra, str(source)],
        cwd=build, capture_output=True, text=True, check=False)
    found = set()
    for line in done.stdout.splitlines():
        match = COMPLAINT.match(line)
        if match:
            path, number = match["where"].rsplit(":", 1)
            path = os.path.relpath(os.path.join(build, path), report.ROOT)
            found.add(f"{path}:{number}: {match['what']}")
    if done.returncode != 0 and not found:
        found.add(f"{source}: clang-tidy failed: {(done.stderr.strip() or 'it says nothing')[-300:]}")
    return sorted(found)


def sources_of(build):
    """Source (relative to the root) -> the project's files that it is compiled from, as ninja knows them."""
    entries = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    objects = {entry["output"]: os.path.relpath(os.path.join(entry["directory"], entry["file"]), report.ROOT)
               for entry in entries}
    made_of = {source: {source} for source in objects.values() if source.startswith(FOLDERS)}
    listed = subprocess.run(["ninja", "-C", str(build), "-t", "deps"], capture_output=True, text=True, check=False)
    source = None
    for line in listed.stdout.splitlines():
        if line and not line.startswith(" "):
            source = objects.get(line.split(":")[0])
        elif line.strip() and source in made_of:
            path = os.path.relpath(os.path.join(build, line.strip()), report.ROOT)
            if not path.startswith(".."):
                made_of[source].add(path)
    return made_of


def self_test(build):
    """clang-tidy runs with our list: it finds what is put before it."""
    with tempfile.TemporaryDirectory(dir=report.ROOT / "tests" / "source") as folder:
        seeded = pathlib.Path(folder) / "seeded.cc"
        seeded.write_text(SEEDED, encoding="utf-8")
        found = "\n".join(tidy(build, seeded, (f"--config-file={report.ROOT / '.clang-tidy'}",)))
    return [f"{check} was not found" for check in ("google-explicit-constructor", "cstyle-cast") if check not in found]


def main():
    junit, build = sys.argv[1], pathlib.Path(sys.argv[2])
    cache = build / "lint.json"
    config = digest(report.ROOT / ".clang-tidy")
    known = json.loads(cache.read_text(encoding="utf-8")) if cache.is_file() else {}
    if known.get("config") != config:
        known = {"config": config, "sources": {}}

    made_of = sources_of(build)
    cases = {"the check finds what is wrong": self_test(build)}
    hashes = {source: {path: digest(report.ROOT / path) for path in sorted(paths)}
              for source, paths in made_of.items()}
    fresh = [source for source in sorted(made_of) if known["sources"].get(source) != hashes[source]]
    complaints = {source: [] for source in made_of}
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        complaints.update(zip(fresh, pool.map(lambda source: tidy(build, report.ROOT / source), fresh)))
    for source in sorted(made_of):
        cases[f"{source} holds to .clang-tidy"] = complaints[source]
    good = {source: hashes[source] for source in made_of if not complaints[source]}
    cache.write_text(json.dumps({"config": config, "sources": good}), encoding="utf-8")
    report.finish("lint", cases, junit)


if __name__ == "__main__":
    main()
