# SPDX-License-Identifier: Apache-2.0
"""Processes: where the binaries are, children that end with us, calls that must end in time.

Nothing waits for a fixed time: `wait_until` asks until a condition holds, and only a failure waits long.
"""
import ctypes
import os
import pathlib
import pickle
import signal
import time
import traceback

BUILD = pathlib.Path(os.environ.get("LARDER_BUILD") or pathlib.Path(__file__).parents[3] / "build")
LARDER = str(BUILD / "fuse" / "larder")
LARDERCTL = str(BUILD / "tools" / "larderctl")
SLOWSHARE = os.environ.get("LARDER_SLOWSHARE") or str(BUILD / "tools" / "slowshare")

PATIENCE_S = 30  # for what must happen; only a failure waits that long

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    """In a child, before exec: killed when the test process goes, however it goes."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(condition, what, patience_s=PATIENCE_S):
    """The first true value of condition()."""
    deadline = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.005)


def kill_as_it_asks(child, asks, round_, patience_s=PATIENCE_S):
    """Kills a child that has written b"w" to `asks` and is about to ask; it gets further from round to round."""
    assert os.read(asks, 1) == b"w"
    asked_by = time.monotonic_ns() + round_ % 50 * 4_000
    while time.monotonic_ns() < asked_by:
        pass
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: os.waitpid(child, os.WNOHANG)[0] == child,
               f"the end of the one killed in round {round_}", patience_s)


class TooLong(AssertionError):
    """A call was still out at its limit."""


def _child(write_end, function, arguments):
    """Does the work and hands the outcome over; never returns."""
    die_with_parent()
    try:
        outcome = ("result", function(*arguments))
    except OSError as error:
        outcome = ("errno", error.errno, str(error))
    except BaseException:  # the parent is told whatever it was
        outcome = ("failure", traceback.format_exc())
    with os.fdopen(write_end, "wb") as pipe:
        pickle.dump(outcome, pipe)
    os._exit(0)


def within(seconds, what, function, *arguments):
    """function(*arguments) in a child process; TooLong where it has not come back in time.

    A child, because a call that hangs in the kernel takes its whole process with it. What it returns must
    be picklable and fit a pipe; an OSError is raised again here.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _child(write_end, function, arguments)
    os.close(write_end)
    began = time.monotonic()
    try:
        ended = 0
        while ended == 0 and time.monotonic() < began + seconds:
            ended, _ = os.waitpid(child, os.WNOHANG)
            if ended == 0:
                time.sleep(0.002)
        if ended == 0:
            os.kill(child, signal.SIGKILL)
            raise TooLong(f"{what} took longer than {seconds} s")
        with os.fdopen(read_end, "rb", closefd=False) as pipe:
            text = pipe.read()
    finally:
        os.close(read_end)
    assert text, f"{what}: the child died"
    outcome = pickle.loads(text)
    if outcome[0] == "errno":
        raise OSError(outcome[1], f"{what}: {outcome[2]}")
    assert outcome[0] == "result", f"{what}: {outcome[1]}"
    return outcome[1]
