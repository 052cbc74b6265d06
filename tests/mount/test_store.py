# SPDX-License-Identifier: Apache-2.0
"""The store under a mount: it grows and shrinks, is emptied, keeps what is pinned, leaves the disk below its
room, and lies on a block device."""
import os
import subprocess
import sys
import textwrap
import threading

import pytest

from support import (LARDERCTL, Larder, LocalShare, Slowshare, age_tree, hash_tree, is_mounted, wait_until,
                     within, write_pseudo_random)

MEGABYTE = 1 << 20
FILES = 24


def ctl(*arguments):
    done = subprocess.run([LARDERCTL, *map(str, arguments)], check=False, capture_output=True, text=True,
                          timeout=120)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(name="share")
def fixture_share(workspace):
    share = LocalShare(workspace)
    for n in range(FILES):
        write_pseudo_random(share.source / f"file-{n:02}", MEGABYTE, n)
    age_tree(share.source)
    return share


def filled(larder):
    hashes = hash_tree(larder.path)
    larder.wait_until_filled()
    return hashes


def read_again(larder, expected):
    """The same bytes; how many of them the share was asked for."""
    before = larder.counter("netfs.bytes_read")
    assert hash_tree(larder.path) == expected
    larder.wait_until_filled()
    return larder.counter("netfs.bytes_read") - before


def sound(store):
    check = subprocess.run([LARDERCTL, "fsck", str(store)], check=False, capture_output=True, text=True, timeout=120)
    assert check.returncode == 0, check.stdout + check.stderr


class Readers:
    """Threads that read all files again and again, and know what is in them."""

    def __init__(self, larder, source):
        self.wrong, self.reads, self.stop = [], 0, False
        self.larder, self.source = larder, source
        self.threads = [threading.Thread(target=self.run, args=(n,)) for n in range(3)]
        for thread in self.threads:
            thread.start()

    def run(self, salt):
        n = salt * 7
        while not self.stop:
            name = f"file-{n % FILES:02}"
            if (self.larder.path / name).read_bytes() != (self.source / name).read_bytes():
                self.wrong.append(name)
            self.reads += 1
            n += 5

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop = True
        for thread in self.threads:
            thread.join()


def test_it_changes_its_size_while_it_is_read(workspace, share):
    larder = Larder(workspace, share, "direct_io", size="48M")
    with Readers(larder, share.source) as readers:
        for size in ("20M", "128M", "24M", "16M", "64M", "17M", "48M"):
            before = readers.reads
            code, out, line = ctl("resize", larder.path, size)
            assert code == 0, out + line
            wait_until(lambda: readers.reads >= before + 20, "reads go on")  # pylint: disable=cell-var-from-loop
        code, out, line = ctl("clear", larder.path)
        assert code == 0, out + line
    assert readers.wrong == []
    assert larder.counter("store.sum_errors") == 0
    larder.umount()
    sound(larder.store)


def test_it_grows_and_shrinks(workspace, share):
    larder = Larder(workspace, share, "direct_io", size="48M")
    expected = filled(larder)
    for size, warm in (("200M", True), ("64M", True), ("40M", True), ("20M", False), ("96M", False)):
        code, out, line = ctl("resize", larder.path, size)
        assert code == 0 and f"{size[:-1]} MiB now" in out, out + line
        assert os.stat(larder.store).st_size <= int(size[:-1]) * MEGABYTE
        assert os.stat(larder.store).st_blocks * 512 <= int(size[:-1]) * MEGABYTE
        asked = read_again(larder, expected)
        if warm:
            assert asked == 0, (size, asked)
    assert larder.counter("store.resizes") == 5
    larder.umount()
    sound(larder.store)
    larder.mount()
    read_again(larder, expected)
    larder.umount()


def test_another_size_at_the_next_mount(workspace, share):
    larder = Larder(workspace, share, "direct_io", size="40M")
    expected = filled(larder)
    larder.umount()
    larder.size = "80M"
    larder.mount()
    assert "has 80 MiB now, and had 40 MiB" in larder.last_log, larder.last_log
    assert read_again(larder, expected) == 0
    larder.umount()
    larder.size = "32M"
    larder.mount()
    assert os.stat(larder.store).st_size <= 32 * MEGABYTE
    read_again(larder, expected)
    larder.umount()
    sound(larder.store)


@pytest.mark.parametrize("size, words", [("12", "at least 16 MiB"), ("1M", "at least 16 MiB"), ("much", "is no size"),
                                         ("999T", "for another size")])
def test_a_size_that_cannot_be_had(workspace, share, size, words):
    larder = Larder(workspace, share)
    code, out, line = ctl("resize", larder.path, size)
    assert code != 0 and out == "" and words in line and len(line.splitlines()) == 1, line
    assert larder.counter("store.resizes") == 0
    larder.umount()


def test_clear_and_pin(workspace, share):
    larder = Larder(workspace, share, "direct_io", size="20M")
    pinned = larder.path / "file-03"
    pinned.read_bytes()
    larder.wait_until_filled()
    code, out, line = ctl("pin", pinned)
    assert code == 0 and "pinned 1 file\n" in out, out + line
    assert os.getxattr(pinned, "user.larder.pinned") == b"1"
    expected = filled(larder)   # more than has room
    filled(larder)
    assert os.getxattr(pinned, "user.larder.cached") == b"100"
    larder.remount()
    before = larder.counter("netfs.bytes_read")
    pinned.read_bytes()
    assert larder.counter("netfs.bytes_read") == before
    assert larder.counter("store.pinned_objects") == 1
    code, out, line = ctl("unpin", larder.path)
    assert code == 0 and larder.counter("store.pinned_objects") == 0, out + line
    code, out, line = ctl("clear", larder.path)
    assert code == 0 and "is empty" in out, out + line
    assert larder.counter("store.used_bytes") == 0
    assert hash_tree(larder.path) == expected
    larder.umount()
    sound(larder.store)


def test_the_disk_below_keeps_its_room(workspace, share):
    free = os.statvfs(workspace.path)
    much = free.f_bavail * free.f_frsize + (1 << 30)
    larder = Larder(workspace, share, f"min_free={much}")
    expected = hash_tree(larder.path)
    wait_until(lambda: larder.counter("store.fills_dropped_disk") > 0, "fills are dropped")
    assert larder.counter("store.used_bytes") == 0
    assert hash_tree(larder.path) == expected
    wait_until(lambda: larder.counter("store.disk_free_bytes") > 0, "the disk was looked at")
    larder.remount("min_free=1M")
    filled(larder)
    assert larder.counter("store.used_bytes") > 0
    larder.umount()


def test_what_is_not_used_expires(workspace, share):
    larder = Larder(workspace, share, "direct_io,expire=1")
    expected = filled(larder)
    wait_until(lambda: larder.counter("store.expired_bytes") > 0, "something expires")
    wait_until(lambda: larder.counter("store.used_bytes") == 0, "all of it expires")
    assert hash_tree(larder.path) == expected
    larder.umount()


def loop_over(image):
    """A block device of 64 MiB; the test is skipped where none can be had."""
    with open(image, "wb") as file:
        file.truncate(64 * MEGABYTE)
    try:
        done = subprocess.run(["losetup", "--find", "--show", image], check=False, capture_output=True, text=True,
                              timeout=30)
    except FileNotFoundError:
        pytest.skip("there is no losetup")
    if done.returncode != 0:
        pytest.skip(f"no loop device can be had: {done.stderr.strip()}")
    return done.stdout.strip()


@pytest.fixture(name="loop")
def fixture_loop(workspace):
    """A block device, taken away in any case."""
    image = workspace / "image"
    device = loop_over(image)
    yield device, image
    subprocess.run(["losetup", "--detach", device], check=False, timeout=30)


def test_a_block_device_as_store(workspace, share, loop):
    device, image = loop
    larder = Larder(workspace, share, "direct_io", size="32M", store=device)
    expected = filled(larder)
    # A new store has all of a device; size= makes it smaller.
    assert read_again(larder, expected) == 0
    code, out, line = ctl("resize", larder.path, "64M")
    assert code == 0, out + line
    assert read_again(larder, expected) == 0
    code, out, line = ctl("resize", larder.path, "65M")
    assert code != 0 and "the device has 67108864 bytes" in line, line
    larder.remount()
    read_again(larder, expected)
    larder.kill9()
    subprocess.run(["umount", "-l", larder.path], check=False, timeout=30)
    sound(device)
    larder.size = "48M"
    larder.mount()
    read_again(larder, expected)
    larder.umount()
    sound(device)
    assert os.stat(image).st_size == 64 * MEGABYTE, "a device keeps its length"


def test_the_end_does_not_wait_for_ever_for_a_disk_that_hangs(workspace, share):
    below = Slowshare(workspace, "latency=0", name="disk")
    device = loop_over(below.path / "image")
    try:
        larder = Larder(workspace, share, "store_deadline=1", size="32M", store=device)
        expected = hash_tree(larder.path)
        larder.wait_until_filled()
        below.ctl("hang", "image")
        (share.source / "new").write_bytes(os.urandom(MEGABYTE))
        (larder.path / "new").read_bytes()
        larder.umount_only()
        wait_until(lambda: "a store does not answer: this ends without it" in larder.last_log, "it gives up")
        assert not is_mounted(larder.path)
        below.ctl("clear")  # the kernel ends no process that waits for a block device
        larder.ended_well()
        larder.mount()
        assert {name: one for name, one in hash_tree(larder.path).items() if name in expected} == expected
        larder.umount()
    finally:
        below.ctl("clear")
        subprocess.run(["losetup", "--detach", device], check=False, timeout=30)


def drop_pages(*paths):
    for path in paths:
        with open(path, "r+b", buffering=0) as file:
            os.fdatasync(file)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# Reads SIZE bytes at each of COUNT places of PATH, all at once; prints how many were right.
READERS = textwrap.dedent("""
    import os, sys, threading
    path, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    fd, good = os.open(path, os.O_RDONLY), []
    def read(n):
        good.append(os.pread(fd, size, n << 21) == bytes([n + 1]) * size)
    threads = [threading.Thread(target=read, args=(n,)) for n in range(count)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(sum(good), flush=True)
""")


@pytest.mark.parametrize("size", [4096, MEGABYTE], ids=["all of it at the disk", "most of it at the share"])
def test_readers_of_a_disk_that_hangs_leave_others_alone(workspace, share, size):
    """More of them than a ring has entries, and than there are threads of any kind."""
    below = Slowshare(workspace, "latency=0", name="disk")
    device = loop_over(below.path / "image")
    count = 40
    (share.source / "pages").write_bytes(b"".join(bytes([n + 1]) * (2 * MEGABYTE) for n in range(count)))
    age_tree(share.source)
    try:
        larder = Larder(workspace, share, "direct_io,store_deadline=60", size="32M", store=device)
        with open(larder.path / "pages", "rb", buffering=0) as file:
            for n in range(count):
                os.pread(file.fileno(), 4096, (n << 21) + size - 4096)
        larder.wait_until_filled()
        larder.remount()
        larder.listing()
        drop_pages(device, below.path / "image")
        before, flights = larder.counter("vfs.reads"), larder.counter("vfs.flights")
        below.ctl("hang", "image", "read")
        readers = workspace.spawn([sys.executable, "-c", READERS, larder.path / "pages", count, size])
        below.wait_for_parked(1)
        within(10, "all have asked", lambda: larder.wait_for("vfs.reads", lambda now: now >= before + count))
        if size > 4096:
            within(10, "all have fetched",
                   lambda: larder.wait_for("vfs.flights", lambda now: now >= flights + count))
        assert within(10, "a listing", larder.listing)
        cold = (share.source / "file-00").read_bytes()
        assert within(10, "a read of the share", lambda: (larder.path / "file-00").read_bytes() == cold)
        assert readers.poll() is None
        below.ctl("clear")
        assert readers.wait(60) == 0
        assert readers.log.read_text().split() == [str(count)]
        larder.umount()
    finally:
        below.ctl("clear")
        subprocess.run(["losetup", "--detach", device], check=False, timeout=30)


def test_a_disk_that_hangs_whole_leaves_the_share_as_it_is(workspace, share):
    """Not only reads of it: whatever is written, flushed or looked up there stands still."""
    below = Slowshare(workspace, "latency=0", name="disk")
    device = loop_over(below.path / "image")
    try:
        larder = Larder(workspace, share, "store_deadline=1,commit=100", size="32M", store=device)
        filled(larder)
        larder.remount()
        larder.listing()
        drop_pages(device, below.path / "image")
        below.ctl("hang", "image")
        reader = workspace.spawn([sys.executable, "-c", READERS, larder.path / "file-01", 1, 4096])
        below.wait_for_parked(1)

        def everything():
            """Whole rounds of what people do; before they are over the store is known to hang."""
            for n in range(30):
                name = larder.path / f"new-{n}"
                name.write_bytes(bytes([n]) * 300_000)
                assert name.read_bytes() == bytes([n]) * 300_000
                os.rename(name, larder.path / f"moved-{n}")
                os.mkdir(larder.path / f"folder-{n}")
                assert f"moved-{n}" in os.listdir(larder.path)
                with open(larder.path / f"moved-{n}", "r+b") as file:
                    file.truncate(1000)
                    os.fsync(file)
                assert os.stat(larder.path / f"moved-{n}").st_size == 1000
                os.statvfs(larder.path)
                assert larder.counter("vfs.writes") > n
            wait_until(lambda: (larder.path / "new").write_bytes(b"new") and larder.counter("store.hangs"),
                       "it is seen")
            return (larder.path / "file-00").read_bytes() == (share.source / "file-00").read_bytes()

        assert within(60, "all of it", everything)

        def another_page():
            """Opened for writing: what begins with that waits behind the read that hangs."""
            with open(larder.path / "file-01", "r+b", buffering=0) as file:
                return os.pread(file.fileno(), 4096, MEGABYTE // 2)

        with open(share.source / "file-01", "rb") as file:
            assert within(30, "another page of the file", another_page) == os.pread(file.fileno(), 4096, MEGABYTE // 2)
        assert reader.poll() is None, "who asked before waits for the disk"
        below.ctl("clear")
        assert reader.wait(60) == 0
        for n in range(30):
            assert (larder.path / f"moved-{n}").read_bytes() == bytes([n]) * 1000
        larder.umount()
        sound(device)
    finally:
        below.ctl("clear")
        subprocess.run(["losetup", "--detach", device], check=False, timeout=30)
