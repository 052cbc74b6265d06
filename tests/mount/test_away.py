# SPDX-License-Identifier: Apache-2.0
"""A share that is unmounted below larder is away, not empty: nothing is deleted, nothing written."""
import errno
import os
import subprocess

import pytest

from support import (Larder, Slowshare, SshShare, age_tree, copy_tree, differences, hash_tree, is_mounted,
                     pseudo_random, wait_until)

# What says "the share is not there"; never ENOENT, which says "deleted".
AWAY = {errno.EHOSTUNREACH, errno.ENOTCONN, errno.ETIMEDOUT, errno.ESTALE, errno.EIO}


class SlowAway(Slowshare):
    """slowshare that can go and come back, as SshShare."""

    def go_away(self):
        self.process.kill()
        self.process.wait()
        subprocess.run(["umount", "-l", self.path], check=True)
        assert not is_mounted(self.path)

    def mount(self):
        self.start()


@pytest.fixture(name="share", params=[SshShare, SlowAway], ids=["sshfs", "slowshare"])
def fixture_share(request, workspace):
    share = request.param(workspace)
    copy_tree("/usr/include", share.source / "tree", 200)
    (share.source / "file").write_bytes(pseudo_random(1 << 20, "file"))
    (share.source / "folder").mkdir()
    age_tree(share.source)
    return share


@pytest.fixture(name="larder")
def fixture_larder(workspace, share):
    larder = Larder(workspace, share, "share_slow=1,share_deadline=5")
    assert not differences(hash_tree(share.source), hash_tree(larder.path))
    larder.wait_until_filled()
    return larder


def errno_of(call, *arguments):
    """0: it worked."""
    try:
        call(*arguments)
    except OSError as error:
        return error.errno
    return 0


def test_nothing_looks_deleted(share, larder):
    names = sorted(os.listdir(larder.path))
    share.go_away()
    for _ in range(3):
        try:
            assert sorted(os.listdir(larder.path)) == names
        except OSError as error:
            assert error.errno in AWAY
    for name in names:
        os.stat(larder.path / name)
    for name in ("tree/not-there", "not-there"):
        with pytest.raises(OSError) as failure:
            os.stat(larder.path / name)
        assert failure.value.errno in AWAY, "nobody knows whether that exists"


def test_cached_content_is_read_on(share, larder):
    expected = hash_tree(share.source)
    share.go_away()
    assert (larder.path / "file").read_bytes() == pseudo_random(1 << 20, "file")
    files = [name for name, what in expected.items() if not what.startswith(("dir", "link"))]
    for name in files[:100]:
        path = larder.path / name
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert file.read() == (share.source / name).read_bytes(), name
    assert larder.about()["share"]["state"] == "away"


def test_nothing_is_written_into_the_directory_that_is_left(share, larder):
    before = hash_tree(share.source)
    share.go_away()
    path = larder.path
    attempts = {
        "create": lambda: (path / "new").write_bytes(b"x"),
        "create below": lambda: (path / "folder" / "new").write_bytes(b"x"),
        "overwrite": lambda: (path / "file").write_bytes(b"x"),
        "append": lambda: open(path / "file", "ab").close(),
        "truncate": lambda: os.truncate(path / "file", 1),
        "mkdir": lambda: os.mkdir(path / "made"),
        "unlink": lambda: os.unlink(path / "file"),
        "rmdir": lambda: os.rmdir(path / "folder"),
        "rename": lambda: os.rename(path / "file", path / "other"),
        "link": lambda: os.link(path / "file", path / "other"),
        "symlink": lambda: os.symlink("file", path / "other"),
        "chmod": lambda: os.chmod(path / "file", 0o600),
        "utimens": lambda: os.utime(path / "file"),
        "mknod": lambda: os.mkfifo(path / "fifo"),
    }
    refused = {name: errno_of(call) for name, call in attempts.items()}
    assert set(refused.values()) <= AWAY, {n: errno.errorcode.get(e, e) for n, e in refused.items()}
    assert not os.listdir(share.path), "the empty local directory stays empty"
    assert hash_tree(share.source) == before


def test_a_file_that_is_open_for_writing_is_not_written_elsewhere(share, larder):
    with open(larder.path / "file", "r+b", buffering=0) as file:
        share.go_away()
        assert errno_of(file.write, b"y" * 4096) in AWAY
        assert errno_of(os.fsync, file.fileno()) in AWAY | {0}
        try:
            file.close()
        except OSError as error:
            assert error.errno in AWAY
    assert not os.listdir(share.path)
    assert (share.source / "file").read_bytes() == pseudo_random(1 << 20, "file")


def test_the_control_files_and_df_answer(share, larder):
    share.go_away()
    assert larder.ctl("status").returncode == 0
    assert larder.ctl("stats").returncode == 0
    assert os.statvfs(larder.path).f_blocks > 0
    assert "stats" in os.listdir(larder.path / ".larder")


def test_when_it_is_back_everything_works_again(share, larder):
    share.go_away()
    errno_of(os.listdir, larder.path)
    assert errno_of(os.mkdir, larder.path / "made") in AWAY
    (share.source / "from-elsewhere").write_bytes(b"hello")
    share.mount()

    def is_back():
        return errno_of(os.stat, larder.path / "from-elsewhere") == 0

    wait_until(is_back, "the share is seen again")
    assert not differences(hash_tree(share.source), hash_tree(larder.path))
    (larder.path / "written").write_bytes(b"through")
    assert (share.source / "written").read_bytes() == b"through"
    os.unlink(larder.path / "file")
    assert not (share.source / "file").exists()
    assert not differences(hash_tree(share.source), hash_tree(larder.path))
    wait_until(lambda: larder.about()["share"]["state"] == "ok", "the share counts as well again")


def test_another_share_at_the_same_place_is_away_too(workspace, share, larder):
    """What is mounted there is not what larder was given: nothing is mixed up."""
    share.go_away()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", share.path], check=True)
    (share.path / "file").write_bytes(b"of another share")
    assert errno_of(lambda: (larder.path / "new").write_bytes(b"x")) in AWAY
    assert (larder.path / "file").read_bytes() == pseudo_random(1 << 20, "file")
    assert os.listdir(share.path) == ["file"]


def test_umount_works_while_it_is_away(share, larder):
    share.go_away()
    errno_of(os.listdir, larder.path)
    larder.umount()


def test_a_share_that_is_away_is_not_mounted_and_its_cache_is_kept(share, larder):
    """Without its mount the path is another share: an empty directory; the store keeps what it had."""
    larder.umount()
    share.go_away()
    share.mount()
    larder.mount()
    before = larder.counter("netfs.data_calls")
    assert (larder.path / "file").read_bytes() == pseudo_random(1 << 20, "file")
    assert larder.counter("netfs.data_calls") == before
