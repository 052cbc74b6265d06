# SPDX-License-Identifier: Apache-2.0
"""Load on a mount, in processes of its own: whatever hangs in the kernel, the test does not."""
import os
import random
import select
import signal
import time
import traceback

from .processes import PATIENCE_S, die_with_parent


def connection_of(path):
    """The number of the FUSE connection mounted there, without asking the mount; None: none."""
    found = None
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        for line in lines:
            words = line.split()
            if words[4].encode().decode("unicode_escape") == str(path):
                found = int(words[2].split(":")[1])
    return found


def abort(connection):
    """Every call on this connection ends with an error, whatever it waits for. False: it has gone."""
    if connection is None:
        return False
    try:
        with open(f"/sys/fs/fuse/connections/{connection}/abort", "w", encoding="ascii") as file:
            file.write("1")
    except OSError:
        return False
    return True


def where_it_waits(pid):
    """Each thread of a process, its state and what it waits for in the kernel."""
    lines = []
    try:
        for task in sorted(os.listdir(f"/proc/{pid}/task")):
            words = []
            for name in ("comm", "stat", "wchan", "stack"):
                try:
                    with open(f"/proc/{pid}/task/{task}/{name}", encoding="utf-8", errors="replace") as file:
                        text = file.read()
                except OSError as error:
                    text = error.strerror
                words.append(text.rsplit(")", 1)[1].split()[0] if name == "stat" and ")" in text else text.strip())
            lines.append(f"{task} " + " ".join(words[:3]) + "\n" + words[3])
    except OSError:
        pass
    return "\n".join(lines)


class Worker:
    """A child that does `work(chance)` again and again until it meets an error."""

    def __init__(self, work, salt):
        self.reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._child(writer, work, random.Random(salt))
        os.close(writer)
        self.ended = False

    @staticmethod
    def _child(writer, work, chance):
        die_with_parent()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        code = 0
        try:
            while True:
                work(chance)
                os.write(writer, b".")
        except OSError:
            pass  # the mount has gone
        except BaseException:
            traceback.print_exc()
            code = 1
        os._exit(code)

    def wait(self, patience_s):
        """The exit code; None: it still runs."""
        deadline = time.monotonic() + patience_s
        while not self.ended:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid != 0:
                self.ended = True
                os.close(self.reader)
                self.code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                return None
            else:
                time.sleep(0.002)
        return self.code


class Load:
    """Workers on one mount. `works`: functions of a random.Random."""

    def __init__(self, works, salt):
        self.workers = []
        for n, work in enumerate(works):
            self.workers.append(Worker(work, f"{salt}-{n}"))

    def wait_for_steps(self, count):
        """Until the workers have done so many pieces of work in all."""
        deadline = time.monotonic() + PATIENCE_S
        while count > 0:
            ready, _, _ = select.select([one.reader for one in self.workers], [], [],
                                        max(deadline - time.monotonic(), 0))
            assert ready, "the load makes no progress"
            for reader in ready:
                done = os.read(reader, 64)
                assert done, "a part of the load ended early"
                count -= len(done)

    def join(self, connection):
        """Every worker has ended, by the death of the mount; what hangs on it is freed and told."""
        hung = [one for one in self.workers if one.wait(PATIENCE_S) is None]
        if not hung:
            assert all(one.code == 0 for one in self.workers)
            return
        where = "\n".join(where_it_waits(one.pid) for one in hung)
        abort(connection)
        for one in hung:
            os.kill(one.pid, signal.SIGKILL)
            one.wait(5)
        raise AssertionError("calls on a mount whose larder was killed hang:\n" + where)

    def end(self):
        for one in self.workers:
            if not one.ended:
                os.kill(one.pid, signal.SIGKILL)
                one.wait(5)
