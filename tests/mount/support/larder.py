# SPDX-License-Identifier: Apache-2.0
"""Larder under test: in the foreground as our child, so that its pid, its log and its end are ours."""
import json
import os
import subprocess

from .processes import LARDER, LARDERCTL, PATIENCE_S, wait_until
from .shares import Slowshare
from .transport import TRANSPORT
from .workspace import is_mounted

MOUNTED = " is mounted at "


def run_larder(*arguments, timeout=PATIENCE_S, program=LARDER, **options):
    """As a user calls it: returns when the mount stands or is refused."""
    return subprocess.run([str(program), *map(str, arguments)], check=False, capture_output=True, text=True,
                          timeout=timeout, stdin=subprocess.DEVNULL, **options)


def larder_with_a_hung_read(workspace):
    """A larder on a slowshare of which one file hangs, and the process that reads it."""
    share = Slowshare(workspace)
    (share.source / "cold").write_bytes(b"x" * (1 << 20))
    larder = Larder(workspace, share)
    os.listdir(larder.path)
    share.ctl("hang", "cold")
    reader = workspace.spawn(["cat", larder.path / "cold"])
    wait_until(lambda: larder.counter("netfs.in_flight") > 0, "the share is asked")
    return larder, reader


class Larder:
    def __init__(self, workspace, share, options="", name="fast", size="64M", store=None):
        self.workspace = workspace
        self.share = str(getattr(share, "path", share))
        self.path = workspace.folder(name)
        self.store = store or workspace / f"{name}.store"
        self.options = options
        self.size = size
        self.process = None
        self.log = None
        self._may_die = True
        workspace.on_leave.append(self._look_at_the_end)
        self.mount()

    # -- coming and going ------------------------------------------------------------------------

    def mount(self, options=None):
        assert self.process is None
        if options is not None:
            self.options = options
        words = [f"store={self.store}", f"size={self.size}", "commit=100", f"transport={TRANSPORT}"]
        words += [self.options] if self.options else []
        self.log = self.workspace.new_log("larder")
        self.process = self.workspace.spawn([LARDER, "-f", "-o", ",".join(words), self.share, self.path],
                                            log=self.log)
        self._may_die = False
        wait_until(lambda: self.process.poll() is not None or MOUNTED in self.log.read_text(),
                   "larder is mounted")
        assert self.process.poll() is None, self.log.read_text()
        return self

    @property
    def pid(self):
        return self.process.pid

    def umount(self):
        """As a user does; larder ends by itself, and well."""
        self.umount_only()
        self.ended_well()

    def umount_only(self):
        """Where the process serves other mounts too."""
        subprocess.run(["umount", self.path], check=True, timeout=PATIENCE_S)

    def ended_well(self):
        code = self.process.wait(PATIENCE_S)
        self._check_log()
        self.process = None
        assert code == 0, f"exit code {code}:\n{self.log.read_text()}"

    @property
    def last_log(self):
        return self.log.read_text(errors="replace")

    def kill9(self, wait=True):
        """The mount point is left dead. `wait`: no, where a thread of it hangs in the share."""
        self._may_die = True
        self.process.kill()
        if wait:
            self.process.wait(PATIENCE_S)
        self.process = None

    def remount(self, options=None):
        self.umount()
        return self.mount(options)

    def _check_log(self):
        text = self.log.read_text(errors="replace")
        for word in ("broken invariant", "Sanitizer", "terminate called"):
            if word in text:
                self.workspace.complaints.append(f"{self.log.name}:\n{text}")

    def _look_at_the_end(self):
        if self.process is None:
            return
        code = self.process.poll()
        if code is not None and not self._may_die:
            text = self.log.read_text(errors="replace")
            self.workspace.complaints.append(f"larder ended with {code} under the test:\n{text}")
        self._check_log()

    # -- looking inside --------------------------------------------------------------------------

    def stats(self):
        """Name -> value of all counters; of histograms how many values."""
        with open(self.path / ".larder" / "stats.json", encoding="utf-8") as file:
            figures = json.load(file)
        return {name: one.get("value", one.get("count")) for name, one in figures.items()
                if isinstance(one, dict) and ("value" in one or "count" in one)}

    def about(self):
        """What stats.json says beside counters: share, store, engine."""
        with open(self.path / ".larder" / "stats.json", encoding="utf-8") as file:
            return json.load(file)

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmRSS:"))

    def counter(self, name):
        return self.stats()[name]

    def wait_for(self, name, predicate, patience_s=PATIENCE_S):
        last = []

        def holds():
            last[:] = [self.counter(name)]
            return predicate(last[0])

        try:
            wait_until(holds, name, patience_s)
        except AssertionError as error:
            raise AssertionError(f"{name} stays {last[0]}") from error
        return last[0]

    def ctl(self, *words, **options):
        return subprocess.run([LARDERCTL, *map(str, words), str(self.path)], check=False, capture_output=True,
                              text=True, timeout=PATIENCE_S, **options)

    def wait_until_filled(self):
        """Every fetch so far has come to rest: its pages are in the store, or dropped. Only where nothing
        was written through this mount, since writes fill too."""
        ends = ("store.fills", "store.fills_dropped_full", "store.fills_dropped_stale", "store.fill_errors",
                "vfs.fills_skipped", "vfs.stale_flights")

        def rested():
            now = self.stats()
            return now["store.fill_in_flight_bytes"] == 0 and \
                sum(now[name] for name in ends) >= now["vfs.flights"]

        wait_until(rested, "all fetched pages are in the store")

    def wait_until_committed(self, marks):
        """What is in the store is also in its journal. `marks`: two files, not read before, whose fills make
        a commit each: the second commit began when the first was over, so it took all that was there."""
        for mark in marks:
            before = self.counter("store.commits")
            with open(mark, "rb") as file:
                assert file.read()
            self.wait_for("store.commits", lambda now, before=before: now > before)

    def is_mounted(self):
        return is_mounted(self.path)

    def listing(self, below=""):
        return sorted(os.listdir(self.path / below))
