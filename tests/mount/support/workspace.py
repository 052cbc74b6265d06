# SPDX-License-Identifier: Apache-2.0
"""Workspace: a folder of its own in /tmp that leaves nothing behind.

Everything that a test mounts lies below the folder, and every process that it starts is a child that is
known by its pid, or (a daemon) names the folder in its command line. Leaving the workspace, also by a
failure or an interrupt, goes in this order: what hangs is let go (`on_leave` callbacks), mounts go from the
innermost out, processes end, the folder is removed. What could not be removed is a failure of the test.
"""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import pytest

from .processes import die_with_parent, wait_until

# After which a test that hangs in the kernel is freed by killing what it hangs in.
WATCHDOG_S = 2400 if "LARDER_LONG" in os.environ else 420
_UMOUNT_S = 10


def _mounts():
    """(mount point, type) of each mount, in the order in which they were made."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        for line in lines:
            left, right = line.rstrip("\n").split(" - ", 1)
            point = left.split()[4].encode().decode("unicode_escape")
            found.append((point, right.split()[0]))
    return found


def mount_points_below(path):
    prefix = str(path) + "/"
    return [point for point, _ in _mounts() if point.startswith(prefix)]


def is_mounted(path):
    return any(point == str(path) for point, _ in _mounts())


def mount_type_at(path):
    """Of the topmost mount there; None: none."""
    types = [kind for point, kind in _mounts() if point == str(path)]
    return types[-1] if types else None


def why_no_fuse():
    """Why nothing can be mounted here, or None."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"/dev/fuse cannot be used: {error.strerror}"
    return None


class Workspace:
    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="larder-mount-")).resolve()
        os.chmod(self.path, 0o755)  # tests as another user come in
        # A run directory of its own: nobody is handed another test's mount.
        os.environ["LARDER_RUN"] = str(self.path / "run")
        self.on_leave = []     # called first, newest first
        self.complaints = []   # what went wrong beside the test's own assertions
        self._children = []
        self._logs = 0
        self._watchdog = threading.Timer(WATCHDOG_S, self._bark)
        self._watchdog.daemon = True

    def __enter__(self):
        self._watchdog.start()
        return self

    def __exit__(self, kind, *_):
        self._watchdog.cancel()
        self._leave()
        if self.complaints and kind is None:
            pytest.fail("\n".join(self.complaints))

    def __truediv__(self, name):
        return self.path / name

    def __str__(self):
        return str(self.path)

    def folder(self, name):
        path = self.path / name
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            pass  # not looked at: it may be a dead mount
        return path

    def new_log(self, name):
        self._logs += 1
        return self.path / f"{name}-{self._logs}.log"

    def spawn(self, arguments, log=None, **options):
        """A child that is ended with the workspace, its output in a file."""
        log = log or self.new_log(pathlib.Path(arguments[0]).name)
        with open(log, "wb") as output:
            child = subprocess.Popen([str(a) for a in arguments], stdin=subprocess.DEVNULL, stdout=output,
                                     stderr=output, preexec_fn=die_with_parent, **options)
        child.log = log
        self._children.append(child)
        return child

    # -- leaving ---------------------------------------------------------------------------------

    def _bark(self):
        """On the watchdog's thread, while the test hangs in the kernel: its calls end with an error."""
        self.complaints.append(f"the test did not end within {WATCHDOG_S} s")
        self._let_go()
        for child in self._children:
            if child.poll() is None:
                child.kill()

    def _let_go(self):
        while self.on_leave:
            try:
                self.on_leave.pop()()
            except Exception as error:  # the rest of the clean-up matters more
                self.complaints.append(f"while cleaning up: {error!r}")

    def _leave(self):
        try:
            self._let_go()
            self._unmount_all()
        finally:
            self._end_children()
            self._end_strays()
            self._unmount_all()
            if mount_points_below(self.path):
                self.complaints.append(f"still mounted: {mount_points_below(self.path)}")
            else:
                shutil.rmtree(self.path, ignore_errors=True)

    def _unmount_all(self):
        for point in reversed(mount_points_below(self.path)):
            for extra in ([], ["-l"]):
                try:
                    done = subprocess.run(["umount", *extra, point], timeout=_UMOUNT_S, check=False,
                                          capture_output=True)
                except subprocess.TimeoutExpired:
                    continue
                if done.returncode == 0:
                    break

    def _end_children(self):
        running = [child for child in reversed(self._children) if child.poll() is None]
        for send in (signal.SIGTERM, signal.SIGKILL):
            for child in running:
                if child.poll() is None:
                    child.send_signal(send)
            deadline = time.monotonic() + 5
            for child in running:
                try:
                    child.wait(max(deadline - time.monotonic(), 0.05))
                except subprocess.TimeoutExpired:
                    pass
            running = [child for child in running if child.poll() is None]
        for child in running:
            self.complaints.append(f"process {child.pid} does not end: {child.args}")

    def _strays(self):
        """Daemons: no children of ours, but nobody else's command line names this folder."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(self.path).encode() in words:
                found.append(int(entry.name))
        return found

    def _end_strays(self):
        for send in (signal.SIGTERM, signal.SIGKILL):
            for pid in self._strays():
                try:
                    os.kill(pid, send)
                except ProcessLookupError:
                    pass
            try:
                wait_until(lambda: not self._strays(), "daemons end", patience_s=5)
                return
            except AssertionError:
                continue
        self.complaints.append(f"processes that do not end: {self._strays()}")
