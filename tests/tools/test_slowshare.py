# SPDX-License-Identifier: Apache-2.0
"""slowshare on real mounts: what it passes through, what it counts, what it breaks on request.

Nothing here measures time: calls are counted by the control socket, and where something must have
happened elsewhere first the test waits for the counter that says so.
"""
import errno
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time

import pytest

SLOWSHARE = os.environ.get("LARDER_SLOWSHARE", "slowshare")
PATIENCE_S = 60  # for what must happen; only a failure waits that long


def is_mounted(path):
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        return any(line.split()[4] == str(path) for line in lines)


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.002)


class Share:
    """A slowshare over a directory, in the foreground as a child of the test."""

    def __init__(self, place, options=""):
        self.source = place / "source"
        self.mount = place / "mount"
        self.control = place / "control"
        self.source.mkdir(exist_ok=True)
        self.mount.mkdir(exist_ok=True)
        words = [f"control={self.control}"] + ([options] if options else [])
        self.process = subprocess.Popen(
            [SLOWSHARE, "-f", "-o", ",".join(words), str(self.source), str(self.mount)])
        self.threads = []
        wait_for(lambda: self.process.poll() is not None or self.answers(), "the mount")
        assert self.process.poll() is None

    def answers(self):
        try:
            return self.ctl("stats") != ""
        except OSError:
            return False

    def client(self, *command):
        return subprocess.run([SLOWSHARE, "--ctl", str(self.control), *command],
                              capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    def ctl(self, *command):
        """Asks without another process: one that is forked here closes its copies of the handles in
        the mount, and where these hang it would never start."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.settimeout(PATIENCE_S)
            server.connect(str(self.control))
            server.sendall((" ".join(command) + "\n").encode())
            answer = b"".join(iter(lambda: server.recv(65536), b"")).decode()
        assert answer.startswith("ok\n"), answer
        return answer[3:]

    def stats(self):
        return json.loads(self.ctl("stats", "json"))

    def in_background(self, function, *arguments):
        """Runs a call that may hang; its result or exception is kept."""
        outcome = {}

        def work():
            try:
                outcome["result"] = function(*arguments)
            except OSError as error:
                outcome["error"] = error.errno

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.threads.append(thread)
        return outcome

    def join(self):
        for thread in self.threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        self.threads.clear()

    def end(self):
        """Whatever state it is in: ended and unmounted. The exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE_S)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if is_mounted(self.mount):
                subprocess.run(["fusermount3", "-u", "-z", str(self.mount)], check=False)


@pytest.fixture(name="place")
def fixture_place():
    place = pathlib.Path(tempfile.mkdtemp(prefix="slowshare-test-")).resolve()
    yield place
    assert not is_mounted(place / "mount")
    # A daemon outlives its mount for a moment, and takes its control socket away itself.
    shutil.rmtree(place, ignore_errors=True)
    assert not place.exists()


@pytest.fixture(name="mounted")
def fixture_mounted(place):
    shares = []

    def make(options=""):
        shares.append(Share(place, options))
        return shares[-1]

    yield make
    for share in shares:
        share.end()


def digest_of(tree):
    found = {}
    for folder, _, names in os.walk(tree):
        for name in names:
            path = pathlib.Path(folder) / name
            key = str(path.relative_to(tree))
            if path.is_symlink():
                found[key] = os.readlink(path)
            else:
                found[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def plant(source):
    (source / "folder" / "deep").mkdir(parents=True)
    for number in range(50):
        (source / "folder" / f"file{number}").write_bytes(os.urandom(number * 997))
    (source / "folder" / "deep" / "large").write_bytes(os.urandom(5 << 20))
    (source / "link").symlink_to("folder/file7")


def test_a_tree_reads_as_its_source(mounted):
    share = mounted()
    plant(share.source)
    expected = digest_of(share.source)
    assert len(expected) == 52
    assert digest_of(share.mount) == expected
    assert sorted(os.listdir(share.mount)) == sorted(os.listdir(share.source))


def test_attributes_come_through_to_the_nanosecond(mounted):
    share = mounted()
    path = share.source / "file"
    path.write_text("x")
    os.utime(path, ns=(1_600_000_000_123_456_789, 1_500_000_000_987_654_321))
    os.chmod(path, 0o640)
    here, there = os.stat(path), os.stat(share.mount / "file")
    for field in ("ino", "mode", "nlink", "size", "uid", "mtime_ns", "ctime_ns"):
        name = "st_" + field
        assert getattr(here, name) == getattr(there, name), name


def test_the_mount_says_what_it_is(mounted):
    share = mounted()
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        line = next(line for line in lines if line.split()[4] == str(share.mount))
    assert f"- fuse.slowshare {share.source} " in line


def test_everything_that_a_file_system_does_is_passed_through(mounted):
    share = mounted()
    mount, source = share.mount, share.source
    (mount / "dir").mkdir()
    (mount / "dir" / "file").write_bytes(b"hello")
    os.link(mount / "dir" / "file", mount / "hard")
    os.symlink("dir/file", mount / "soft")
    os.mkfifo(mount / "fifo")
    assert (source / "hard").read_bytes() == b"hello"
    assert os.stat(mount / "hard").st_ino == os.stat(source / "dir" / "file").st_ino
    assert os.readlink(source / "soft") == "dir/file"
    assert stat.S_ISFIFO(os.stat(source / "fifo").st_mode)
    os.rename(mount / "hard", mount / "moved")
    os.truncate(mount / "moved", 2)
    with open(mount / "moved", "ab") as file:
        file.write(b"!")
        file.flush()
        os.fsync(file.fileno())
    assert (source / "dir" / "file").read_bytes() == b"he!"
    with open(mount / "sparse", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 8192)
    assert os.stat(source / "sparse").st_size == 8192
    assert os.statvfs(mount).f_blocks == os.statvfs(source).f_blocks
    os.chmod(mount / "moved", 0o600)
    assert stat.S_IMODE(os.stat(source / "moved").st_mode) == 0o600
    for name in ("soft", "fifo", "moved", "sparse", "dir/file"):
        (mount / name).unlink()
    (mount / "dir").rmdir()
    assert not os.listdir(source)
    with pytest.raises(FileNotFoundError):
        os.stat(mount / "gone")


def test_extended_attributes_are_passed_through(mounted):
    share = mounted()
    path = share.source / "file"
    path.write_text("x")
    try:
        os.setxattr(path, "user.colour", b"red")
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        pytest.skip("the file system of /tmp has no user attributes")
    there = share.mount / "file"
    assert os.getxattr(there, "user.colour") == b"red"
    os.setxattr(there, "user.taste", b"sour")
    assert sorted(os.listxattr(there)) == ["user.colour", "user.taste"]
    os.removexattr(there, "user.colour")
    assert os.listxattr(path) == ["user.taste"]


def test_a_file_that_is_unlinked_stays_readable_through_its_handle(mounted):
    share = mounted()
    (share.source / "file").write_bytes(b"still here")
    with open(share.mount / "file", "rb") as file:
        (share.mount / "file").unlink()
        assert file.read() == b"still here"


def test_a_change_of_the_source_shows_at_the_next_open(mounted):
    share = mounted()
    path = share.source / "file"
    path.write_bytes(b"old!")
    assert (share.mount / "file").read_bytes() == b"old!"
    path.write_bytes(b"new!")
    assert (share.mount / "file").read_bytes() == b"new!"


def test_a_large_directory_lists_each_name_once(mounted):
    share = mounted()
    names = [f"a-name-that-fills-the-listing-{number:05}" for number in range(3000)]
    for name in names:
        (share.source / name).touch()
    with os.scandir(share.mount) as entries:
        assert sorted(entry.name for entry in entries) == names


def test_with_fold_case_each_spelling_is_the_one_name(mounted):
    share = mounted("fold_case")
    (share.source / "File").write_bytes(b"text")
    assert (share.mount / "fILE").read_bytes() == b"text"
    assert os.stat(share.mount / "FILE").st_ino == os.stat(share.mount / "File").st_ino
    with pytest.raises(FileExistsError):
        os.mkdir(share.mount / "FILE")
    (share.mount / "file").write_bytes(b"other")
    os.link(share.mount / "FILE", share.mount / "Other")
    os.rename(share.mount / "file", share.mount / "Moved")
    os.unlink(share.mount / "OTHER")
    assert os.listdir(share.source) == ["Moved"]
    assert (share.source / "Moved").read_bytes() == b"other"


def test_calls_and_bytes_are_counted(mounted):
    share = mounted()
    (share.source / "file").write_bytes(b"x" * 100_000)
    share.ctl("reset")
    assert share.stats()["calls"] == 0
    assert len((share.mount / "file").read_bytes()) == 100_000
    wait_for(lambda: share.stats()["release"] == 1, "the release that nobody waits for")
    stats = share.stats()
    assert stats["open"] == 1
    assert stats["flush"] == 1
    assert stats["read"] >= 1
    assert stats["read_bytes"] == 100_000
    (share.mount / "out").write_bytes(b"y" * 1234)
    stats = share.stats()
    assert stats["create"] == 1
    assert stats["write_bytes"] == 1234
    lines = dict(line.split() for line in share.ctl("stats").splitlines())
    assert lines["write_bytes"] == "1234"
    assert set(lines) == set(stats)


def test_with_direct_io_each_read_is_a_call(mounted):
    share = mounted("direct_io")
    (share.source / "file").write_bytes(b"x" * 65536)
    fd = os.open(share.mount / "file", os.O_RDONLY)
    try:
        share.ctl("reset")
        for number in range(16):
            assert len(os.pread(fd, 512, number * 4096)) == 512
        stats = share.stats()
        assert stats["read"] == 16
        assert stats["read_bytes"] == 16 * 512
    finally:
        os.close(fd)


def test_latency_is_waited_side_by_side(mounted):
    """The calls of 8 threads are in slowshare at once: none waits for another one's latency."""
    share = mounted("parallel=8,direct_io")
    (share.source / "file").write_bytes(b"x" * 65536)
    fds = [os.open(share.mount / "file", os.O_RDONLY) for _ in range(8)]
    share.ctl("latency", "3600s")
    outcomes = [share.in_background(os.pread, fd, 512, 0) for fd in fds]
    wait_for(lambda: share.stats()["active"] == 8, "8 reads wait at once")
    assert not any(outcomes)
    share.ctl("latency", "0")
    share.join()
    assert all(len(outcome["result"]) == 512 for outcome in outcomes)
    for fd in fds:
        os.close(fd)


def test_no_more_calls_run_at_once_than_parallel_says(mounted):
    share = mounted("parallel=3,direct_io,latency=20ms")
    (share.source / "file").write_bytes(b"x" * 65536)
    fds = [os.open(share.mount / "file", os.O_RDONLY) for _ in range(12)]
    share.ctl("reset")
    outcomes = [share.in_background(os.pread, fd, 512, 0) for fd in fds]
    share.join()
    assert all(len(outcome["result"]) == 512 for outcome in outcomes)
    assert share.stats()["most_active"] == 3
    for fd in fds:
        os.close(fd)


def test_lookups_in_one_directory_do_not_wait_for_each_other(mounted):
    share = mounted()
    for number in range(8):
        (share.source / f"stuck{number}").touch()
    share.ctl("hang", "stuck*", "lookup")
    outcomes = [share.in_background(os.stat, share.mount / f"stuck{n}") for n in range(8)]
    wait_for(lambda: share.stats()["parked"] == 8, "8 look-ups hang at once")
    share.ctl("release")
    share.join()
    assert all("result" in outcome for outcome in outcomes)


def test_requests_that_hang_block_no_others_and_go_on_at_release(mounted):
    share = mounted("parallel=4,direct_io")
    (share.source / "stuck").write_bytes(b"s" * 4096)
    (share.source / "free").write_bytes(b"f" * 4096)
    fds = [os.open(share.mount / "stuck", os.O_RDONLY) for _ in range(32)]
    share.ctl("hang", "stuck")
    outcomes = [share.in_background(os.pread, fd, 4096, 0) for fd in fds]
    wait_for(lambda: share.stats()["parked"] == 32, "32 reads hang")
    for _ in range(8):
        assert (share.mount / "free").read_bytes() == b"f" * 4096
    assert "free" in os.listdir(share.mount)
    os.statvfs(share.mount)
    assert share.stats()["parked"] == 32
    assert not any(outcomes)
    share.ctl("release")
    share.join()
    assert all(outcome["result"] == b"s" * 4096 for outcome in outcomes)
    stats = share.stats()
    assert (stats["parked"], stats["hung"]) == (0, 32)
    for fd in fds:
        os.close(fd)


def test_an_interrupted_reader_goes_on_hanging(mounted):
    share = mounted("direct_io")
    (share.source / "stuck").write_bytes(b"s")
    share.ctl("hang", "stuck", "read")
    reader = subprocess.Popen(["cat", str(share.mount / "stuck")], stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: share.stats()["parked"] == 1, "the read hangs")
        reader.send_signal(signal.SIGINT)
        (share.mount / "made-after-the-interrupt").touch()
        assert share.stats()["parked"] == 1
        share.ctl("release")
        assert reader.wait(PATIENCE_S) in (0, -signal.SIGINT)
    finally:
        share.ctl("clear")
        if reader.poll() is None:
            reader.kill()
            reader.wait()


def test_hang_next_takes_as_many_as_it_says(mounted):
    share = mounted()
    (share.source / "file").touch()
    share.ctl("hang-next", "1")
    first = share.in_background(os.stat, share.mount / "file")
    wait_for(lambda: share.stats()["parked"] == 1, "one request hangs")
    os.statvfs(share.mount)
    assert not first
    share.ctl("release")
    share.join()
    assert "result" in first


def test_wanted_errors_are_answered_until_cleared(mounted):
    share = mounted("direct_io")
    (share.source / "file").write_bytes(b"x")
    share.ctl("error", "EIO", "file", "read")
    with pytest.raises(OSError) as failure:
        (share.mount / "file").read_bytes()
    assert failure.value.errno == errno.EIO
    assert os.stat(share.mount / "file").st_size == 1
    share.ctl("error", "ESTALE", "*")
    with pytest.raises(OSError) as failure:
        os.stat(share.mount / "file")
    assert failure.value.errno == errno.ESTALE
    share.ctl("clear")
    assert (share.mount / "file").read_bytes() == b"x"
    assert share.stats()["failed"] >= 2


def test_short_reads_give_half(mounted):
    share = mounted("direct_io")
    (share.source / "cut").write_bytes(b"x" * 4096)
    share.ctl("short", "cut")
    fd = os.open(share.mount / "cut", os.O_RDONLY)
    try:
        assert len(os.pread(fd, 4096, 0)) == 2048
        share.ctl("clear")
        assert len(os.pread(fd, 4096, 0)) == 4096
    finally:
        os.close(fd)


def test_a_wrong_command_is_refused_with_a_line(mounted):
    share = mounted()
    done = share.client("error", "EWRONG", "*")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("slowshare: ")
    done = share.client("stats")
    assert done.returncode == 0
    assert done.stdout.startswith("calls ")
    assert done.stderr == ""


@pytest.mark.parametrize("with_hung", [False, True])
def test_a_signal_ends_it_cleanly_also_while_requests_hang(mounted, with_hung):
    share = mounted("direct_io")
    (share.source / "stuck").write_bytes(b"s")
    outcome = {}
    if with_hung:
        fd = os.open(share.mount / "stuck", os.O_RDONLY)
        share.ctl("hang", "*")
        outcome = share.in_background(os.pread, fd, 1, 0)
        wait_for(lambda: share.stats()["parked"] == 1, "the read hangs")
    assert share.end() == 0
    share.join()
    assert not is_mounted(share.mount)
    assert not share.control.exists()
    if with_hung:
        assert outcome["error"] == errno.ENODEV
        # The handle outlives its file system; closing it tells so.
        with pytest.raises(OSError):
            os.close(fd)


def test_umount_ends_it(mounted):
    share = mounted()
    (share.source / "file").touch()
    os.listdir(share.mount)
    subprocess.run(["fusermount3", "-u", str(share.mount)], check=True)
    assert share.process.wait(PATIENCE_S) == 0
    assert not share.control.exists()


def test_a_lazy_umount_ends_it_while_requests_hang(mounted):
    share = mounted("direct_io")
    (share.source / "stuck").write_bytes(b"s")
    fd = os.open(share.mount / "stuck", os.O_RDONLY)
    share.ctl("hang", "stuck", "read")  # not the flush of the process that is forked next
    outcome = share.in_background(os.pread, fd, 1, 0)
    wait_for(lambda: share.stats()["parked"] == 1, "the read hangs")
    subprocess.run(["fusermount3", "-u", "-z", str(share.mount)], check=True)
    assert share.process.wait(PATIENCE_S) == 0
    share.join()
    assert "error" in outcome


def test_as_a_daemon_it_returns_when_the_mount_answers(place):
    (place / "source").mkdir()
    (place / "mount").mkdir()
    (place / "source" / "file").write_text("x")
    command = [SLOWSHARE, "-o", "control=control", "source", "mount"]
    subprocess.run(command, cwd=place, check=True, timeout=PATIENCE_S)
    try:
        assert (place / "mount" / "file").read_text() == "x"
        done = subprocess.run([SLOWSHARE, "--ctl", str(place / "control"), "stats"], check=True,
                              capture_output=True, text=True, timeout=PATIENCE_S)
        assert "\nopen 1\n" in done.stdout
    finally:
        subprocess.run(["fusermount3", "-u", str(place / "mount")], check=True)


@pytest.mark.parametrize("arguments", [
    ["-o", "nonsense", "source", "mount"],
    ["-o", "latency=fast", "source", "mount"],
    ["source"],
    ["gone", "mount"],
    ["source", "gone"],
    ["source/file", "mount"],
    ["-o", "control=gone/control", "source", "mount"],
])
def test_what_cannot_be_mounted_is_one_line_and_exit_1(place, arguments):
    (place / "source").mkdir()
    (place / "mount").mkdir()
    (place / "source" / "file").touch()
    done = subprocess.run([SLOWSHARE, *arguments], cwd=place, capture_output=True, text=True,
                          timeout=PATIENCE_S, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("slowshare: ")
    assert done.stderr.count("\n") == 1
    assert not is_mounted(place / "mount")
