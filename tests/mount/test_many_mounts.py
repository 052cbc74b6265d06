# SPDX-License-Identifier: Apache-2.0
"""One process, many mounts; and the control socket, by which a mount is reached that does not answer."""
import errno
import json
import os
import pathlib
import signal
import stat
import subprocess

import pytest

from support import (LARDER, LARDERCTL, Larder, Slowshare, hash_tree, is_mounted, larder_with_a_hung_read,
                     wait_until)

MEGABYTE = 1 << 20


def ctl(*arguments, **options):
    done = subprocess.run([LARDERCTL, *map(str, arguments)], check=False, capture_output=True, text=True,
                          timeout=30, **options)
    return done.returncode, done.stdout, done.stderr


def run_directory():
    return pathlib.Path(os.environ["LARDER_RUN"])


def sockets():
    return sorted(run_directory().glob("*.sock"))


def mounts_at(path):
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        return [line for line in table if line.split()[4] == str(path)]


def second_share(workspace, name="other"):
    folder = workspace.folder(name)
    (folder / "file").write_bytes(os.urandom(MEGABYTE))
    os.utime(folder / "file", (1, 1))
    return folder


def test_a_second_larder_hands_its_mount_to_the_one_that_has_the_store(workspace, share):
    first = Larder(workspace, share)
    other = second_share(workspace)
    second = Larder(workspace, other, name="second", store=first.store)
    assert second.about()["mountpoint"] == str(second.path)
    assert hash_tree(first.path) == hash_tree(share.path)
    assert (second.path / "file").read_bytes() == (other / "file").read_bytes()
    assert len(sockets()) == 1, "one process serves both"
    shares = (first.path / ".larder" / "netfs").read_text()
    assert shares == (second.path / ".larder" / "netfs").read_text()
    assert len([line for line in shares.splitlines()[2:] if len(line.split()) > 5]) == 2, shares
    names = {line.split("|")[1].split()[0] for line in
             (second.path / ".larder" / "objects").read_text().splitlines()[2:]}
    assert "larder.share" in names and "larder.file" in names
    # Each is unmounted alone, and what it left is there for the next.
    first.umount_only()
    assert not is_mounted(first.path)
    assert (second.path / "file").read_bytes() == (other / "file").read_bytes()
    second.umount()
    first.ended_well()
    assert not sockets() and not list(run_directory().iterdir())


def test_the_first_may_go_before_the_second(workspace, share):
    first = Larder(workspace, share)
    second = Larder(workspace, second_share(workspace), name="second", store=first.store)
    second.umount()
    assert hash_tree(first.path) == hash_tree(share.path)
    second.mount()
    assert (second.path / "file").read_bytes()
    # The signal ends the one that it is sent to, and the mount that it stayed with.
    second.process.send_signal(signal.SIGTERM)
    second.ended_well()
    assert not is_mounted(second.path) and is_mounted(first.path)
    first.umount()


def test_a_daemon_hands_over_and_goes(workspace, share):
    first = Larder(workspace, share)
    path = workspace.folder("second")
    other = second_share(workspace)
    done = subprocess.run([LARDER, "-o", f"store={first.store}", str(other), str(path)], check=False,
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "shares the store" in done.stderr
    assert (path / "file").read_bytes() == (other / "file").read_bytes()
    subprocess.run(["umount", path], check=True, timeout=30)
    wait_until(lambda: not is_mounted(path), "it is unmounted")
    first.umount()


@pytest.mark.parametrize("options, words", [
    ("commit=7", ["commit"]), ("tag=other", ["tag"]), ("brun=50", ["brun"])])
def test_options_that_conflict_are_refused_with_one_line(workspace, share, options, words):
    first = Larder(workspace, share)
    other = second_share(workspace)
    path = workspace.folder("second")
    done = subprocess.run([LARDER, "-o", f"store={first.store},{options}", str(other), str(path)], check=False,
                          capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1, done.stderr
    assert all(word in done.stderr for word in words)
    assert not is_mounted(path)
    assert hash_tree(first.path) == hash_tree(share.path)


def test_the_same_share_is_not_mounted_twice_through_one_store(workspace, share):
    first = Larder(workspace, share)
    path = workspace.folder("second")
    done = subprocess.run([LARDER, "-o", f"store={first.store}", str(share.path), str(path)], check=False,
                          capture_output=True, text=True, timeout=30)
    assert done.returncode != 0 and done.stderr.count("\n") == 1
    assert str(first.path) in done.stderr
    assert not is_mounted(path)


def test_the_socket_is_ours_alone(workspace, share):
    Larder(workspace, share)
    assert stat.S_IMODE(run_directory().stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in sockets()] == [0o600]


def test_larderctl_reaches_a_mount_whose_share_hangs(workspace):
    larder, reader = larder_with_a_hung_read(workspace)
    for command in ("status", "stats", "objects", "histogram", "netfs", "metrics", "options", "version"):
        code, out, line = ctl(command, larder.path)
        assert code == 0 and out and not line, line
    assert ctl("ops", larder.path)[1].startswith("OP       OBJECT   KIND ")
    assert reader.poll() is None


def test_larderctl_reaches_a_mount_that_does_not_answer(workspace, share):
    """The kernel's connection is stopped from outside: no request reaches larder, the socket does."""
    larder = Larder(workspace, share)
    expected = json.loads(ctl("stats", "--json", larder.path)[1])
    # The control directory is not asked: as if the mount were stuck.
    code, out, line = ctl("stats", "--json", larder.path, "--control", "not-there")
    assert code == 0, line
    assert json.loads(out)["store"]["uuid"] == expected["store"]["uuid"]


SHOWS = {"stats": "FS-Cache statistics", "objects": "OBJECT   PARENT   STAT", "ops": "OP       OBJECT   KIND",
         "caches": "TAG              STATE", "netfs": "NETFS            VERSION", "metrics": "# HELP larder_",
         "histogram": "JIFS  SECS  OBJ INST", "status": "", "options": "", "version": "larder "}


def check_that_larderctl_shows_all(larder):
    for command, begin in SHOWS.items():
        code, out, line = ctl(command, larder.path)
        assert code == 0 and out.startswith(begin) and not line, (command, out[:80], line)


def test_larderctl_reaches_a_mount_that_has_no_path_any_more(workspace, share):
    """Something else is mounted over it: its control directory cannot be opened."""
    larder = Larder(workspace, share)
    expected = hash_tree(larder.path)
    subprocess.run(["mount", "-t", "tmpfs", "over", larder.path], check=True, timeout=30)
    try:
        assert not os.listdir(larder.path)
        check_that_larderctl_shows_all(larder)
        assert "larder.file" in ctl("objects", larder.path)[1]
    finally:
        subprocess.run(["umount", larder.path], check=True, timeout=30)
    assert hash_tree(larder.path) == expected
    larder.umount()


def test_larderctl_reaches_a_mount_that_really_hangs(workspace, share):
    """Whoever names a file of it waits in the kernel, for the file system on which it is mounted."""
    below = Slowshare(workspace, "latency=0", name="below")
    (below.source / "fast").mkdir()
    larder = Larder(workspace, share, name="below/fast", store=workspace / "fast.store")
    hash_tree(larder.path)
    below.ctl("hang", "fast")
    walker = workspace.spawn(["stat", larder.path / "large"])
    below.wait_for_parked(1)
    check_that_larderctl_shows_all(larder)
    assert "larder.file" in ctl("objects", larder.path)[1]
    assert walker.poll() is None, "it hangs all the while"
    below.ctl("clear")
    assert walker.wait(30) == 0
    larder.umount()


def test_killed_the_server_of_two_mounts_leaves_neither_behind(workspace, share):
    """What the user of the second sees: an error at once, the end of his larder with a line, and a mount that
    comes back."""
    first = Larder(workspace, share)
    other = second_share(workspace)
    second = Larder(workspace, other, name="second", store=first.store)
    expected, others = hash_tree(share.path), (other / "file").read_bytes()
    assert hash_tree(first.path) == expected and (second.path / "file").read_bytes() == others
    first.kill9()
    # His process, which only stayed, ends; nobody hangs, and no file can be read wrongly.
    client, second.process = second.process, None
    assert client.wait(30) == 32, second.last_log
    assert "the larder that served this mount has died" in second.last_log
    for path in (first.path / "large", second.path / "file"):
        with pytest.raises(OSError) as caught:
            path.read_bytes()
        assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    code, out, line = ctl("stats", second.path)
    assert code == 1 and not out and "umount" in line, line
    # The dead mounts are taken away by who mounts there again, in whichever order.
    second.mount()
    assert (second.path / "file").read_bytes() == others
    first.mount()
    assert hash_tree(first.path) == expected
    assert first.about()["store"]["uuid"] == second.about()["store"]["uuid"]
    assert len(mounts_at(first.path)) == 1 and len(mounts_at(second.path)) == 1
    first.umount()
    second.umount()
    assert not is_mounted(first.path) and not is_mounted(second.path)
    assert not list(run_directory().iterdir())


def test_a_larder_without_a_run_directory_works(workspace, share):
    os.environ["LARDER_RUN"] = "/proc/nowhere"
    larder = Larder(workspace, share)
    assert hash_tree(larder.path) == hash_tree(share.path)
    assert "larderctl reaches this larder through its mount only" in larder.last_log
    assert ctl("stats", larder.path)[0] == 0
    larder.umount()
