# SPDX-License-Identifier: Apache-2.0
"""What reaches the share, by larder's own counters: a warm pass nothing, a cold one each byte once."""
import concurrent.futures
import os
import random
import subprocess
import threading
import time
import zlib

import pytest

from support import (Larder, LocalShare, Slowshare, age_tree, copy_tree, differences, hash_tree,
                     wait_until, write_pseudo_random)
from support.trees import seed

LARGE = 64 << 20
PAGE = 4096


@pytest.fixture(name="share")
def fixture_share(workspace):
    return LocalShare(workspace)


def plant_tree(share):
    copy_tree("/usr/include", share.source / "tree", 1200)
    for n in range(2):
        folder = share.source / "marks"
        folder.mkdir(exist_ok=True)
        (folder / f"mark-{n}").write_bytes(b"a mark\n" * (n + 1))
    age_tree(share.source)


def assert_reads_as(share, larder):
    lines = differences(hash_tree(share.source / "tree"), hash_tree(larder.path / "tree", forget=True))
    assert not lines, "\n".join(lines[:10])


def test_a_warm_pass_over_the_tree_makes_no_data_call(workspace, share):
    plant_tree(share)
    larder = Larder(workspace, share, size="256M")
    assert_reads_as(share, larder)
    assert larder.counter("netfs.data_calls") >= 1000
    larder.wait_until_filled()
    before = larder.stats()
    assert_reads_as(share, larder)
    after = larder.stats()
    assert after["netfs.data_calls"] == before["netfs.data_calls"]
    assert after["netfs.bytes_read"] == before["netfs.bytes_read"]
    assert after["vfs.warm_reads"] > before["vfs.warm_reads"]


def test_a_second_grep_within_ttl_asks_the_share_nothing(workspace, share):
    """It opens and reads each file, and asks of the larger ones where their holes lie."""
    (share.source / "tree").mkdir()
    (share.source / "tree" / "large").write_bytes(b"#define LARGE\n" * 50_000)
    plant_tree(share)
    larder = Larder(workspace, share, "coherency=ttl=600", size="256M")

    def grep():
        words = ["grep", "-rc", "define", str(larder.path / "tree")]
        return subprocess.run(words, check=False, capture_output=True).stdout

    first = grep()
    larder.wait_until_filled()
    before = larder.stats()
    assert before["op.lseek"] > 0
    assert grep() == first
    after = larder.stats()
    assert after["op.open"] >= before["op.open"] + 1000
    assert after["netfs.calls"] <= before["netfs.calls"] + 1


def test_a_warm_pass_after_umount_and_mount_makes_no_data_call(workspace, share):
    plant_tree(share)
    larder = Larder(workspace, share, size="256M")
    assert_reads_as(share, larder)
    larder.wait_until_filled()
    larder.remount()
    assert_reads_as(share, larder)
    assert larder.counter("netfs.data_calls") == 0


def test_what_was_committed_is_warm_after_kill_9(workspace, share):
    plant_tree(share)
    larder = Larder(workspace, share, size="256M")
    assert_reads_as(share, larder)
    larder.wait_until_filled()
    larder.wait_until_committed([larder.path / "marks" / f"mark-{n}" for n in range(2)])
    larder.kill9()
    larder.mount()
    assert_reads_as(share, larder)
    assert larder.counter("netfs.data_calls") == 0


def test_with_ttl_a_second_pass_asks_the_share_nothing_at_all(workspace, share):
    plant_tree(share)
    larder = Larder(workspace, share, "coherency=ttl=10m", size="256M")
    # Without symbolic links: their targets are asked for each time.
    paths = [path for path in (larder.path / "tree").rglob("*")
             if path.is_file() and not path.is_symlink()][:300]
    for path in paths:
        path.read_bytes()
    larder.wait_until_filled()
    before = larder.counter("netfs.calls")
    for path in paths:
        path.read_bytes()
    assert larder.counter("netfs.calls") == before


def names_in(path):
    return sorted(os.listdir(path))


def test_with_ttl_the_kernel_keeps_listings_and_drops_them_when_they_change(workspace, share):
    folder = share.source / "folder"
    folder.mkdir()
    for n in range(300):
        (folder / f"{n:03}").write_bytes(b"x")
    age_tree(share.source)
    larder = Larder(workspace, share, "coherency=ttl=1h", size="64M")
    mounted = larder.path / "folder"

    def readdirs():
        return larder.counter("op.readdir") + larder.counter("op.readdirplus")

    def look():
        names = names_in(mounted)
        for name in names:
            os.lstat(mounted / name)
        return names

    # One listing without the attributes of some of its names, then one with all, then none.
    there = look()
    assert len(there) == 300
    assert look() == there
    before, calls = readdirs(), larder.counter("netfs.calls")
    for _ in range(3):
        assert look() == there
    assert readdirs() == before
    assert larder.counter("netfs.calls") == calls
    # A change of our own is seen at once, also by who has the directory open.
    fd = os.open(mounted, os.O_RDONLY)
    try:
        assert sorted(os.listdir(fd)) == there
        (mounted / "new").write_bytes(b"y")
        (mounted / "000").unlink()
        os.rename(mounted / "001", mounted / "renamed")
        now = sorted(set(there) - {"000", "001"} | {"new", "renamed"})
        assert names_in(mounted) == now
        assert sorted(os.listdir(fd)) == now
    finally:
        os.close(fd)
    assert names_in(mounted) == now == names_in(folder)


def test_a_kept_listing_is_not_kept_beyond_its_time(workspace, share):
    folder = share.source / "folder"
    folder.mkdir()
    (folder / "old").write_bytes(b"x")
    larder = Larder(workspace, share, "coherency=ttl=1", size="64M")
    assert names_in(larder.path / "folder") == ["old"]
    (folder / "new").write_bytes(b"y")
    wait_until(lambda: names_in(larder.path / "folder") == ["new", "old"], "the new name is seen")


def test_without_cache_directories_each_listing_reaches_larder(workspace, share):
    (share.source / "file").write_bytes(b"x")
    larder = Larder(workspace, share, "coherency=ttl=1h,cache_directories=no", size="64M")
    names_in(larder.path)
    before = larder.counter("op.readdirplus")
    names_in(larder.path)
    assert larder.counter("op.readdirplus") > before


# -- one cold file, many readers ---------------------------------------------------------------------------


def read_by_threads(path, count, offsets_of):
    """Each thread opens the file and reads at its offsets. What each read, by offset."""
    results, failures = [{} for _ in range(count)], []
    together = threading.Barrier(count)

    def work(n):
        try:
            fd = os.open(path, os.O_RDONLY)
            try:
                together.wait()
                for offset, size in offsets_of(n):
                    results[n][offset] = os.pread(fd, size, offset)
            finally:
                os.close(fd)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    return results


@pytest.mark.parametrize("options", ["", "direct_io"])
def test_32_readers_of_one_cold_file_fetch_each_byte_once(workspace, options):
    share = Slowshare(workspace)
    write_pseudo_random(share.source / "large", LARGE)
    age_tree(share.source)
    share.ctl("latency", "2ms")  # so that they are really there at once
    larder = Larder(workspace, share, options, size="256M")
    step = 1 << 20

    results = read_by_threads(larder.path / "large", 32,
                              lambda n: [(offset, step) for offset in range(0, LARGE, step)])
    content = (share.source / "large").read_bytes()
    for result in results:
        assert b"".join(result[offset] for offset in sorted(result)) == content
    stats = larder.stats()
    assert stats["netfs.bytes_read"] == LARGE
    assert stats["vfs.flight_bytes"] == LARGE


@pytest.mark.skipif("LARDER_LONG" not in os.environ, reason="a gigabyte, 32 times: LARDER_LONG=1")
def test_32_readers_of_a_cold_gigabyte_fetch_each_byte_once(workspace, share):
    size, step = 1 << 30, 1 << 20
    write_pseudo_random(share.source / "large", size)
    age_tree(share.source)
    larder = Larder(workspace, share, size="2560M")

    def sums(path):
        with open(path, "rb", buffering=0) as file:
            return [zlib.crc32(file.read(step)) for _ in range(size // step)]

    with concurrent.futures.ThreadPoolExecutor(32) as readers:
        read = list(readers.map(sums, [larder.path / "large"] * 32))
    right = sums(share.source / "large")
    assert all(one == right for one in read)
    stats = larder.stats()
    assert stats["netfs.bytes_read"] == size
    assert stats["store.fills_dropped_full"] == 0


@pytest.mark.skipif("LARDER_LONG" not in os.environ, reason="a million files: LARDER_LONG=1")
def test_a_find_over_a_million_files_keeps_within_memory(workspace, share):
    for n in range(1000):
        folder = share.source / f"{n:03}"
        folder.mkdir()
        for m in range(1000):
            os.close(os.open(folder / f"{m:03}", os.O_CREAT | os.O_WRONLY, 0o644))
    memory = 64 << 20
    larder = Larder(workspace, share, "memory=64M", size="64M")
    before = larder.resident_bytes()
    most, done = [], threading.Event()

    def look():
        while not done.wait(0.2):
            most.append((larder.counter("vfs.memory"), larder.resident_bytes()))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        found = subprocess.run(["find", larder.path, "-name", ".larder", "-prune", "-o", "-type", "f", "-printf", "."],
                               check=True, capture_output=True)
    finally:
        done.set()
        watcher.join()
    assert len(found.stdout) == 1_000_000
    print("most", max(most), "resident before", before)
    assert max(gauge for gauge, _ in most) <= memory * 1.1
    assert max(resident for _, resident in most) <= before + 2 * memory


def test_random_reads_of_a_page_fetch_that_page(workspace, share):
    write_pseudo_random(share.source / "large", LARGE)
    age_tree(share.source)
    larder = Larder(workspace, share, "direct_io", size="256M")
    offsets = [n << 20 for n in range(1, 64)]  # apart, so that none looks like reading on
    random.Random(seed()).shuffle(offsets)

    def offsets_of(n):
        mine = list(offsets)
        random.Random(f"{seed()}/{n}").shuffle(mine)
        return [(offset, PAGE) for offset in mine]

    results = read_by_threads(larder.path / "large", 8, offsets_of)
    with open(share.source / "large", "rb") as file:
        for offset in offsets:
            expected = os.pread(file.fileno(), PAGE, offset)
            assert all(result[offset] == expected for result in results)
    stats = larder.stats()
    assert stats["vfs.flights"] <= len(offsets)
    assert stats["netfs.bytes_read"] <= len(offsets) * PAGE


def test_a_warm_read_asks_nobody_parks_nothing_and_copies_nothing(workspace, share):
    write_pseudo_random(share.source / "large", 8 << 20)
    age_tree(share.source)
    larder = Larder(workspace, share, "direct_io,attr_timeout=1h,entry_timeout=1h")
    fd = os.open(larder.path / "large", os.O_RDONLY)
    try:
        for offset in range(0, 8 << 20, 1 << 20):
            os.pread(fd, 1 << 20, offset)
        larder.wait_until_filled()
        os.pread(fd, PAGE, 0)
        before = larder.stats()
        reads = 0
        for offset in range(0, 8 << 20, 64 << 10):
            assert len(os.pread(fd, 64 << 10, offset)) == 64 << 10
            assert len(os.pread(fd, 100, offset + 5)) == 100
            reads += 2
        after = larder.stats()
    finally:
        os.close(fd)
    moved = {name: after[name] - before[name]
             for name in ("vfs.parked", "vfs.copied_bytes", "netfs.calls", "vfs.flights")}
    assert moved == {"vfs.parked": 0, "vfs.copied_bytes": 0, "netfs.calls": 0, "vfs.flights": 0}
    assert after["vfs.warm_reads"] - before["vfs.warm_reads"] >= reads


def test_a_mount_that_nobody_uses_rests(workspace, share):
    plant_tree(share)
    larder = Larder(workspace, share, "coherency=ttl=600", size="256M")
    assert_reads_as(share, larder)
    larder.wait_until_filled()
    wait_until(lambda: larder.counter("netfs.in_flight") == 0, "no call is out")

    def used_s():
        with open(f"/proc/{larder.pid}/stat", encoding="ascii") as file:
            words = file.read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    calls, before = larder.counter("netfs.calls"), used_s()
    time.sleep(2)
    assert used_s() - before <= 0.2
    assert larder.counter("netfs.calls") <= calls + 1


def test_one_look_at_a_tree_costs_few_calls_for_each_file(workspace, share):
    """find -ls over larder: names and attributes of a folder, no content."""
    plant_tree(share)
    larder = Larder(workspace, share)
    entries = 0
    for _, folders, files in os.walk(larder.path / "tree"):
        entries += len(folders) + len(files)
    stats = larder.stats()
    assert stats["netfs.data_calls"] == 0
    assert stats["netfs.calls"] <= 6 * entries
    wait_until(lambda: larder.counter("netfs.in_flight") == 0, "no call is out")
