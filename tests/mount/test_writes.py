# SPDX-License-Identifier: Apache-2.0
"""Writes by many at once, with O_DIRECT, against truncates, and where the share refuses them."""
import concurrent.futures
import errno
import mmap
import os
import random

import pytest

from support import Larder, Slowshare, hash_file, pseudo_random, within
from support.posix import fixture_here, fixture_larder, fixture_share, raises  # noqa: F401
from support.trees import seed

PATIENCE_S = 60


def in_processes(works):
    """Each function in a child of its own; all must succeed."""
    with concurrent.futures.ThreadPoolExecutor(len(works)) as starters:
        list(starters.map(lambda work: within(PATIENCE_S, "a child's work", work), works))


# -- many writers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["", "writeback_cache"])
def test_many_writers_of_one_file_lose_nothing(workspace, share, options):
    """Records lie across pages, and each page is written by several."""
    here = Larder(workspace, share, options).path
    writers, records, size = 6, 60, 1237
    path = here / "records"
    path.write_bytes(b"")

    def record(who, n):
        return pseudo_random(size, f"{who}/{n}")

    def write(who):
        def work():
            fd = os.open(path, os.O_RDWR)
            order = list(range(records))
            random.Random(f"{seed()}/{who}").shuffle(order)
            for n in order:
                at = (n * writers + who) * size
                assert os.pwrite(fd, record(who, n), at) == size
                assert os.pread(fd, size, at) == record(who, n)
            os.close(fd)
        return work

    in_processes([write(who) for who in range(writers)])
    wanted = b"".join(record(who, n) for n in range(records) for who in range(writers))
    assert path.read_bytes() == wanted
    assert (share.source / "records").read_bytes() == wanted


def test_who_appends_at_once_appends_whole_lines(share, here):
    path = here / "log"
    path.touch()
    lines = 100

    def append(who):
        def work():
            fd = os.open(path, os.O_WRONLY | os.O_APPEND)
            for n in range(lines):
                os.write(fd, b"writer %d, line %d%s\n" % (who, n, b"." * (n * 7 % 90)))
            os.close(fd)
        return work

    in_processes([append(who) for who in range(4)])
    held = (share.source / "log").read_bytes()
    assert path.read_bytes() == held
    found = held.decode().splitlines()
    for who in range(4):
        mine = [line for line in found if line.startswith(f"writer {who},")]
        assert [int(line.split("line ")[1].rstrip(".")) for line in mine] == list(range(lines))
    assert len(found) == 4 * lines


def test_readers_see_no_page_that_never_was_while_a_file_is_cut_and_written(share, here):
    """The file is all one letter at each moment, and the letters follow each other."""
    path = here / "letters"
    path.write_bytes(b"a" * 200_000)

    def change():
        for n in range(60):
            letter = bytes([ord("a") + n % 26])
            with open(path, "r+b", buffering=0) as file:
                os.ftruncate(file.fileno(), (n * 7919) % 9000)
                os.ftruncate(file.fileno(), 0)
                os.pwrite(file.fileno(), letter * 200_000, 0)

    def look():
        for _ in range(150):
            fd = os.open(path, os.O_RDONLY)
            for at in range(0, 200_000, 4096):
                # Zeros: between two cuts it is longer than what is in it.
                page = os.pread(fd, 4096, at).rstrip(b"\0")
                assert len(set(page)) <= 1, (at, set(page))
            os.close(fd)

    in_processes([change, look, look])
    assert path.read_bytes() == (share.source / "letters").read_bytes() == b"h" * 200_000


# -- O_DIRECT ----------------------------------------------------------------------------------------------


def test_direct_and_buffered_calls_and_maps_see_each_other(share, here):
    path, size = here / "file", 1 << 20
    image = bytearray(pseudo_random(size, "direct"))
    path.write_bytes(image)
    chance = random.Random(seed())
    direct, plain = os.open(path, os.O_RDWR | os.O_DIRECT), os.open(path, os.O_RDWR)
    mapped = mmap.mmap(plain, size)
    aligned = mmap.mmap(-1, 64 << 10)
    try:
        for _ in range(150):
            length = chance.randrange(1, 17) * 4096
            at = chance.randrange((size - length) // 4096 + 1) * 4096
            how = chance.choice(("write direct", "write", "map", "read direct", "read"))
            data = chance.randbytes(length)
            if how == "write direct":
                aligned[:length] = data
                assert os.pwrite(direct, memoryview(aligned)[:length], at) == length
            elif how == "write":
                assert os.pwrite(plain, data, at) == length
            elif how == "map":
                mapped[at:at + length] = data
            elif how == "read direct":
                assert os.preadv(direct, [memoryview(aligned)[:length]], at) == length
                assert aligned[:length] == image[at:at + length]
            else:
                assert os.pread(plain, length, at) == image[at:at + length]
                assert mapped[at:at + length] == image[at:at + length]
            if how in ("write direct", "write", "map"):
                image[at:at + length] = data
    finally:
        mapped.close()
        os.close(direct)
        os.close(plain)
    assert path.read_bytes() == image
    assert (share.source / "file").read_bytes() == image


# -- errors of the share -----------------------------------------------------------------------------------


@pytest.fixture(name="refusing")
def fixture_refusing(workspace):
    """A slowshare with a file that has a past."""
    share = Slowshare(workspace)
    (share.source / "file").write_bytes(b"b" * 50_000)
    return share


def assert_it_shows_what_the_share_holds(larder, share):
    shown = larder.path / "file"
    assert hash_file(shown) == hash_file(shown, forget=True) == hash_file(share.source / "file")


@pytest.mark.parametrize("number", ["EIO", "ENOSPC", "EDQUOT"])
def test_write_is_told_what_the_share_said(workspace, refusing, number):
    larder = Larder(workspace, refusing)
    with open(larder.path / "file", "r+b", buffering=0) as file:
        file.write(b"taken")
        refusing.ctl("error", number, "file", "write")
        with raises(getattr(errno, number)):
            file.write(b"refused")
        refusing.ctl("clear")
        file.write(b"taken again")
        assert os.pread(file.fileno(), 100, 0) == (refusing.source / "file").read_bytes()[:100]
    assert_it_shows_what_the_share_holds(larder, refusing)
    assert (refusing.source / "file").read_bytes().startswith(b"takentaken againb")


@pytest.mark.parametrize("call", ["fsync", "flush"])
def test_fsync_and_close_are_told_what_the_share_said(workspace, refusing, call):
    larder = Larder(workspace, refusing)
    fd = os.open(larder.path / "file", os.O_RDWR)
    os.pwrite(fd, b"written", 10)
    refusing.ctl("error", "EIO", "file", call)
    with raises(errno.EIO):
        os.fsync(fd) if call == "fsync" else os.close(fd)
    refusing.ctl("clear")
    if call == "fsync":
        os.fsync(fd)
        os.close(fd)
    assert_it_shows_what_the_share_holds(larder, refusing)


@pytest.mark.parametrize("call", ["setattr", "fallocate"])
def test_a_change_of_size_is_told_what_the_share_said(workspace, refusing, call):
    larder = Larder(workspace, refusing)
    with open(larder.path / "file", "r+b", buffering=0) as file:
        assert file.read(10) == b"b" * 10
        refusing.ctl("error", "ENOSPC", "file", call)
        with raises(errno.ENOSPC):
            os.ftruncate(file.fileno(), 7) if call == "setattr" else os.posix_fallocate(file.fileno(), 0, 99_999)
        refusing.ctl("clear")
        assert os.fstat(file.fileno()).st_size == 50_000
        assert os.pread(file.fileno(), 60_000, 0) == b"b" * 50_000
    assert_it_shows_what_the_share_holds(larder, refusing)


def test_with_writeback_cache_fsync_or_close_is_told(workspace, refusing):
    larder = Larder(workspace, refusing, "writeback_cache")
    for end in (os.fsync, os.close):
        fd = os.open(larder.path / "file", os.O_RDWR)
        refusing.ctl("error", "EIO", "file", "write")
        os.pwrite(fd, b"gathered", 0)
        with raises(errno.EIO):
            end(fd)
        refusing.ctl("clear")
        if end is os.fsync:
            os.close(fd)
