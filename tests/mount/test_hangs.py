# SPDX-License-Identifier: Apache-2.0
"""A share that reads a request and never answers: what does not need it works on, each within 2 s.

The limit is a promise of larder, so it is a watchdog here, in a child process: a call that hangs in the
kernel takes its process with it. Readers of what hangs are processes of their own for the same reason, and
the share lets go of them before anything is waited for.
"""
import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from support import (LARDERCTL, Larder, Slowshare, age_tree, is_mounted, kill_as_it_asks, pseudo_random,
                     run_larder, wait_until, within)
from support.load import where_it_waits

LIMIT_S = 2
OPTIONS = "share_slow=1,share_deadline=20"

# Opens PATH COUNT times and reads a page each, all at once, at different places; prints how many were right.
READERS = textwrap.dedent("""
    import os, sys, threading
    path, count = sys.argv[1], int(sys.argv[2])
    good = []
    def read(n):
        try:
            fd = os.open(path, os.O_RDONLY)
            data = os.pread(fd, 4096, n * 65536)
            os.close(fd)
            good.append(len(data) == 4096 and data == bytes([n % 251]) * 4096)
        except OSError as error:
            good.append(error.errno)
    threads = [threading.Thread(target=read, args=(n,)) for n in range(count)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(sum(1 for one in good if one is True), flush=True)
""")


class World:
    def __init__(self, workspace, options=""):
        self.workspace = workspace
        self.share = Slowshare(workspace)
        (self.share.source / "warm").write_bytes(pseudo_random(3 << 20, "warm"))
        with open(self.share.source / "stuck", "wb") as file:
            for n in range(256):
                file.write(bytes([n % 251]) * 65536)
        (self.share.source / "cold").write_bytes(b"cold" * 1000)
        (self.share.source / "stuck-folder").mkdir()
        age_tree(self.share.source)
        self.larder = Larder(workspace, self.share, ",".join([OPTIONS] + ([options] if options else [])))
        self.warm = (self.share.source / "warm").read_bytes()
        assert (self.larder.path / "warm").read_bytes() == self.warm
        os.listdir(self.larder.path)
        os.statvfs(self.larder.path)
        self.larder.wait_until_filled()

    def readers(self, count):
        return self.workspace.spawn([sys.executable, "-c", READERS, self.larder.path / "stuck", count])

    def hang(self, *what, readers=1):
        """Requests hang, and somebody waits for one of them."""
        before = self.larder.counter("vfs.opens")
        self.share.ctl("hang", *what)
        children = self.readers(readers)
        self.share.wait_for_parked(1)
        if readers > 1:  # all are there: none comes later, to a mount that is new by then
            self.larder.wait_for("vfs.opens", lambda now: now >= before + readers)
        return children

    def read_warm(self):
        """Through larder, not from the kernel's pages. Runs in a child."""
        with open(self.larder.path / "warm", "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            return file.readall() == self.warm

    def goes_on(self, readers, count):
        self.share.ctl("clear")
        assert readers.wait(30) == 0
        assert readers.log.read_text().split() == [str(count)], "all hung reads are answered, and right"
        assert (self.larder.path / "cold").read_bytes() == b"cold" * 1000


@pytest.fixture(name="world")
def fixture_world(workspace):
    return World(workspace)


HANGS = [["stuck", "read"], ["*", "read"], ["stuck"], ["*"]]


@pytest.mark.parametrize("what", HANGS, ids=" ".join)
def test_cached_reads_are_answered(world, what):
    world.share.ctl("hang", *what)
    readers = world.readers(1)
    world.share.wait_for_parked(1)
    for _ in range(3):
        assert within(LIMIT_S, "a cached read", world.read_warm)
    world.share.ctl("clear")
    assert readers.wait(30) == 0


@pytest.mark.parametrize("what", HANGS, ids=" ".join)
def test_df_stats_and_the_control_files_answer(world, what):
    world.share.ctl("hang", *what)
    readers = world.readers(1)
    world.share.wait_for_parked(1)
    larder = world.larder

    def run(*words):
        return subprocess.run(words, check=False, capture_output=True).returncode

    for _ in range(2):
        assert within(LIMIT_S, "statvfs", lambda: os.statvfs(larder.path).f_blocks) > 0
        assert within(LIMIT_S, "df", run, "df", str(larder.path)) == 0
        assert within(LIMIT_S, "larderctl stats", run, LARDERCTL, "stats", str(larder.path)) == 0
        assert within(LIMIT_S, "larderctl status", run, LARDERCTL, "status", str(larder.path)) == 0
        assert within(LIMIT_S, "ls .larder", os.listdir, larder.path / ".larder")
        for name in within(LIMIT_S, "ls .larder", os.listdir, larder.path / ".larder"):
            # Their length: some are longer than a pipe takes.
            assert within(LIMIT_S, name, lambda n=name: len((larder.path / ".larder" / n).read_bytes())) \
                is not None
    world.share.ctl("clear")
    assert readers.wait(30) == 0


def test_stat_of_what_is_known_answers_also_when_all_hangs(world):
    world.hang("*")
    assert within(LIMIT_S, "stat", lambda: os.stat(world.larder.path / "warm").st_size) == 3 << 20
    assert within(LIMIT_S, "stat", lambda: os.stat(world.larder.path).st_mode)
    world.share.ctl("clear")


def test_200_readers_of_the_hung_file_leave_a_warm_read_alone(world):
    readers = world.hang("stuck", "read", readers=200)
    wait_until(lambda: world.larder.counter("vfs.parked") >= 200, "200 reads are parked")
    for _ in range(5):
        assert within(LIMIT_S, "a cached read", world.read_warm)
    assert within(LIMIT_S, "statvfs", lambda: os.statvfs(world.larder.path).f_blocks) > 0
    assert within(LIMIT_S, "ls .larder", os.listdir, world.larder.path / ".larder")
    world.goes_on(readers, 200)


def test_200_readers_with_direct_io_leave_a_warm_read_alone(workspace):
    world = World(workspace, "direct_io")
    readers = world.hang("stuck", "read", readers=200)
    wait_until(lambda: world.larder.counter("vfs.parked") >= 200, "200 reads are parked")
    for _ in range(5):
        assert within(LIMIT_S, "a cached read", world.read_warm)
    assert within(LIMIT_S, "statvfs", lambda: os.statvfs(world.larder.path).f_blocks) > 0
    world.goes_on(readers, 200)


def test_after_release_everything_goes_on(world):
    readers = world.hang("*")
    assert within(LIMIT_S, "a cached read", world.read_warm)
    world.goes_on(readers, 1)
    (world.larder.path / "new").write_bytes(b"new")
    assert (world.share.source / "new").read_bytes() == b"new"
    wait_until(lambda: world.larder.about()["share"]["state"] == "ok", "the share counts as well again")


def test_a_read_of_what_hangs_fails_at_the_deadline(workspace):
    world = World(workspace)
    world.larder.remount("share_slow=500ms,share_deadline=1")
    world.share.ctl("hang", "stuck", "read")
    path = world.larder.path / "stuck"
    with pytest.raises(OSError) as failure:
        within(20, "a read up to its deadline", lambda: path.read_bytes())
    assert failure.value.errno in (errno.ETIMEDOUT, errno.EIO)
    world.share.ctl("clear")
    assert hash(path.read_bytes()) is not None


# One question of each kind that waits for the share, in a process that can be interrupted.
ASKERS = {
    "read": "os.pread(fd, 4096, 0)",
    "open": "os.close(os.open(path, os.O_RDONLY))",
    "look-up": "os.stat(path + '-absent')",
    "listing": "os.listdir(path + '-folder')",
}
ASK = textwrap.dedent("""
    import os, signal, sys, time
    path, handler = sys.argv[1], sys.argv[2]
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if handler: signal.signal(signal.SIGUSR1, lambda *_: print("heard", time.monotonic() - began, flush=True))
    {opens}
    began = time.monotonic()
    print("asks", flush=True)
    {asks}
    print("answered", flush=True)
""")


def asker(world, asks, handler=""):
    opens = "fd = os.open(path, os.O_RDONLY)" if asks == "read" else ""
    code = ASK.format(opens=opens, asks=ASKERS[asks])
    child = world.workspace.spawn([sys.executable, "-c", code, world.larder.path / "stuck", handler])
    wait_until(lambda: "asks" in child.log.read_text(), "the question is asked")
    return child


def asker_who_joins(world, handler=""):
    """Reads what another reads already, and waits with him."""
    joins = counter(world, "vfs.flight_joins")
    child = asker(world, "read", handler)
    wait_until(lambda: counter(world, "vfs.flight_joins") > joins, "the second waits too")
    return child


def counter(world, name):
    """Over the socket: a path through the mount may have to ask the share, which is not slow yet."""
    return json.loads(world.larder.ctl("stats", "--json").stdout)[name]["value"]


@pytest.mark.parametrize("asks", ASKERS)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "SIGINT"])
def test_a_signal_that_ends_whoever_waits_ends_him_at_once(workspace, asks, how):
    world = World(workspace, "direct_io")
    world.larder.remount("direct_io,share_slow=20,share_deadline=30")
    os.stat(world.larder.path / "stuck")
    world.share.ctl(*(("hang", "stuck", "read") if asks == "read" else ("hang", "*")))
    before, parked = counter(world, "vfs.left"), counter(world, "vfs.parked")
    child = asker(world, asks)
    wait_until(lambda: counter(world, "vfs.parked") > parked, "the question is parked")
    world.share.wait_for_parked(1)
    child.send_signal(how)
    assert child.wait(LIMIT_S) == -how
    assert counter(world, "vfs.left") == before + 1
    world.share.ctl("clear")
    # What ran for him went on, and others are served.
    assert within(LIMIT_S, "a read", lambda: (world.larder.path / "stuck").read_bytes()[:10]) == bytes(10)


def test_a_signal_that_comes_with_the_question_ends_him_too(workspace):
    """The kernel need not tell of one that comes before the question is read."""
    world = World(workspace, "direct_io")
    world.larder.remount("direct_io,share_slow=20,share_deadline=30")
    ours, theirs = os.pipe()
    with open(world.larder.path / "stuck", "rb", buffering=0) as file:
        world.share.ctl("hang", "stuck", "read")
        for round_ in range(100):
            child = os.fork()
            if child == 0:
                os.write(theirs, b"w")
                os.pread(file.fileno(), 4096, 0)
                os._exit(0)
            kill_as_it_asks(child, ours, round_, LIMIT_S)
        world.share.ctl("clear")
    os.close(ours)
    os.close(theirs)


def test_a_signal_with_a_handler_is_answered_when_the_share_turns_slow(workspace):
    world = World(workspace, "direct_io")
    world.larder.remount("direct_io,share_slow=1,share_deadline=30")
    world.share.ctl("hang", "stuck", "read")
    child = asker(world, "read", "handler")
    world.share.wait_for_parked(1)
    child.send_signal(signal.SIGUSR1)
    wait_until(lambda: "heard" in child.log.read_text(), "the read is interrupted", patience_s=10)
    # Python asks again; so the share's answer comes to it in the end.
    assert child.poll() is None
    world.share.ctl("clear")
    assert child.wait(30) == 0
    words = child.log.read_text().split()
    assert "answered" in words
    assert float(words[words.index("heard") + 1]) >= 0.9
    assert world.larder.counter("vfs.left") == 1


def test_one_who_is_stopped_and_continued_waits_on(workspace):
    world = World(workspace, "direct_io")
    world.larder.remount("direct_io,share_slow=1,share_deadline=30")
    world.share.ctl("hang", "stuck", "read")
    stopped = asker(world, "read")
    world.share.wait_for_parked(1)
    stopped.send_signal(signal.SIGSTOP)
    # Another, who asks later: when he has waited long enough to be told, so has the first.
    caught = asker_who_joins(world, "handler")
    caught.send_signal(signal.SIGUSR1)
    wait_until(lambda: "heard" in caught.log.read_text(), "the read is interrupted", patience_s=10)
    stopped.send_signal(signal.SIGCONT)
    world.share.ctl("clear")
    assert stopped.wait(30) == 0 and caught.wait(30) == 0
    assert world.larder.counter("vfs.left") == 1


def test_one_who_leaves_does_not_take_the_fetch_with_him(workspace):
    world = World(workspace, "direct_io")
    world.share.ctl("hang", "stuck", "read")
    leaver = asker(world, "read")
    world.share.wait_for_parked(1)
    stayer = asker_who_joins(world)
    leaver.kill()
    assert leaver.wait(LIMIT_S) == -signal.SIGKILL
    assert stayer.poll() is None
    world.share.ctl("clear")
    assert stayer.wait(30) == 0
    assert world.share.stats()["parked"] == 0


@pytest.mark.skipif(not os.path.isdir("/sys/fs/fuse/connections"), reason="there is no fusectl file system")
def test_kill_9_while_a_notice_waits_for_the_kernel_leaves_no_zombie(workspace):
    """The notifier waits for the lock of a page that a read holds which larder never answers."""
    world = World(workspace)
    path = world.larder.path / "stuck"
    os.stat(path)
    readers = world.hang("stuck", "read")
    world.larder.wait_for("vfs.parked", lambda now: now >= 1)
    # Another version of the same length: the kernel drops no pages by itself.
    with open(world.share.source / "stuck", "r+b") as file:
        file.write(b"other")

    def notifier_hangs():
        within(LIMIT_S, "stat", os.stat, path)
        return any("notifier D" in line for line in where_it_waits(world.larder.pid).splitlines())

    wait_until(notifier_hangs, "the notifier waits for a page")
    process = world.larder.process
    world.larder.kill9(wait=False)
    assert process.wait(LIMIT_S) == -signal.SIGKILL
    world.share.ctl("clear")
    assert readers.wait(LIMIT_S) is not None
    code, line, right = within(LIMIT_S, "a new mount", mount_again_and_read, world, world.larder)
    assert (code, right) == (0, True), line
    assert within(LIMIT_S, "umount", umount, str(world.larder.path)) == (0, "")


# -- the end, while something hangs ------------------------------------------------------------------------


def umount(*words):
    """In a child: umount's exit code, and what it said."""
    done = subprocess.run(["umount", *words], check=False, capture_output=True, text=True)
    return done.returncode, done.stderr


def mount_again_and_read(world, larder):
    """A new mount on the same store and the same mount point, and a cached read through it: in a child."""
    done = run_larder("-o", f"store={larder.store},{OPTIONS}", larder.share, larder.path)
    return done.returncode, done.stderr, world.read_warm() if done.returncode == 0 else None


@pytest.mark.parametrize("what", HANGS, ids=" ".join)
def test_a_lazy_umount_works(world, what):
    world.hang(*what)
    path = str(world.larder.path)
    assert within(LIMIT_S, "umount -l", umount, "-l", path) == (0, "")
    assert not is_mounted(path)
    world.share.ctl("clear")
    world.larder.ended_well()


@pytest.mark.parametrize("what", HANGS, ids=" ".join)
def test_umount_works_once_the_readers_are_gone(world, what):
    readers = world.hang(*what)
    readers.kill()
    path = str(world.larder.path)
    # The kernel closes a killed reader's files when it comes to it; until then the mount is busy.
    deadline = time.monotonic() + LIMIT_S
    code, line = within(LIMIT_S, "umount", umount, path)
    while code != 0 and time.monotonic() < deadline:
        code, line = within(LIMIT_S, "umount", umount, path)
    assert (code, line) == (0, "")
    assert not is_mounted(path)
    world.share.ctl("clear")
    world.larder.ended_well()


@pytest.mark.parametrize("what", HANGS, ids=" ".join)
def test_sigterm_unmounts(world, what):
    world.hang(*what)
    world.larder.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    wait_until(lambda: not is_mounted(world.larder.path), "the mount goes")
    assert time.monotonic() - began < LIMIT_S
    # A thread that hangs in the share keeps the process; the share lets go of it.
    world.share.ctl("clear")
    world.larder.ended_well()


@pytest.mark.parametrize("ending", ["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("readers", [1, 200])
def test_a_new_mount_on_the_same_store_works(world, ending, readers):
    larder = world.larder
    world.hang("stuck", "read", readers=readers)
    if ending == "SIGKILL":
        larder.kill9(wait=False)
    else:
        larder.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not is_mounted(larder.path), "the mount goes")
        larder.process, larder._may_die = None, True
    code, line, right = within(LIMIT_S, f"a new mount after {ending}", mount_again_and_read, world, larder)
    assert (code, right) == (0, True), line
    world.share.ctl("clear")
    assert (larder.path / "cold").read_bytes() == b"cold" * 1000
    assert within(LIMIT_S, "umount", umount, str(larder.path)) == (0, "")
