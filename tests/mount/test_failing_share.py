# SPDX-License-Identifier: Apache-2.0
"""A share that answers short, fails now and then, is slow and changes under a read: each read brings one version
that the share held, or the share's error; never a mix of two, and nobody hangs."""
import errno
import os
import random
import subprocess
import threading

import pytest

from support import Larder, Slowshare, age, pseudo_random, wait_until, within
from support.posix import raises
from support.trees import seed

FILES = 4
ROUNDS = 25
PATIENCE_S = 60


class Shelf:
    """Files whose versions are known: each begins with its number, and is of one text throughout."""

    def __init__(self, share):
        self.share = share
        self.versions = [[] for _ in range(FILES)]
        self.lock = threading.Lock()
        self.kept = []  # so that no file's number is given to another: names are trusted for a while
        for n in range(FILES):
            self.change(n)

    def change(self, n):
        with self.lock:
            number = len(self.versions[n])
            content = pseudo_random(60_000 + (n * 7919 + number * 31_337) % 90_000, f"{n}/{number}")
            self.versions[n].append(content)
            fresh = self.share.source / "fresh"
            fresh.write_bytes(content)
            self.kept.append(open(fresh, "rb"))
            age(fresh, number)
            os.rename(fresh, self.share.source / f"file-{n}")

    def held(self, n):
        with self.lock:
            return list(self.versions[n])


def read_to(fd, at, size):
    """As programs do: one call may bring less, where what follows failed. Only the end brings nothing."""
    got = b""
    while len(got) < size:
        more = os.pread(fd, size - len(got), at + len(got))
        if not more:
            break
        got += more
    return got


def read_some(path, chance, known):
    """One open and a few reads. What was read is of one version, and one that there was."""
    with open(path, "rb", buffering=0) as file:
        parts = []
        for _ in range(3):
            at, size = chance.randrange(150_000), chance.choice((1, 4096, 30_000, 150_000))
            parts.append((at, size, read_to(file.fileno(), at, size)))
    versions = known()
    for at, size, got in parts:
        if not any(version[at:at + size] == got for version in versions):
            alike = [(len(version), len(os.path.commonprefix([version[at:], got]))) for version in versions]
            raise AssertionError(f"{path}: {size} bytes at {at} brought {len(got)}; versions, and how far they "
                                 f"are alike: {alike}")


def shown(path):
    """None: within its time a name leads to a file that is gone."""
    try:
        return path.read_bytes()
    except OSError as error:
        assert error.errno == errno.ESTALE
        return None


FAULTS = [("error", "EIO", "file-*", "read"), ("error", "EIO", "file-*", "open"),
          ("error", "EIO", "*", "lookup"), ("error", "EIO", "file-*", "getattr"), ("short", "file-*"),
          ("latency", "3ms"), ("latency", "0")]


@pytest.mark.parametrize("options", ["", "coherency=strict", "coherency=ttl=1", "direct_io"])
def test_each_read_is_of_one_version_or_the_shares_error(workspace, options):
    share = Slowshare(workspace, "latency=0,direct_io")
    shelf = Shelf(share)
    larder = Larder(workspace, share, options)
    failures, over = [], threading.Event()
    done = [0] * 3

    def read_on(who):
        chance = random.Random(f"{seed()}/{who}")
        while not over.is_set() and not failures:
            n = chance.randrange(FILES)
            try:
                read_some(larder.path / f"file-{n}", chance, lambda n=n: shelf.held(n))
            except OSError as error:
                if error.errno not in (errno.EIO, errno.ESTALE):
                    failures.append(repr(error))
            except AssertionError as error:
                failures.append(str(error))
            done[who] += 1

    readers = [threading.Thread(target=read_on, args=(who,)) for who in range(len(done))]
    for reader in readers:
        reader.start()
    chance = random.Random(seed())
    try:
        for _ in range(ROUNDS):
            share.ctl(*chance.choice(FAULTS))
            shelf.change(chance.randrange(FILES))
            reads = list(done)
            wait_until(lambda reads=reads: failures or all(now >= before + 3 for now, before in zip(done, reads)),
                       "readers go on", PATIENCE_S)
            if chance.random() < 0.5:
                share.ctl("clear")
    finally:
        over.set()
        share.ctl("clear")
        share.ctl("latency", "0")
        for reader in readers:
            reader.join(PATIENCE_S)
    assert not failures, failures[:3]
    # When it is well again, all is as it is there.
    for n in range(FILES):
        wait_until(lambda n=n: shown(larder.path / f"file-{n}") == shelf.held(n)[-1], "the last version is shown")


def test_a_file_that_grows_and_shrinks_under_its_readers_is_read_to_its_end(workspace):
    """The share lies about sizes: what it said is not so any more when it is read."""
    share = Slowshare(workspace, "latency=1ms,direct_io")
    path = share.source / "file"
    texts = [bytes([letter]) * size for letter, size in
             zip(b"abcdefgh", (100_000, 10, 150_000, 4096, 0, 70_000, 4097, 99_999))]
    path.write_bytes(texts[0])
    larder = Larder(workspace, share)

    def look():
        for n in range(200):
            if n % 5 == 0:
                path.write_bytes(texts[n // 5 % len(texts)])
            shown = (larder.path / "file").read_bytes()
            # One letter: the file is cut and written in two steps, so it may be short.
            assert len(set(shown)) <= 1, set(shown)
        path.write_bytes(texts[-1])
        age(path)
        assert (larder.path / "file").read_bytes() == texts[-1]

    within(PATIENCE_S, "reading a file that changes", look)


@pytest.mark.parametrize("how", [0, os.O_APPEND], ids=["in place", "appended"])
def test_a_write_that_has_room_in_part_says_how_much(workspace, how):
    """As on the share itself; and what was not taken is not read back."""
    small = workspace.folder("small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", small], check=True, timeout=30)
    try:
        larder = Larder(workspace, small)
        filling = os.open(small / "filling", os.O_WRONLY | os.O_CREAT)
        os.posix_fallocate(filling, 0, 700_000)
        data = pseudo_random(600_000, "too much")

        def write_too_much(folder):
            fd = os.open(folder / "file", os.O_RDWR | os.O_CREAT | how)
            taken = os.write(fd, data)
            with raises(errno.ENOSPC):
                os.write(fd, data[taken:])
            assert os.fstat(fd).st_size == taken
            assert os.pread(fd, len(data), 0) == data[:taken]
            os.close(fd)
            os.unlink(folder / "file")
            return taken

        assert 0 < write_too_much(small) == write_too_much(larder.path) < len(data)
        os.close(filling)
        larder.umount()
    finally:
        subprocess.run(["umount", "-l", small], check=False, timeout=30)
