# SPDX-License-Identifier: Apache-2.0
"""Files that are not cached (nocache=): served by the kernel itself where it may, else by larder, and never
from the store."""
import errno
import mmap
import os
import platform
import random
import threading

import pytest

from support import Larder, LocalShare, Slowshare, SshShare, age_tree, pseudo_random, wait_until

SIZE = 3 << 20


def why_no_pass_through():
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    if os.geteuid() != 0:
        return "only root may hand files to the kernel"
    if release < (6, 9):
        return "FUSE passes files through since Linux 6.9"
    return None


NEEDS_PASS_THROUGH = pytest.mark.skipif(why_no_pass_through() is not None, reason=str(why_no_pass_through()))


@pytest.fixture(name="raw")
def fixture_raw(workspace):
    """A directory with files that are to be kept and one that is not."""
    share = LocalShare(workspace)
    fill(share)
    return share


def fill(share):
    (share.source / "kept").write_bytes(pseudo_random(100_000, "kept"))
    (share.source / "raw").mkdir()
    (share.source / "raw" / "large").write_bytes(pseudo_random(SIZE, "large"))
    age_tree(share.source)


def requests(larder):
    now = larder.stats()
    return now["vfs.reads"], now["vfs.writes"]


@NEEDS_PASS_THROUGH
def test_the_kernel_reads_and_writes_what_is_not_cached_by_itself(workspace, raw):
    larder = Larder(workspace, raw, "nocache=raw")
    path = larder.path / "raw" / "large"
    image = bytearray((raw.source / "raw" / "large").read_bytes())
    before = requests(larder)
    assert path.read_bytes() == image
    with open(path, "r+b", buffering=0) as file:
        for at, data in ((0, b"first"), (4090, b"over a page's end"), (SIZE - 2, b"beyond the end")):
            assert os.pwrite(file.fileno(), data, at) == len(data)
            image[at:at + len(data)] = data
            assert os.fstat(file.fileno()).st_size == len(image)
            assert os.pread(file.fileno(), 50, at) == image[at:at + 50]
        with mmap.mmap(file.fileno(), len(image)) as mapped:
            mapped[70_000:70_006] = b"mapped"
            image[70_000:70_006] = b"mapped"
            assert mapped[:] == image
        os.fsync(file.fileno())
    with open(path, "ab", buffering=0) as file:
        file.write(b"the end")
        image += b"the end"
    assert requests(larder) == before, "no read and no write came to larder"
    assert (raw.source / "raw" / "large").read_bytes() == image
    assert os.stat(path).st_size == len(image)
    os.truncate(path, 10)
    assert path.read_bytes() == image[:10]
    with open(path, "wb") as file:
        file.write(b"anew")
    assert path.read_bytes() == (raw.source / "raw" / "large").read_bytes() == b"anew"
    now = larder.stats()
    assert now["vfs.pass_through_opens"] == now["vfs.excluded_opens"] == 6
    assert now["vfs.pass_through_refused"] == now["store.fills"] == 0


@NEEDS_PASS_THROUGH
def test_what_is_made_removed_and_renamed_while_it_is_open(workspace, raw):
    larder = Larder(workspace, raw, "nocache=raw")
    path = larder.path / "raw" / "new"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    assert os.write(fd, b"one") == 3
    os.rename(path, larder.path / "plain")
    assert os.write(fd, b"two") == 3
    other = os.open(larder.path / "plain", os.O_RDONLY)
    assert os.read(other, 10) == b"onetwo"
    os.unlink(larder.path / "plain")
    assert os.pread(fd, 10, 3) == b"two"
    assert os.pread(other, 10, 0) == b"onetwo"
    os.close(fd)
    os.close(other)
    assert requests(larder) == (0, 0)
    assert not (raw.source / "plain").exists()


@NEEDS_PASS_THROUGH
def test_a_change_on_the_share_shows_at_once(workspace, raw):
    larder = Larder(workspace, raw, "nocache=raw,coherency=ttl=600")
    with open(larder.path / "raw" / "large", "rb", buffering=0) as file:
        assert os.pread(file.fileno(), 4, 0) == pseudo_random(SIZE, "large")[:4]
        with open(raw.source / "raw" / "large", "r+b") as other:
            other.write(b"else")
        assert os.pread(file.fileno(), 4, 0) == b"else"
        os.truncate(raw.source / "raw" / "large", 4)
        assert os.fstat(file.fileno()).st_size == 4


def test_eight_readers_of_random_sizes_see_the_right_bytes(workspace, raw):
    larder = Larder(workspace, raw, "nocache=raw")
    want = (raw.source / "raw" / "large").read_bytes()
    wrong = []

    def read(seed):
        chance = random.Random(seed)
        for how in (os.O_RDONLY, os.O_RDONLY | os.O_DIRECT, os.O_RDWR):
            fd = os.open(larder.path / "raw" / "large", how)
            for _ in range(20):
                size, at = chance.choice((1, 4095, 4096, 65536, 1 << 20)), chance.randrange(SIZE)
                if how & os.O_DIRECT:
                    size, at = (size + 4095) & ~4095, at & ~4095
                buffer = mmap.mmap(-1, size)
                got = os.preadv(fd, [buffer], at)
                if buffer[:got] != want[at:at + size]:
                    wrong.append((seed, how, at, size))
            os.close(fd)

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert not wrong
    assert larder.counter("store.fills") == 0


@pytest.mark.parametrize("options", ["permissions=share", "creds=caller", "writeback_cache",
                                     "coherency=strict", "direct_io", "verify"])
def test_where_it_is_not_passed_through_larder_reads_and_writes_it(workspace, raw, options):
    if "caller" in options and os.geteuid() != 0:
        pytest.skip("creds=caller is for root")
    larder = Larder(workspace, raw, f"nocache=raw:*.db,{options}")
    path = larder.path / "raw" / "large"
    want = (raw.source / "raw" / "large").read_bytes()
    for _ in range(2):
        assert path.read_bytes() == want
    (larder.path / "x.db").write_bytes(b"made here")
    assert (larder.path / "x.db").read_bytes() == (raw.source / "x.db").read_bytes() == b"made here"
    with open(path, "r+b", buffering=0) as file:
        assert os.pwrite(file.fileno(), b"changed", 5000) == 7
        assert os.pread(file.fileno(), 9, 4999) == want[4999:5000] + b"changed" + want[5007:5008]
    now = larder.stats()
    assert now["vfs.pass_through_opens"] == 0
    assert now["vfs.excluded_opens"] >= 5
    assert now["vfs.reads"] > 0 and now["store.fills"] == 0
    assert (larder.path / "kept").read_bytes() == (raw.source / "kept").read_bytes()
    larder.wait_for("store.fills", lambda fills: fills > 0)


def check_on(larder, source):
    """Whichever way the kernel and this share allow: readers and writers at once, with errors."""
    path = larder.path / "raw" / "large"
    image = bytearray((source / "raw" / "large").read_bytes())
    with open(path, "rb", buffering=0) as reader, open(path, "r+b", buffering=0) as writer:
        assert os.pread(reader.fileno(), 100_000, 5) == image[5:100_005]
        for at in (0, 5000, SIZE - 3):
            assert os.pwrite(writer.fileno(), b"written", at) == 7
            image[at:at + 7] = b"written"
            assert os.pread(writer.fileno(), 20, at) == image[at:at + 20]
            os.fsync(writer.fileno())
            assert os.pread(reader.fileno(), 20, at) == image[at:at + 20]
        assert os.fstat(reader.fileno()).st_size == len(image)
    assert path.read_bytes() == image
    assert (source / "raw" / "large").read_bytes() == image
    assert larder.counter("store.fills") == 0
    assert larder.counter("vfs.excluded_opens") == 3


def test_a_share_that_is_a_fuse_file_system(workspace):
    share = Slowshare(workspace)
    fill(share)
    larder = Larder(workspace, share, "nocache=raw")
    check_on(larder, share.source)
    # What a write met is told to who wrote, at the latest when he closes.
    share.ctl("error", "ENOSPC", "large", "write")
    with pytest.raises(OSError) as told:
        fd = os.open(larder.path / "raw" / "large", os.O_WRONLY)
        try:
            os.write(fd, b"x")
            os.fsync(fd)
        finally:
            os.close(fd)
    assert told.value.errno == errno.ENOSPC
    share.ctl("clear")


def test_a_share_over_ssh(workspace):
    ssh = SshShare(workspace)
    fill(ssh)
    check_on(Larder(workspace, ssh, "nocache=raw"), ssh.source)


def test_a_larder_on_a_larder_does_not_pass_through_twice(workspace, raw):
    below = Larder(workspace, raw, "nocache=raw")
    above = Larder(workspace, below, "nocache=raw", name="above")
    assert (above.path / "raw" / "large").read_bytes() == (raw.source / "raw" / "large").read_bytes()
    assert above.counter("vfs.pass_through_opens") == 0
    above.umount()


@NEEDS_PASS_THROUGH
def test_killed_while_a_file_is_passed_through_it_is_mounted_again(workspace, raw):
    larder = Larder(workspace, raw, "nocache=raw")
    with open(larder.path / "raw" / "large", "rb", buffering=0) as file:
        assert os.pread(file.fileno(), 4, 0) == pseudo_random(SIZE, "large")[:4]
        larder.kill9()
    larder.mount()
    assert (larder.path / "raw" / "large").read_bytes() == pseudo_random(SIZE, "large")
    larder.umount()


@NEEDS_PASS_THROUGH
def test_the_share_may_be_unmounted_once_nobody_has_a_file_of_it_open(workspace):
    share = Slowshare(workspace)
    fill(share)
    larder = Larder(workspace, share, "nocache=raw")
    assert (larder.path / "raw" / "large").read_bytes() == pseudo_random(SIZE, "large")
    wait_until(lambda: larder.counter("vfs.handles") == 0, "the file is closed")
    larder.umount()
    wait_until(lambda: share.stats()["open_files"] == 0 if "open_files" in share.stats() else True,
               "the share's file is closed")
