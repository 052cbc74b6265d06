# SPDX-License-Identifier: Apache-2.0
"""Locks: kept by this machine's kernel, or (locks=share) by the share, for all its clients."""
import errno
import fcntl
import os
import signal
import struct

import pytest

from support import Larder, LocalShare, kill_as_it_asks, wait_until, within
from support.posix import raises

NOT_NOW = (errno.EAGAIN, errno.EACCES)


@pytest.fixture(name="share")
def fixture_share(workspace):
    share = LocalShare(workspace)
    (share.source / "file").write_bytes(b"0123456789" * 100)
    return share


@pytest.fixture(name="here")
def fixture_here(workspace, share):
    return Larder(workspace, share, "locks=share").path


@pytest.fixture(name="there")
def fixture_there(workspace, share):
    """Another client of the same share."""
    return Larder(workspace, share, "locks=share", name="other").path


def lock_in_child(path, kind, start, length):
    """What a process of its own is told: None where it got the lock."""
    def attempt():
        with open(path, "r+b") as file:
            fcntl.lockf(file, kind | fcntl.LOCK_NB, length, start)
    try:
        within(10, "a lock", attempt)
    except OSError as error:
        return error.errno
    return None


def blocker_of(fd, kind, start, length):
    """F_GETLK: the type of lock that stands in the way."""
    asked = struct.pack("hhqqi", kind, os.SEEK_SET, start, length, 0)
    return struct.unpack("hhqqi", fcntl.fcntl(fd, fcntl.F_GETLK, asked)[:28])[0]


def test_ranges_exclude_each_other_between_clients_and_on_the_share(share, here, there):
    with open(here / "file", "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 100, 50)
        for other in (here, there, share.source):
            assert lock_in_child(other / "file", fcntl.LOCK_EX, 60, 10) in NOT_NOW
            assert lock_in_child(other / "file", fcntl.LOCK_SH, 149, 1) in NOT_NOW
            assert lock_in_child(other / "file", fcntl.LOCK_EX, 0, 50) is None
            assert lock_in_child(other / "file", fcntl.LOCK_EX, 150, 0) is None
        with open(there / "file", "r+b") as blocked:
            assert blocker_of(blocked, fcntl.F_RDLCK, 0, 1000) == fcntl.F_WRLCK
            assert blocker_of(blocked, fcntl.F_RDLCK, 0, 50) == fcntl.F_UNLCK
        fcntl.lockf(file, fcntl.LOCK_UN, 50, 50)
        assert lock_in_child(there / "file", fcntl.LOCK_EX, 50, 50) is None
        assert lock_in_child(there / "file", fcntl.LOCK_EX, 100, 50) in NOT_NOW


def test_readers_share_and_the_holder_sees_what_the_last_one_wrote(here, there):
    with open(here / "file", "r+b", buffering=0) as one, open(there / "file", "r+b", buffering=0) as other:
        fcntl.lockf(one, fcntl.LOCK_SH)
        fcntl.lockf(other, fcntl.LOCK_SH)
        assert lock_in_child(here / "file", fcntl.LOCK_EX, 0, 0) in NOT_NOW
        fcntl.lockf(one, fcntl.LOCK_UN)
        fcntl.lockf(other, fcntl.LOCK_EX)
        other.write(b"written by the other")
        fcntl.lockf(other, fcntl.LOCK_UN)
        fcntl.lockf(one, fcntl.LOCK_SH)
        wait_until(lambda: os.pread(one.fileno(), 20, 0) == b"written by the other", "it is seen")


def test_a_close_lets_go_of_what_the_process_holds(here, there):
    one = os.open(here / "file", os.O_RDWR)
    other = os.open(here / "file", os.O_RDONLY)
    fcntl.lockf(one, fcntl.LOCK_EX)
    assert lock_in_child(there / "file", fcntl.LOCK_EX, 0, 0) in NOT_NOW
    os.close(other)  # any descriptor of the file, as POSIX has it
    assert lock_in_child(there / "file", fcntl.LOCK_EX, 0, 0) is None
    fcntl.lockf(one, fcntl.LOCK_EX)
    os.close(one)
    assert lock_in_child(there / "file", fcntl.LOCK_EX, 0, 0) is None


def test_whole_files_are_locked_by_the_handle(here, there):
    with open(here / "file", "rb") as one, open(here / "file", "rb") as second, \
            open(there / "file", "rb") as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        for file in (second, other):
            with raises(*NOT_NOW):
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(one, fcntl.LOCK_SH)
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(one, fcntl.LOCK_UN)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # The kernel does not wait for the release that a close sends: the lock goes a moment behind it.
    with open(here / "file", "rb") as one:
        wait_until(lambda: takes_the_whole(one), "the lock went with the handle")


def takes_the_whole(file):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        assert error.errno in NOT_NOW
        return False
    return True


def wait_for_lock(path, ready):
    """A child that waits for the file's lock; `ready` is written before and behind."""
    child = os.fork()
    if child == 0:
        file = os.open(path, os.O_RDWR)
        os.write(ready, b"w")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX)
        except OSError:
            os._exit(2)
        os.write(ready, b"l")
        os._exit(0)
    return child


def test_who_waits_gets_the_lock_when_it_is_free(here, there):
    ours, theirs = os.pipe()
    with open(here / "file", "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        child = wait_for_lock(there / "file", theirs)
        assert os.read(ours, 1) == b"w"
        fcntl.lockf(file, fcntl.LOCK_UN)
        assert os.read(ours, 1) == b"l"
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(ours)
    os.close(theirs)


def test_who_waits_can_be_killed(here, there):
    ours, theirs = os.pipe()
    with open(here / "file", "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        child = wait_for_lock(there / "file", theirs)
        assert os.read(ours, 1) == b"w"
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        fcntl.lockf(file, fcntl.LOCK_UN)
        assert lock_in_child(here / "file", fcntl.LOCK_EX, 0, 0) is None
    os.close(ours)
    os.close(theirs)


def test_who_is_killed_as_he_asks_goes_too(here, there):
    """Whenever it comes: the kernel need not tell of a signal that was there before the question."""
    ours, theirs = os.pipe()
    with open(here / "file", "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        for round_ in range(200):
            child = wait_for_lock(there / "file", theirs)
            kill_as_it_asks(child, ours, round_)
        fcntl.lockf(file, fcntl.LOCK_UN)
        assert lock_in_child(here / "file", fcntl.LOCK_EX, 0, 0) is None
    os.close(ours)
    os.close(theirs)


def test_local_locks_do_not_reach_the_share(workspace, share):
    here = Larder(workspace, share, name="local").path
    with open(here / "file", "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert lock_in_child(here / "file", fcntl.LOCK_EX, 0, 0) in NOT_NOW
        assert lock_in_child(share.source / "file", fcntl.LOCK_EX, 0, 0) is None
