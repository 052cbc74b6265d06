# SPDX-License-Identifier: Apache-2.0
"""What a program may do with names, through larder: over a plain directory and over slowshare.

Each test does a thing through the mount and looks at both sides: the mount and the share itself.
"""
import contextlib
import errno
import os
import stat
import struct
import subprocess
import tempfile

import pytest

from support import age, pseudo_random, wait_until
from support.posix import fixture_here, fixture_larder, fixture_share, raises  # noqa: F401


def test_rename_moves_files_and_directories(share, here):
    (here / "file").write_bytes(b"content")
    os.makedirs(here / "d" / "below")
    (here / "d" / "below" / "deep").write_bytes(b"deep")
    os.rename(here / "file", here / "d" / "moved")
    assert (here / "d" / "moved").read_bytes() == b"content"
    os.rename(here / "d", here / "e")
    assert (here / "e" / "below" / "deep").read_bytes() == b"deep"
    assert not os.path.exists(here / "d")
    assert (share.source / "e" / "moved").read_bytes() == b"content"
    with raises(errno.ENOENT):
        os.rename(here / "gone", here / "x")
    with raises(errno.EINVAL):
        os.rename(here / "e", here / "e" / "below" / "e")


def link_of(fd, path):
    """As a program names a file that has no name."""
    descriptors = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.link(str(fd), path, src_dir_fd=descriptors, follow_symlinks=True)
    finally:
        os.close(descriptors)


def test_a_file_without_a_name_is_had_where_the_share_has_it(share, here):
    (here / "d").mkdir()
    if share.path != share.source:  # slowshare has none
        with raises(errno.EOPNOTSUPP):
            os.open(here / "d", os.O_TMPFILE | os.O_RDWR)
        return
    fd = os.open(here / "d", os.O_TMPFILE | os.O_RDWR, 0o640)
    alone = os.open(here / "d", os.O_TMPFILE | os.O_RDWR | os.O_EXCL)
    try:
        content = pseudo_random(200_000, "unnamed")
        os.write(fd, content)
        os.write(alone, b"for nobody")
        is_ = os.fstat(fd)
        assert (is_.st_nlink, is_.st_size, stat.S_IMODE(is_.st_mode)) == (0, len(content), 0o640)
        assert os.pread(fd, 300_000, 0) == content
        assert not os.listdir(share.source / "d")
        with raises(errno.ENOENT):
            link_of(alone, here / "d" / "alone")
        link_of(fd, here / "d" / "named")
        with raises(errno.EEXIST):
            link_of(fd, here / "d" / "named")
        assert os.fstat(fd).st_nlink == 1
        os.pwrite(fd, b"later", 7)
    finally:
        os.close(fd)
        os.close(alone)
    content = content[:7] + b"later" + content[12:]
    assert os.listdir(share.source / "d") == os.listdir(here / "d") == ["named"]
    assert (share.source / "d" / "named").read_bytes() == (here / "d" / "named").read_bytes() == content


def test_temporary_files_are_had_everywhere(here):
    with tempfile.TemporaryFile(dir=here) as file:
        file.write(b"text")
        file.seek(0)
        assert file.read() == b"text"
    assert not [name for name in os.listdir(here) if name != ".larder"]


def made_by_a_user(folder, umask):
    """Mode, owner and access lists of what user 3002 makes there."""
    script = f"umask {umask}; touch f{umask}; mkdir d{umask}; mkfifo p{umask}"
    subprocess.run(["sh", "-c", script], cwd=folder, user=3002, group=3002, extra_groups=[], check=True)
    made = {}
    for kind in "fdp":
        path = folder / f"{kind}{umask}"
        status = os.stat(path)
        made[kind] = (oct(status.st_mode), status.st_uid, status.st_gid,
                      {name: os.getxattr(path, name) for name in os.listxattr(path) if "acl" in name})
    return made


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be other users")
def test_a_default_access_list_stands_instead_of_the_umask(share, here):
    if share.path != share.source:
        pytest.skip("the kernel applies the umask before a FUSE share hears of it")
    listed = access_list((_USER_OBJ, 7, _NOBODY), (_USER, 7, 3001), (_GROUP_OBJ, 5, _NOBODY),
                         (_MASK, 7, _NOBODY), (_OTHER, 0, _NOBODY))
    for base in ("listed", "plain"):
        for side in ("directly", "through"):
            folder = share.source / f"{base}-{side}"
            folder.mkdir()
            os.chmod(folder, 0o777)
            if base == "listed":
                os.setxattr(folder, "system.posix_acl_default", listed)
        for umask in ("000", "022", "077"):
            directly = made_by_a_user(share.source / f"{base}-directly", umask)
            assert made_by_a_user(here / f"{base}-through", umask) == directly


def test_rename_replaces_also_what_is_open(share, here):
    (here / "old").write_bytes(b"old content")
    (here / "new").write_bytes(b"new")
    with open(here / "old", "rb", buffering=0) as before:
        os.rename(here / "new", here / "old")
        assert (here / "old").read_bytes() == b"new"
        assert before.read() == b"old content", "a handle keeps its file"
    assert os.listdir(share.source) == ["old"]
    os.mkdir(here / "empty")
    os.mkdir(here / "other")
    os.rename(here / "other", here / "empty")
    os.mkdir(here / "full")
    (here / "full" / "x").touch()
    with raises(errno.ENOTEMPTY, errno.EEXIST):
        os.rename(here / "empty", here / "full")
    with raises(errno.EISDIR):
        os.rename(here / "old", here / "full")
    with raises(errno.ENOTDIR):
        os.rename(here / "full", here / "old")


def test_a_file_open_for_writing_is_written_on_after_its_rename(share, here):
    with open(here / "one", "wb", buffering=0) as file:
        file.write(b"before,")
        os.rename(here / "one", here / "two")
        file.write(b"behind")
        os.mkdir(here / "d")
        os.rename(here / "two", here / "d" / "three")
        file.write(b",below")
        assert os.fstat(file.fileno()).st_size == 19
    assert (share.source / "d" / "three").read_bytes() == b"before,behind,below"
    assert (here / "d" / "three").read_bytes() == b"before,behind,below"


def test_files_below_a_renamed_directory_are_read_on(here):
    os.mkdir(here / "d")
    (here / "d" / "file").write_bytes(pseudo_random(300_000, "below"))
    age(here / "d" / "file")
    with open(here / "d" / "file", "rb", buffering=0) as file:
        assert len(file.read(1000)) == 1000
        os.rename(here / "d", here / "e")
        file.seek(0)
        assert file.readall() == pseudo_random(300_000, "below")
    assert (here / "e" / "file").read_bytes() == pseudo_random(300_000, "below")


def test_hard_links_are_one_file(share, here):
    (here / "one").write_bytes(b"content")
    os.link(here / "one", here / "two")
    assert os.stat(here / "one").st_ino == os.stat(here / "two").st_ino
    assert os.stat(here / "one").st_nlink == os.stat(here / "two").st_nlink == 2
    with open(here / "two", "ab") as file:
        file.write(b" and more")
    assert (here / "one").read_bytes() == b"content and more"
    os.unlink(here / "one")
    assert os.stat(here / "two").st_nlink == 1
    assert (share.source / "two").read_bytes() == b"content and more"
    with raises(errno.EEXIST):
        os.link(here / "two", here / "two")


def test_symbolic_links_lead_where_they_say(share, here):
    (here / "file").write_bytes(b"content")
    os.symlink("file", here / "link")
    os.symlink("../" * 3 + "x" * 900, here / "far")
    assert os.readlink(here / "link") == os.readlink(share.source / "link") == "file"
    assert os.readlink(here / "far") == "../" * 3 + "x" * 900
    assert (here / "link").read_bytes() == b"content"
    assert stat.S_ISLNK(os.lstat(here / "link").st_mode)
    with raises(errno.EINVAL):
        os.readlink(here / "file")
    with raises(errno.ELOOP):
        os.close(os.open(here / "link", os.O_RDONLY | os.O_NOFOLLOW))
    os.utime(here / "link", ns=(1, 2_000_000_001), follow_symlinks=False)
    assert os.lstat(share.source / "link").st_mtime_ns == 2_000_000_001
    assert os.stat(here / "file").st_mtime_ns != 2_000_000_001
    os.unlink(here / "link")
    assert (here / "file").exists()


def times_of_birth(folder, names):
    """In seconds, as stat(1) has them of statx(2); 0: none."""
    return subprocess.run(["stat", "--format=%n %W %s %i %a", *names], cwd=folder, check=True,
                          capture_output=True, text=True).stdout


def test_a_file_was_born_when_the_share_says(share, here):
    names = ("file", "folder", "link")
    (here / "file").write_bytes(b"text")
    os.mkdir(here / "folder")
    os.symlink("file", here / "link")
    assert times_of_birth(here, names) == times_of_birth(share.path, names)
    if share.path == share.source and times_of_birth(share.source, names[:1]).split()[1] != "0":
        os.utime(here / "file", (1, 1))
        born = int(times_of_birth(here, names[:1]).split()[1])
        assert born > 1_000_000


@contextlib.contextmanager
def memory_mounted_on(path):
    """A file system in memory, whose first file always has the same inode number."""
    subprocess.run(["mount", "-t", "tmpfs", "submount", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount something on the share")
def test_what_is_mounted_inside_the_share_is_part_of_it(share, here):
    inside = share.source / "inside"
    inside.mkdir()
    if share.path != share.source:
        pytest.skip("slowshare shows what is mounted below its source by numbers of its own")
    (share.source / "file").write_bytes(b"outside")
    with memory_mounted_on(inside):
        (inside / "file").write_bytes(b"first")
        assert (here / "inside" / "file").read_bytes() == b"first"
        (here / "inside" / "made").write_bytes(b"made")
        assert (inside / "made").read_bytes() == b"made"
        os.rename(here / "inside" / "made", here / "inside" / "moved")
        assert os.listdir(inside) == ["moved", "file"]
        with raises(errno.EXDEV):
            os.rename(here / "inside" / "moved", here / "moved")
        with raises(errno.EXDEV):
            os.link(here / "file", here / "inside" / "link")
        with raises(errno.EBUSY):
            os.rmdir(here / "inside")
        numbers = [os.stat(here / name).st_ino for name in ("file", "inside", "inside/file", "inside/moved")]
        assert len(set(numbers)) == len(numbers)
    assert os.listdir(here / "inside") == []
    wait_until(lambda: not os.path.exists(here / "inside" / "file"), "its name to be gone")
    # Another one, with other content under the same name, number and size.
    with memory_mounted_on(inside):
        (inside / "file").write_bytes(b"other")
        wait_until(lambda: os.path.exists(here / "inside" / "file"), "its name to be there")
        assert (here / "inside" / "file").read_bytes() == b"other"


def test_special_files(share, here):
    os.mkfifo(here / "fifo")
    assert stat.S_ISFIFO(os.lstat(share.source / "fifo").st_mode)
    assert stat.S_ISFIFO(os.lstat(here / "fifo").st_mode)
    os.unlink(here / "fifo")


def test_an_unlinked_file_that_is_open_is_read_and_written_on(share, here):
    path = here / "file"
    path.write_bytes(b"still here")
    with open(path, "r+b", buffering=0) as file:
        os.unlink(path)
        assert not os.listdir(share.source) or not (share.source / "file").exists()
        assert file.read() == b"still here"
        file.write(b", and more")
        file.seek(0)
        assert file.read() == b"still here, and more"
        assert os.fstat(file.fileno()).st_size == 20
        os.ftruncate(file.fileno(), 5)
        assert os.pread(file.fileno(), 100, 0) == b"still"
        path.write_bytes(b"another of that name")
        assert os.pread(file.fileno(), 100, 0) == b"still"
        with open(f"/proc/self/fd/{file.fileno()}", "r+b", buffering=0) as again:
            assert again.read() == b"still"
            again.write(b" there")
        assert os.pread(file.fileno(), 100, 0) == b"still there"
    assert path.read_bytes() == b"another of that name"


# -- access lists ------------------------------------------------------------------------------------------

_USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER = 1, 2, 4, 16, 32
_NOBODY = 0xffffffff


def access_list(*entries):
    """The value of system.posix_acl_access: (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_access_lists_are_checked_and_kept(share, here):
    path = here / "listed"
    path.write_bytes(b"for some")
    os.chown(path, 0, 4001)
    os.chmod(path, 0o600)
    wanted = access_list((_USER_OBJ, 6, _NOBODY), (_USER, 4, 3001), (_GROUP_OBJ, 0, _NOBODY),
                         (_MASK, 4, _NOBODY), (_OTHER, 0, _NOBODY))
    os.setxattr(path, "system.posix_acl_access", wanted)
    assert os.getxattr(share.source / "listed", "system.posix_acl_access") == wanted
    assert os.getxattr(path, "system.posix_acl_access") == wanted
    # The mode's group bits are the list's mask now: they say nothing of the group.
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640

    def reads(user, group):
        return subprocess.run(["cat", path], user=user, group=group, extra_groups=[], check=False,
                              capture_output=True).returncode == 0

    assert reads(3001, 3001)
    assert not reads(3002, 4001)
    os.chmod(path, 0o600)
    assert not reads(3001, 3001)
    os.removexattr(path, "system.posix_acl_access")
    os.chmod(path, 0o640)
    assert reads(3002, 4001)
