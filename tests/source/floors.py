# SPDX-License-Identifier: Apache-2.0
"""Each floor includes itself and the floors below it, as docs/architecture.md has it.

usage: floors.py JUNIT_FILE
"""
import pathlib
import re
import sys

import report

# A floor -> the floors that it may include beside itself.
MAY_INCLUDE = {
    "base": (),
    "stats": ("base",),
    "memo": ("base", "stats"),
    "snapshot": ("base", "stats"),
    "io": ("base", "stats", "memo", "snapshot"),
    "netfs": ("base", "stats", "io"),
    "store": ("base", "stats", "io"),
    "cache": ("base", "stats", "memo", "snapshot", "io", "store"),
    "vfs": ("base", "stats", "memo", "snapshot", "io", "netfs", "store", "cache"),
}

# A contract -> the floor that keeps it.
HEADER_FLOOR = {
    "units": "base", "result": "base", "fd": "base", "mount_table": "base", "buffer": "base", "clock": "base",
    "log": "base", "work_queue": "base", "timers": "base",
    "stats": "stats", "pager": "stats",
    "flight": "memo",
    "io_engine": "io", "reactor": "io",
    "credentials": "netfs", "identity": "netfs", "flock": "netfs", "netfs": "netfs", "share_calls": "netfs",
    "device": "store", "records": "store", "store": "store",
    "store_check": "store",
    "backend": "cache", "cookie": "cache", "pages": "cache",
    "transport_stats": "vfs", "settings": "vfs", "options": "vfs", "reply": "vfs", "filesystem": "vfs", "mount": "vfs",
    "host": "vfs", "local_socket": "vfs",
}

# The store keeps what a share says of its files, so its records are made of the netfs' data types:
# the one place where a floor sees a neighbour's words. It calls nothing of it.
EXTRA_HEADERS = {
    "store": ("credentials", "identity", "netfs"),
    "cache": ("credentials", "identity", "netfs"),
}

# Libraries with one home, by the start of the path in <...>. A path may be a folder or a file.
HOMES = {
    "liburing": ("src/io/", "tools/bench/raw_ring"),
    "fuse": ("fuse/", "tools/slowshare/"),
    "linux/fuse.h": ("fuse/", "tools/slowshare/"),
    "catch2": ("tests/",),
    "spdlog": ("src/base/",),
    "isa-l": ("src/base/",),
    "CLI/": ("fuse/", "tools/"),
}
# What a contract may ask its reader to have installed.
HEADER_LIBRARIES = ("fmt/", "tl/", "absl/", "boost/smart_ptr/intrusive_ptr.hpp", "sys/")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def includes(text):
    """(line number, bracket, path) of each #include."""
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1), match.group(2)


def floor_of(path):
    """src/store/x.cc -> store; include/larder/records.h -> store; else None."""
    parts = str(path).split("/")
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    if parts[:2] == ["include", "larder"]:
        return HEADER_FLOOR.get(parts[2].removesuffix(".h"))
    return None


def breach_of_floor(floor, target, contract):
    """Why `floor` may not include what belongs to the floor `target`; None where it may."""
    if target == floor or target in MAY_INCLUDE[floor]:
        return None
    if contract in EXTRA_HEADERS.get(floor, ()):
        return None
    return f"{floor} may not include {target}"


def breach_of_home(path, included):
    for library, homes in HOMES.items():
        if included.startswith(library) and not str(path).startswith(homes):
            return f"{library} belongs in {' and '.join(homes)}"
    return None


def breach_in_src(path, bracket, included):
    floor = floor_of(path)
    if floor not in MAY_INCLUDE:
        return f"no floor is known for {path}"
    if bracket == '"':
        target = included.split("/")[0]
        if target not in MAY_INCLUDE:
            return f'"{included}" is no path from src/'
        return breach_of_floor(floor, target, None)
    if included.startswith("larder/"):
        contract = included.removeprefix("larder/").removesuffix(".h")
        if contract not in HEADER_FLOOR:
            return f"<{included}> has no floor in tests/source/floors.py"
        return breach_of_floor(floor, HEADER_FLOOR[contract], contract)
    return None


def breach_in_header(path, bracket, included):
    if floor_of(path) is None:
        return f"{path} has no floor in tests/source/floors.py"
    if bracket == '"':
        return "a contract includes only <larder/...>, std and small libraries"
    if included.startswith("larder/"):
        return breach_in_src(path, bracket, included)
    if "/" in included and not included.startswith(HEADER_LIBRARIES):
        return f"a contract may not ask for <{included}>"
    if included.endswith(".h") and "/" not in included:
        return f"a contract may not ask for <{included}>"
    return None


def breach_in_program(path, bracket, included):
    """fuse/ and tools/: <larder/...>, their own folder, libraries."""
    if bracket == "<":
        return None
    parts = str(path).split("/")
    own = report.ROOT / parts[0] / included
    beside = report.ROOT / path.parent / included
    if included.split("/")[0] in MAY_INCLUDE and not own.exists() and not beside.exists():
        return f'"{included}": a program includes only <larder/...> and its own folder'
    if parts[0] == "tools" and parts[1] == "slowshare" and not included.startswith("slowshare/"):
        return f'"{included}": slowshare is a tool of its own'
    return None


def breaches(path, text):
    """Each breach in one file, as path:line: why."""
    found = []
    for number, bracket, included in includes(text):
        top = str(path).split("/")[0]
        reason = breach_of_home(path, included) if bracket == "<" else None
        if reason is None:
            if top == "src":
                reason = breach_in_src(path, bracket, included)
            elif top == "include":
                reason = breach_in_header(path, bracket, included)
            elif top in ("fuse", "tools"):
                reason = breach_in_program(path, bracket, included)
        if reason is not None:
            found.append(f"{path}:{number}: {reason}")
    return found


# Made-up lines, each with whether it is a breach: a check that finds nothing is worth nothing.
KNOWN = (
    ("src/store/a.cc", '#include "base/mutex.h"', False),
    ("src/store/a.cc", "#include <larder/records.h>", False),
    ("src/store/a.cc", "#include <larder/netfs.h>", False),
    ("src/store/a.cc", "#include <larder/share_calls.h>", True),
    ("src/store/a.cc", '#include "cache/object.h"', True),
    ("src/store/a.cc", '#include "netfs/posix.h"', True),
    ("src/store/a.cc", "#include <larder/cookie.h>", True),
    ("src/store/a.cc", "#include <larder/nobody.h>", True),
    ("src/base/a.cc", '#  include "stats/registry.h"', True),
    ("src/base/a.cc", "#include <larder/stats.h>", True),
    ("src/memo/a.cc", '#include "snapshot/watch.h"', True),
    ("src/netfs/a.cc", '#include "store/store_impl.h"', True),
    ("src/netfs/a.cc", '#include "memo/flights.h"', True),
    ("src/netfs/a.cc", '#include "io/thread.h"', False),
    ("src/cache/a.cc", '#include "netfs/posix.h"', True),
    ("src/cache/a.cc", '#include "store/store_impl.h"', False),
    ("src/vfs/a.cc", '#include "cache/object.h"', False),
    ("src/vfs/a.cc", "#include <fuse3/fuse_lowlevel.h>", True),
    ("src/vfs/a.cc", "#include <fuse_lowlevel.h>", True),
    ("src/store/a.cc", "#include <liburing.h>", True),
    ("src/io/a.cc", "#include <liburing.h>", False),
    ("src/io/a.cc", "#include <catch2/catch.hpp>", True),
    ("src/attic/a.cc", "#include <larder/units.h>", True),
    ("src/io/a.cc", '#include "thread.h"', True),
    ("include/larder/units.h", "#include <cstdint>", False),
    ("include/larder/units.h", "#include <larder/result.h>", False),
    ("include/larder/units.h", "#include <larder/stats.h>", True),
    ("include/larder/units.h", '#include "base/mutex.h"', True),
    ("include/larder/units.h", "#include <spdlog/spdlog.h>", True),
    ("include/larder/units.h", "#include <liburing.h>", True),
    ("include/larder/records.h", "#include <larder/identity.h>", False),
    ("include/larder/nobody.h", "#include <cstdint>", True),
    ("fuse/a.cc", '#include "vfs/vfs.h"', True),
    ("fuse/a.cc", "#include <larder/filesystem.h>", False),
    ("fuse/a.cc", "#include <fuse_lowlevel.h>", False),
    ("tools/a.cc", '#include "base/mutex.h"', True),
    ("tools/a.cc", "#include <fuse3/fuse_lowlevel.h>", True),
    ("tools/slowshare/a.cc", "#include <fuse3/fuse_lowlevel.h>", False),
    ("tools/slowshare/a.cc", '#include "ctl/control.h"', True),
)


def self_test():
    wrong = []
    for path, line, is_breach in KNOWN:
        if bool(breaches(pathlib.Path(path), line)) != is_breach:
            wrong.append(f"{path}: {line}: {'should' if is_breach else 'should not'} be a breach")
    return wrong


def main():
    cases = {"the check tells breaches from what is allowed": self_test()}
    for folder in ("include", "src", "fuse", "tools"):
        found = []
        for path in report.code_files((folder,)):
            found += breaches(path, report.read(path))
        cases[f"{folder} includes only what is below it"] = found
    cases["each contract has a floor"] = [
        f"{path}: no floor in tests/source/floors.py"
        for path in report.code_files(("include",)) if floor_of(path) is None]
    cases["there is something to check"] = [] if report.code_files(("src",)) else ["src is empty"]
    report.finish("floors", cases, sys.argv[1])


if __name__ == "__main__":
    main()
