# SPDX-License-Identifier: Apache-2.0
"""Mapped files through larder: over a plain directory and over slowshare."""
import mmap
import os
import subprocess

import pytest

from support import age, pseudo_random
from support.posix import fixture_here, fixture_larder, fixture_share, raises  # noqa: F401


def test_a_mapping_reads_and_a_shared_one_writes(share, here):
    content = pseudo_random(50_000, "mapped")
    path = here / "file"
    path.write_bytes(content)
    with open(path, "r+b") as file:
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
            assert pages[:] == content
        with mmap.mmap(file.fileno(), 0) as pages:
            pages[100:104] = b"here"
            pages[40_000:40_005] = b"there"
            pages.flush()
            expected = bytearray(content)
            expected[100:104], expected[40_000:40_005] = b"here", b"there"
            assert (share.source / "file").read_bytes() == expected
            pages[0:5] = b"first"
            expected[0:5] = b"first"
    assert path.read_bytes() == expected
    assert (share.source / "file").read_bytes() == expected
    done = subprocess.run(["cat", path], check=True, capture_output=True)
    assert done.stdout == expected


def test_a_mapping_written_after_close_reaches_the_share(share, here):
    """The pages outlive the descriptor: they go out when the mapping goes."""
    path = here / "file"
    path.write_bytes(b"a" * 9000)
    with open(path, "r+b") as file:
        pages = mmap.mmap(file.fileno(), 0)
    pages[5000:5003] = b"map"
    pages.close()
    assert path.read_bytes() == b"a" * 5000 + b"map" + b"a" * 3997
    os.sync()
    assert (share.source / "file").read_bytes() == b"a" * 5000 + b"map" + b"a" * 3997


@pytest.mark.parametrize("order", ["appender first", "appender last"])
def test_mapped_pages_go_to_their_place_while_others_append(share, here, order):
    """The kernel writes them back through whichever handle can write."""
    path = here / "file"
    path.write_bytes(b"a" * 5000)
    handles = [open(path, "ab", buffering=0), open(path, "r+b", buffering=0)]
    if order == "appender last":
        handles.append(open(path, "ab", buffering=0))
        handles.pop(0).close()
    appender = next(handle for handle in handles if handle.mode == "ab")
    file = next(handle for handle in handles if handle.mode != "ab")
    with mmap.mmap(file.fileno(), 5000) as mapped:
        mapped[10:14] = b"WXYZ"
        mapped.flush()
        appender.write(b"behind")
        mapped[4990:4994] = b"wxyz"
        mapped.flush()
    for handle in handles:
        handle.close()
    wanted = b"a" * 10 + b"WXYZ" + b"a" * 4976 + b"wxyz" + b"a" * 6 + b"behind"
    assert (share.source / "file").read_bytes() == wanted
    assert path.read_bytes() == wanted


@pytest.mark.parametrize("how", ["another file", "in place"])
def test_whoever_opens_what_others_have_mapped_reads_one_version(share, here, how):
    """As an upgrade does it to a library in use: pages of before must not pass for those of now."""
    path = share.source / "library"
    versions = [pseudo_random(300_000 + n * 5000, f"version {n}") for n in range(6)]
    path.write_bytes(versions[0])
    age(path)
    with open(here / "library", "rb") as first, mmap.mmap(first.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[:] == versions[0]
        for n, version in enumerate(versions[1:], 1):
            if how == "in place":
                path.write_bytes(version)
            else:
                (share.source / "new").write_bytes(version)
                os.rename(share.source / "new", path)
            if n % 2:
                age(path, n)
            for _ in range(3):
                assert (here / "library").read_bytes() == version
                if how == "another file":
                    assert mapped[:] == versions[0], "a handle keeps its file"
