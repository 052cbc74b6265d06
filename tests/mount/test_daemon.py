# SPDX-License-Identifier: Apache-2.0
"""How larder comes and goes: as a daemon, as a helper of mount(8), and in every way of ending it."""
import os
import pathlib
import pwd
import shutil
import signal
import subprocess

import pytest

from support import (LARDER, Larder, LocalShare, age_tree, is_mounted, mount_type_at, run_larder, wait_until)


@pytest.fixture(name="share")
def fixture_share(workspace):
    share = LocalShare(workspace)
    (share.source / "file").write_bytes(b"hello")
    age_tree(share.source)
    return share


@pytest.fixture(name="words")
def fixture_words(workspace):
    """-o of a mount with a store of its own."""
    return f"store={workspace / 'store'},size=16M"


def daemon_of(mountpoint):
    """The pid of the larder that serves it, by its command line; its undertaker has the same one."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            name = (entry / "comm").read_text().strip()
        except (OSError, NotADirectoryError):
            continue
        program = pathlib.Path(os.fsdecode(words[0])).name
        if name != "undertaker" and str(mountpoint).encode() in words and program.startswith(("larder", "mount.")):
            found.append(int(entry.name))
    return found


def wait_for_end(mountpoint, pid):
    wait_until(lambda: not is_mounted(mountpoint), "the mount goes")
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the process goes")


def umount(path):
    subprocess.run(["umount", path], check=True, capture_output=True)


# -- coming ------------------------------------------------------------------------------------------------


def test_it_returns_0_when_the_mount_stands(workspace, share, words):
    mountpoint = workspace.folder("m")
    done = run_larder("-o", words, share.path, mountpoint)
    assert done.returncode == 0, done.stderr
    assert mount_type_at(mountpoint) == "fuse.larder"
    assert (mountpoint / "file").read_bytes() == b"hello"
    assert done.stdout == ""
    assert all(line.startswith("larder: ") for line in done.stderr.splitlines())
    assert str(workspace / "store") in done.stderr
    [pid] = daemon_of(mountpoint)
    assert os.getsid(pid) == pid, "a session of its own"
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{pid}/fd/{n}") for n in range(3)} == {"/dev/null"}
    umount(mountpoint)
    wait_for_end(mountpoint, pid)


def test_relative_paths_are_those_of_the_caller(workspace, share):
    mountpoint = workspace.folder("m")
    done = run_larder("-o", "store=here.store,size=16M", "share", "m", cwd=workspace.path)
    assert done.returncode == 0, done.stderr
    assert (workspace / "here.store").exists()
    assert (mountpoint / "file").read_bytes() == b"hello"
    umount(mountpoint)
    assert share.source.exists()


def test_the_store_stays_and_is_the_owners_alone(workspace, share, words):
    mountpoint = workspace.folder("m")
    assert run_larder("-o", words, share.path, mountpoint).returncode == 0
    [pid] = daemon_of(mountpoint)
    umount(mountpoint)
    wait_for_end(mountpoint, pid)
    assert (os.stat(workspace / "store").st_mode & 0o777) == 0o600
    assert 0 < os.stat(workspace / "store").st_size <= 16 << 20


def test_where_no_store_is_named_it_makes_one_in_the_cache_directory(workspace, share):
    mountpoint = workspace.folder("m")
    home = workspace.folder("cache")
    environment = dict(os.environ, XDG_CACHE_HOME=str(home), HOME=str(home))
    if os.geteuid() == 0:
        pytest.skip("root's cache directory is the system's: not for a test to fill")
    done = run_larder("-o", "size=16M", share.path, mountpoint, env=environment)
    assert done.returncode == 0, done.stderr
    assert list((home / "larder").iterdir())
    umount(mountpoint)


def test_help_and_version_go_to_standard_output(workspace):
    done = run_larder("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("SHARE", "MOUNTPOINT", "store=PATH", "coherency=", "share_deadline="):
        assert word in done.stdout
    for word in ("-V", "--version"):
        done = run_larder(word)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("larder ")
    assert workspace.path.exists()


# -- as a helper of mount(8) -------------------------------------------------------------------------------


@pytest.fixture(name="helper", params=["mount.larder", "mount.fuse.larder"])
def fixture_helper(request, workspace):
    link = workspace / request.param
    link.symlink_to(LARDER)
    return link


def test_as_a_mount_helper_it_takes_what_mount_gives_it(workspace, share, words, helper):
    mountpoint = workspace.folder("m")
    generic = "rw,_netdev,nofail,noauto,user,relatime,x-systemd.automount,comment=x"
    done = run_larder(share.path, mountpoint, "-o", f"{generic},{words}", program=helper)
    assert done.returncode == 0, done.stderr
    assert (mountpoint / "file").read_bytes() == b"hello"
    umount(mountpoint)


def test_as_a_mount_helper_f_only_pretends(workspace, share, words, helper):
    mountpoint = workspace.folder("m")
    done = run_larder(share.path, mountpoint, "-f", "-o", words, program=helper)
    assert done.returncode == 0, done.stderr
    assert not is_mounted(mountpoint)
    assert not (workspace / "store").exists()


def test_as_a_mount_helper_it_passes_over_n_s_v_and_t(workspace, share, words, helper):
    mountpoint = workspace.folder("m")
    done = run_larder(share.path, mountpoint, "-n", "-s", "-v", "-t", "larder", "-o", f"ro,{words}",
                      program=helper)
    assert done.returncode == 0, done.stderr
    with pytest.raises(OSError):
        (mountpoint / "new").write_bytes(b"x")
    umount(mountpoint)


def test_mount_itself_finds_it(workspace, share, words):
    """mount(8) looks for helpers in the system's directories: a mount namespace of its own lends one."""
    if os.geteuid() != 0:
        pytest.skip("mount(8) needs root")
    if os.path.exists("/sbin/mount.larder"):
        pytest.skip("a larder is installed in this system")
    mountpoint = workspace.folder("m")
    lent = workspace.folder("sbin")
    script = (f"mount --bind /sbin {lent} && mount -t tmpfs tmpfs /sbin && "
              f"for f in {lent}/*; do ln -s $f /sbin/; done; ln -s {LARDER} /sbin/mount.larder && "
              f"mount -t larder -o {words} {share.path} {mountpoint} && cat {mountpoint}/file && "
              f"umount {mountpoint}")
    sbin = os.path.realpath("/sbin")
    script = script.replace("/sbin ", f"{sbin} ", 1).replace("tmpfs /sbin ", f"tmpfs {sbin} ", 1)
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], check=False, capture_output=True,
                          text=True, timeout=60)
    assert done.stdout == "hello", done.stderr


# -- the mount point ---------------------------------------------------------------------------------------


def test_the_dead_mount_point_of_a_killed_larder_is_taken_over(workspace, share):
    larder = Larder(workspace, share)
    larder.kill9()
    with pytest.raises(OSError):
        os.listdir(larder.path)
    larder.mount()
    assert (larder.path / "file").read_bytes() == b"hello"
    larder.umount()
    assert not is_mounted(larder.path), "the dead one is gone too"


def test_the_dead_mount_point_of_another_program_is_left_alone(workspace, share, words):
    if not shutil.which("sshfs"):
        pytest.fail("sshfs is missing")
    from support import Slowshare
    other = Slowshare(workspace)
    other.process.kill()
    other.process.wait()
    done = run_larder("-o", words, share.path, other.path)
    assert done.returncode == 32
    assert done.stderr.count("\n") == 1
    assert is_mounted(other.path)


def test_share_and_mount_point_may_be_the_same_directory(workspace, share, words):
    done = run_larder("-o", words, share.path, share.path)
    assert done.returncode == 0, done.stderr
    assert mount_type_at(share.path) == "fuse.larder"
    assert (share.path / "file").read_bytes() == b"hello"
    (share.path / "new").write_bytes(b"new")
    assert ".larder" not in os.listdir(share.path)
    assert (share.path / ".larder" / "version").read_text().startswith("larder ")
    [pid] = daemon_of(share.path)
    umount(share.path)
    wait_for_end(share.path, pid)
    assert (share.path / "new").read_bytes() == b"new"
    # And again, after a kill.
    assert run_larder("-o", words, share.path, share.path).returncode == 0
    [pid] = daemon_of(share.path)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the process goes")
    done = run_larder("-o", words, share.path, share.path)
    assert done.returncode == 0, done.stderr
    assert (share.path / "new").read_bytes() == b"new"
    umount(share.path)


def test_a_mount_point_with_strange_letters(workspace, share):
    mountpoint = workspace.folder("a b,c\\d")
    source = workspace.folder("s h,a\\re")
    (source / "file").write_bytes(b"strange")
    store = str(workspace / "st,ore").replace(",", "\\,")
    done = run_larder("-o", f"store={store},size=16M", source, mountpoint)
    assert done.returncode == 0, done.stderr
    assert (mountpoint / "file").read_bytes() == b"strange"
    umount(mountpoint)
    assert (workspace / "st,ore").exists()


def test_two_larders_one_on_the_other(workspace, share):
    """A larder is a share like any other."""
    lower = Larder(workspace, share, name="lower")
    upper = Larder(workspace, lower, name="upper")
    assert (upper.path / "file").read_bytes() == b"hello"
    (upper.path / "new").write_bytes(b"down there")
    assert (share.source / "new").read_bytes() == b"down there"
    upper.umount()
    lower.umount()


# -- going -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(workspace, share, sent):
    larder = Larder(workspace, share)
    assert (larder.path / "file").read_bytes() == b"hello"
    larder.process.send_signal(sent)
    larder.ended_well()
    assert not is_mounted(larder.path)
    larder.mount()
    assert (larder.path / "file").read_bytes() == b"hello"


def test_sigterm_ends_it_while_files_are_open(workspace, share):
    larder = Larder(workspace, share)
    reader = open(larder.path / "file", "rb", buffering=0)
    writer = open(larder.path / "written", "wb", buffering=0)
    writer.write(b"before the end")
    larder.process.send_signal(signal.SIGTERM)
    larder.ended_well()
    assert not is_mounted(larder.path)
    for file in (reader, writer):
        try:
            file.close()
        except OSError:
            pass  # the file system behind it is gone
    assert (share.source / "written").read_bytes() == b"before the end"


def test_umount_ends_the_daemon(workspace, share, words):
    mountpoint = workspace.folder("m")
    assert run_larder("-o", words, share.path, mountpoint).returncode == 0
    [pid] = daemon_of(mountpoint)
    umount(mountpoint)
    wait_for_end(mountpoint, pid)


def test_fusermount_ends_the_daemon(workspace, share, words):
    mountpoint = workspace.folder("m")
    assert run_larder("-o", words, share.path, mountpoint).returncode == 0
    [pid] = daemon_of(mountpoint)
    subprocess.run(["fusermount3", "-u", mountpoint], check=True)
    wait_for_end(mountpoint, pid)


def test_a_busy_mount_is_not_unmounted_and_goes_on(workspace, share):
    larder = Larder(workspace, share)
    with open(larder.path / "file", "rb"):
        done = subprocess.run(["umount", larder.path], check=False, capture_output=True)
        assert done.returncode != 0
        assert (larder.path / "file").read_bytes() == b"hello"
    larder.umount()


def test_a_lazy_umount_ends_it_with_the_last_open_file(workspace, share):
    larder = Larder(workspace, share)
    file = open(larder.path / "file", "rb", buffering=0)
    subprocess.run(["umount", "-l", larder.path], check=True)
    assert not is_mounted(larder.path)
    assert file.read() == b"hello"
    assert larder.process.poll() is None
    file.close()
    larder.ended_well()


def test_mounted_and_unmounted_many_times_it_leaves_nothing(workspace, share, words):
    mountpoint = workspace.folder("m")
    for _ in range(15):
        done = run_larder("-o", words, share.path, mountpoint)
        assert done.returncode == 0, done.stderr
        assert (mountpoint / "file").read_bytes() == b"hello"
        umount(mountpoint)
    wait_until(lambda: not daemon_of(mountpoint), "all daemons go")


# -- as a user ---------------------------------------------------------------------------------------------


def test_a_user_mounts_without_root(workspace, share):
    """fusermount3 is set-user-ID root; where it is not, or /dev/fuse is root's, that is a missing feature."""
    if os.geteuid() != 0:
        pytest.skip("the other tests run as a user already")
    helper = shutil.which("fusermount3")
    if not helper or not os.stat(helper).st_mode & 0o4000:
        pytest.skip("fusermount3 is not set-user-ID root")
    if os.stat("/dev/fuse").st_mode & 0o666 != 0o666:
        pytest.skip("/dev/fuse is for root alone here")
    nobody = pwd.getpwnam("nobody")
    mountpoint = workspace.folder("m")
    home = workspace.folder("home")
    for path in (mountpoint, home):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    done = run_larder("-o", f"store={home}/store,size=16M", share.path, mountpoint, user=nobody.pw_uid,
                      group=nobody.pw_gid, extra_groups=[], env=environment)
    assert done.returncode == 0, done.stderr
    as_nobody = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    read = subprocess.run(["cat", mountpoint / "file"], check=True, capture_output=True, **as_nobody)
    assert read.stdout == b"hello"
    [pid] = daemon_of(mountpoint)
    assert os.stat(f"/proc/{pid}").st_uid == nobody.pw_uid
    subprocess.run(["fusermount3", "-u", mountpoint], check=True, **as_nobody)
    wait_for_end(mountpoint, pid)
