# SPDX-License-Identifier: Apache-2.0
"""Which transport larder is tested on: LARDER_TRANSPORT=classic (the default) or uring.

The kernel's switch for FUSE over io_uring is one for the whole machine. Whoever needs it on holds a shared
lock meanwhile; the last to leave puts it back. It is turned on here and nowhere else.
"""
import contextlib
import fcntl
import os
import pathlib

SWITCH = pathlib.Path("/sys/module/fuse/parameters/enable_uring")
LOCK = pathlib.Path("/tmp/larder-enable-uring.lock")

TRANSPORT = os.environ.get("LARDER_TRANSPORT", "classic")


def why_no_uring():
    """Why FUSE over io_uring cannot be turned on here, or None."""
    if not SWITCH.exists():
        return "this kernel has no FUSE over io_uring"
    if not os.access(SWITCH, os.W_OK) and SWITCH.read_text(encoding="ascii").strip() != "Y":
        return f"{SWITCH} cannot be written"
    return None


@contextlib.contextmanager
def uring_switched_on():
    """REQUIRES: why_no_uring() is None."""
    with open(LOCK, "a+", encoding="ascii") as lock:
        os.chmod(LOCK, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if SWITCH.read_text(encoding="ascii").strip() != "Y":
            SWITCH.write_text("Y", encoding="ascii")
            lock.truncate(0)
            lock.write("N")
            lock.flush()
        fcntl.flock(lock, fcntl.LOCK_SH)
        try:
            yield
        finally:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lock.seek(0)
                if lock.read() == "N":
                    SWITCH.write_text("N", encoding="ascii")
                    lock.truncate(0)
