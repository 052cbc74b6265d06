# SPDX-License-Identifier: Apache-2.0
"""What a program may ask of a file system, through larder: over a plain directory and over slowshare.

Each test does a thing through the mount and looks at both sides: the mount and the share itself.
"""
import errno
import os
import pwd
import stat
import subprocess
import time

import pytest

from support import (Larder, LocalShare, age, age_tree, hash_file, pseudo_random, wait_until, within,
                     write_pseudo_random)
from support.posix import fixture_here, fixture_larder, fixture_share, raises  # noqa: F401


# -- directories -------------------------------------------------------------------------------------------


def test_directories_are_made_listed_and_removed(share, here):
    os.mkdir(here / "a", 0o750)
    assert stat.S_IMODE(os.stat(share.source / "a").st_mode) == 0o750
    os.makedirs(here / "a" / "b" / "c")
    assert os.listdir(here / "a") == ["b"]
    with raises(errno.EEXIST):
        os.mkdir(here / "a")
    with raises(errno.ENOTEMPTY):
        os.rmdir(here / "a")
    with raises(errno.ENOENT):
        os.rmdir(here / "gone")
    (here / "file").write_bytes(b"")
    with raises(errno.ENOTDIR):
        os.rmdir(here / "file")
    with raises(errno.EISDIR):
        os.unlink(here / "a")
    os.rmdir(here / "a" / "b" / "c")
    os.rmdir(here / "a" / "b")
    os.rmdir(here / "a")
    assert os.listdir(share.source) == ["file"]


def test_the_umask_of_the_caller_holds(share, here):
    before = os.umask(0o027)
    try:
        os.mkdir(here / "d", 0o777)
        os.close(os.open(here / "f", os.O_CREAT | os.O_WRONLY, 0o666))
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(share.source / "d").st_mode) == 0o750
    assert stat.S_IMODE(os.stat(share.source / "f").st_mode) == 0o640


def test_a_directory_of_5000_names_lists_each_once(share, here):
    names = [f"a-name-that-fills-the-listing-{n:05}" for n in range(5000)]
    (share.source / "many").mkdir()
    for name in names:
        (share.source / "many" / name).touch()
    assert sorted(os.listdir(here / "many")) == names
    with os.scandir(here / "many") as entries:
        found = {entry.name: entry.stat().st_ino for entry in entries}
    assert sorted(found) == names
    assert len(set(found.values())) == 5000
    done = subprocess.run(["ls", "-lU", here / "many"], check=True, capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == 5001
    for name in names[::7]:
        os.unlink(here / "many" / name)
    assert sorted(os.listdir(here / "many")) == sorted(set(names) - set(names[::7]))


def test_a_listing_goes_on_while_names_go(here):
    os.mkdir(here / "d")
    for n in range(300):
        (here / "d" / f"{n}").touch()
    seen = []
    with os.scandir(here / "d") as entries:
        for entry in entries:
            seen.append(entry.name)
            os.unlink(here / "d" / entry.name)
    assert len(seen) == len(set(seen)) == 300
    os.rmdir(here / "d")


def test_names_of_all_bytes_and_lengths(share, here):
    names = [b"sp ace", b"new\nline", b"\xff\xfe", "\u00e9".encode(), b"x" * 255, b"back\\slash",
             b"-rf", b"*"]
    for name in names:
        path = os.path.join(os.fsencode(here), name)
        with open(path, "wb") as file:
            file.write(name)
    assert sorted(os.listdir(os.fsencode(share.source))) == sorted(names)
    assert sorted(os.listdir(os.fsencode(here))) == sorted(names)
    for name in names:
        with open(os.path.join(os.fsencode(here), name), "rb") as file:
            assert file.read() == name
    with raises(errno.ENAMETOOLONG):
        (here / ("x" * 256)).write_bytes(b"")


def test_dot_dot_leads_back_and_not_out(here):
    os.makedirs(here / "a" / "b")
    assert os.stat(here / "a" / "b" / "..").st_ino == os.stat(here / "a").st_ino
    assert os.stat(here / "a" / "..").st_ino == os.stat(here).st_ino


# -- attributes --------------------------------------------------------------------------------------------


def test_modes_owners_and_times_are_set(share, here):
    path = here / "file"
    path.write_bytes(b"content")
    os.chmod(path, 0o4751)
    assert stat.S_IMODE(os.stat(share.source / "file").st_mode) == 0o4751
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o4751
    os.utime(path, ns=(1_600_000_000_123_456_789, 1_500_000_000_987_654_321))
    for one in (os.stat(path), os.stat(share.source / "file")):
        assert (one.st_atime_ns, one.st_mtime_ns) == (1_600_000_000_123_456_789, 1_500_000_000_987_654_321)
    os.utime(path)
    assert abs(os.stat(path).st_mtime_ns - os.stat(share.source / "file").st_mtime_ns) == 0
    assert os.stat(path).st_mtime_ns > 1_700_000_000_000_000_000
    with open(path, "rb") as file:
        os.fchmod(file.fileno(), 0o600)
        os.utime(file.fileno(), ns=(5, 6))
    assert os.stat(share.source / "file").st_mtime_ns == 6
    if os.geteuid() == 0:
        os.chown(path, 1234, 4321)
        one = os.stat(share.source / "file")
        assert (one.st_uid, one.st_gid) == (1234, 4321)
        os.chown(path, -1, 5)
        assert (os.stat(path).st_uid, os.stat(path).st_gid) == (1234, 5)
    assert path.read_bytes() == b"content"


def test_a_change_of_attributes_keeps_what_is_cached(share, larder, here):
    (share.source / "file").write_bytes(pseudo_random(200_000, "attributes"))
    age(share.source / "file")
    assert (here / "file").read_bytes() == pseudo_random(200_000, "attributes")
    larder.wait_until_filled()
    before = larder.counter("netfs.data_calls")
    os.chmod(here / "file", 0o600)
    os.utime(here / "file", (1_600_000_500, 1_600_000_500))
    os.rename(here / "file", here / "renamed")
    os.link(here / "renamed", here / "linked")
    with open(here / "linked", "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert file.read() == pseudo_random(200_000, "attributes")
    assert larder.counter("netfs.data_calls") == before


def test_attributes_are_the_shares(share, here):
    path = share.source / "file"
    path.write_bytes(b"x" * 12345)
    os.chmod(path, 0o640)
    os.utime(path, ns=(1_600_000_000_123_456_789, 1_500_000_000_987_654_321))
    mine, theirs = os.stat(here / "file"), os.stat(path)
    for name in ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_ctime_ns",
                 "st_blocks", "st_ino"):
        assert getattr(mine, name) == getattr(theirs, name), name


def test_inode_numbers_are_the_same_after_a_remount(share, larder, here):
    os.makedirs(here / "d")
    for n in range(20):
        (here / "d" / f"{n}").write_bytes(b"x")
    os.symlink("0", here / "d" / "link")

    def numbers():
        return {str(path): os.lstat(path).st_ino for path in [here, *here.rglob("*")]}

    before = numbers()
    assert len(set(before.values())) == len(before) == 23
    assert numbers() == before
    larder.remount()
    assert numbers() == before
    assert share.source.exists()


def test_inode_numbers_outlast_those_of_a_share_that_gives_others_each_time(workspace):
    """As sshfs does at each mount of it: every file has another number, and is the same by name."""
    share = LocalShare(workspace)
    os.makedirs(share.source / "d" / "below")
    for n in range(20):
        (share.source / "d" / f"{n}").write_bytes(b"x" * n)
    age_tree(share.source)
    larder = Larder(workspace, share, "share_ino=unstable")

    def numbers(top):
        return {str(path.relative_to(top)): os.lstat(path).st_ino for path in top.rglob("*")}

    before, below = numbers(larder.path), numbers(share.source)
    assert len(set(before.values())) == len(before) == 22
    (larder.path / "d" / "0").read_bytes()
    for _ in range(2):
        larder.umount()
        subprocess.run(["cp", "-a", share.source / "d", share.source / "new"], check=True)
        os.rename(share.source / "d", workspace / f"old-{time.monotonic_ns()}")
        os.rename(share.source / "new", share.source / "d")
        assert not set(numbers(share.source).values()) & set(below.values())
        larder.mount()
        assert numbers(larder.path) == before


def test_extended_attributes(share, here):
    path = here / "file"
    path.write_bytes(b"x")
    try:
        os.setxattr(share.source / "file", "user.probe", b"")
        os.removexattr(share.source / "file", "user.probe")
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        pytest.skip("the file system of /tmp has no user attributes")
    os.setxattr(path, "user.colour", b"red")
    assert os.getxattr(share.source / "file", "user.colour") == b"red"
    os.setxattr(path, "user.large", b"y" * 2000)
    os.setxattr(path, "user.empty", b"")
    assert sorted(os.listxattr(path)) == ["user.colour", "user.empty", "user.large"]
    assert os.getxattr(path, "user.large") == b"y" * 2000
    assert os.getxattr(path, "user.empty") == b""
    with raises(errno.EEXIST):
        os.setxattr(path, "user.colour", b"blue", os.XATTR_CREATE)
    with raises(errno.ENODATA):
        os.setxattr(path, "user.gone", b"", os.XATTR_REPLACE)
    os.setxattr(path, "user.colour", b"blue", os.XATTR_REPLACE)
    assert os.getxattr(share.source / "file", "user.colour") == b"blue"
    os.removexattr(path, "user.colour")
    with raises(errno.ENODATA):
        os.getxattr(path, "user.colour")
    os.mkdir(here / "d")
    os.setxattr(here / "d", "user.of", b"a directory")
    assert os.getxattr(share.source / "d", "user.of") == b"a directory"
    assert path.read_bytes() == b"x"


def test_statfs_tells_of_the_share(share, here):
    mine, theirs = os.statvfs(here), os.statvfs(share.path)
    assert (mine.f_blocks, mine.f_frsize, mine.f_namemax) == \
        (theirs.f_blocks, theirs.f_frsize, theirs.f_namemax)
    done = subprocess.run(["df", "-k", here], check=True, capture_output=True, text=True)
    assert str(here) in done.stdout


# -- content -----------------------------------------------------------------------------------------------


def test_truncate_cuts_and_lengthens(share, here):
    content = pseudo_random(100_000, "truncate")
    path = here / "file"
    path.write_bytes(content)
    expected = bytearray(content)
    for size in (99_999, 50_000, 4097, 4096, 4095, 70_000, 1, 0, 12_288, 5):
        os.truncate(path, size)
        expected = expected[:size].ljust(size, b"\0")
        assert os.stat(path).st_size == size
        assert path.read_bytes() == expected
        assert (share.source / "file").read_bytes() == expected
    with open(path, "r+b", buffering=0) as file:
        for size in (10_000, 3, 4096, 9000):
            os.ftruncate(file.fileno(), size)
            expected = expected[:size].ljust(size, b"\0")
            file.seek(0)
            assert file.readall() == expected
            file.seek(0)
            file.write(b"abc")
            expected[:3] = b"abc"
    assert (share.source / "file").read_bytes() == expected
    with raises(errno.EISDIR):
        os.mkdir(here / "d")
        os.truncate(here / "d", 0)


def test_o_trunc_and_o_excl(share, here):
    (share.source / "file").write_bytes(b"long content")
    age(share.source / "file")
    assert (here / "file").read_bytes() == b"long content"
    fd = os.open(here / "file", os.O_RDWR | os.O_TRUNC)
    assert os.fstat(fd).st_size == 0
    assert os.pread(fd, 100, 0) == b""
    os.write(fd, b"short")
    os.close(fd)
    assert (here / "file").read_bytes() == (share.source / "file").read_bytes() == b"short"
    with raises(errno.EEXIST):
        os.open(here / "file", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.close(os.open(here / "fresh", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    # One that larder does not know of yet.
    (share.source / "behind").write_bytes(b"there first")
    with raises(errno.EEXIST):
        os.open(here / "behind", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    assert (here / "behind").read_bytes() == b"there first"


def test_o_append_appends_where_the_end_is(share, here):
    path = here / "log"
    with open(path, "ab", buffering=0) as one, open(path, "ab", buffering=0) as other:
        for n in range(50):
            one.write(b"one %d\n" % n)
            other.write(b"other %d\n" % n)
    expected = b"".join(b"one %d\nother %d\n" % (n, n) for n in range(50))
    assert path.read_bytes() == (share.source / "log").read_bytes() == expected


def test_an_append_behind_one_that_larder_did_not_see(share, here):
    path = here / "log"
    with open(path, "ab", buffering=0) as file:
        file.write(b"mine 1\n")
        with open(share.source / "log", "ab", buffering=0) as other:
            other.write(b"theirs\n")
        file.write(b"mine 2\n")
    expected = b"mine 1\ntheirs\nmine 2\n"
    assert (share.source / "log").read_bytes() == expected
    assert path.read_bytes() == expected


def test_what_is_written_is_read_back_at_once_by_all(share, here):
    path = here / "file"
    with open(path, "w+b", buffering=0) as file, open(path, "rb", buffering=0) as reader:
        expected = bytearray()
        for n in range(60):
            piece = pseudo_random(1 + n * 977, n)
            place = (n * 7919) % (len(expected) + 1)
            file.seek(place)
            file.write(piece)
            expected[place:place + len(piece)] = piece
            assert os.pread(reader.fileno(), len(piece), place) == piece
            assert os.fstat(reader.fileno()).st_size == len(expected)
        reader.seek(0)
        assert reader.readall() == expected
    assert (share.source / "file").read_bytes() == expected
    assert path.read_bytes() == expected


def test_a_copy_that_is_killed_leaves_what_the_share_holds(workspace, share, here):
    large, copy = workspace / "large", share.source / "copy"
    write_pseudo_random(large, 16 << 20)
    content = large.read_bytes()
    if share.path != share.source:
        share.ctl("latency", "3ms")
    for megabytes in (1, 5, 9):
        child = workspace.spawn(["cp", large, here / "copy"])
        wait_until(lambda size=megabytes << 20: child.poll() is not None or
                   copy.exists() and copy.stat().st_size >= size, "the copy is under way")
        child.kill()
        child.wait()
        held = copy.read_bytes()
        assert content.startswith(held)
        assert hash_file(here / "copy") == hash_file(here / "copy", forget=True) == hash_file(copy)
        os.unlink(here / "copy")
    subprocess.run(["cp", large, here / "copy"], check=True)
    assert hash_file(here / "copy", forget=True) == hash_file(copy) == hash_file(large)


def test_sparse_files_read_zeros(share, here):
    path = here / "sparse"
    with open(path, "wb", buffering=0) as file:
        file.seek(10 << 20)
        file.write(b"end")
    assert os.stat(path).st_size == (10 << 20) + 3
    content = path.read_bytes()
    assert content == bytes(10 << 20) + b"end"
    assert (share.source / "sparse").read_bytes() == content


def test_fsync_reaches_the_share(share, here):
    with open(here / "file", "wb", buffering=0) as file:
        file.write(b"safe")
        os.fsync(file.fileno())
        assert (share.source / "file").read_bytes() == b"safe"
        os.fdatasync(file.fileno())
    fd = os.open(here, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


def test_programs_run_from_the_mount(share, here):
    (share.source / "script").write_text("#!/bin/sh\necho ran\n")
    os.chmod(share.source / "script", 0o755)
    subprocess.run(["cp", "/bin/true", here / "true"], check=True)
    assert subprocess.run([here / "script"], check=True, capture_output=True).stdout == b"ran\n"
    subprocess.run([here / "true"], check=True)


TOOLS = """
set -e
mkdir d
cp -r /usr/include/linux/byteorder d/
tar cf t.tar d && mkdir e && tar xf t.tar -C e && diff -r d e/d
cp -a d f && mv f g && diff -r d g
find . -type f | xargs sha256sum > sums && grep -v sums sums > checked && sha256sum -c --quiet checked
rm -r e g
sed -i s/a/b/ checked
du -s . > /dev/null
dd if=/dev/urandom of=noise bs=64k count=20 conv=fsync 2> /dev/null
sort -o sums sums
"""


def test_the_tools_of_every_day(share, here):
    done = subprocess.run(["sh", "-c", TOOLS], cwd=here, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(share.source)) == ["checked", "d", "noise", "sums", "t.tar"]
    subprocess.run(["diff", "-r", "--no-dereference", here, share.source], check=True)


# -- coherency ---------------------------------------------------------------------------------------------


def test_a_file_that_grows_behind_its_back_shows_whole_at_the_next_open(share, here):
    path = share.source / "file"
    path.write_bytes(b"short")
    age(path)
    assert (here / "file").read_bytes() == b"short"
    for n in range(30):
        content = b"longer" * (n + 1)
        path.write_bytes(content)
        age(path, n + 1)
        assert (here / "file").read_bytes() == content


def test_changes_behind_its_back_show_at_the_next_open(share, here):
    path = share.source / "file"
    for n in range(30):
        content = pseudo_random((n * 7919) % 50_000, n)
        if n % 3 == 0:
            fresh = share.source / "fresh"
            fresh.write_bytes(content)
            os.rename(fresh, path)
        else:
            path.write_bytes(content)
        if n % 2:
            age(path, n)
        with open(here / "file", "rb", buffering=0) as file:
            assert file.readall() == content, n


@pytest.mark.parametrize("options", ["writeback_cache", "writeback_cache,attr_timeout=0,entry_timeout=0",
                                     "writeback_cache,coherency=ttl=0.1"])
def test_a_kernel_that_gathers_writes_sees_what_others_did(workspace, share, options):
    """It keeps size and times of a file itself, whatever it is told of them."""
    larder = Larder(workspace, share, options)
    path, shown = share.source / "file", larder.path / "file"
    for n in range(12):
        larder.wait_for("vfs.handles", lambda open_files: open_files == 0)  # the kernel tells of a close later
        content = pseudo_random((n * 7919) % 50_000, n)
        path.write_bytes(content)
        age(path, n)
        if n % 3 == 0:  # asked about before it is opened
            wait_until(lambda: (os.stat(shown).st_size, os.stat(shown).st_mtime_ns) ==
                       (len(content), os.stat(path).st_mtime_ns), "size and time are shown")
        if "ttl" in options:
            wait_until(lambda: shown.read_bytes() == content, "it shows what it holds")
        assert shown.read_bytes() == content, n
        # And what is written here is there, and stays.
        with open(shown, "r+b") as file:
            file.seek(n * 100)
            file.write(b"written here")
        expected = content[:n * 100].ljust(n * 100, b"\0") + b"written here" + content[n * 100 + 12:]
        assert shown.read_bytes() == path.read_bytes() == expected


def test_a_name_that_goes_and_comes_behind_its_back(share, here):
    for n in range(10):
        (share.source / "file").write_bytes(b"%d" % n)
        assert (here / "file").read_bytes() == b"%d" % n
        os.unlink(share.source / "file")
        with raises(errno.ENOENT, errno.ESTALE):
            (here / "file").read_bytes()
        assert os.listdir(here) == []


# -- others ------------------------------------------------------------------------------------------------


def as_nobody(function, *arguments):
    """In a child that is nobody; its errno where it failed, else 0 or what it returned."""
    nobody = pwd.getpwnam("nobody")

    def work():
        os.setgroups([])
        os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
        os.setresuid(nobody.pw_uid, nobody.pw_uid, nobody.pw_uid)
        try:
            return function(*arguments) or 0
        except OSError as error:
            return error.errno

    return within(20, "what nobody does", work)


def close(fd):
    os.close(fd)


def test_another_user_may_what_modes_allow(share, here):
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user")
    os.chmod(share.source, 0o755)
    (share.source / "readable").write_bytes(b"for all")
    os.chmod(share.source / "readable", 0o644)
    (share.source / "secret").write_bytes(b"for root")
    os.chmod(share.source / "secret", 0o600)
    (share.source / "open").mkdir()
    os.chmod(share.source / "open", 0o777)
    (share.source / "closed").mkdir()
    os.chmod(share.source / "closed", 0o700)
    (share.source / "closed" / "inside").write_bytes(b"")

    assert as_nobody(lambda: len((here / "readable").read_bytes())) == 7
    assert as_nobody(lambda: (here / "readable").write_bytes(b"")) == errno.EACCES
    assert as_nobody(lambda: (here / "secret").read_bytes()) == errno.EACCES
    assert (here / "secret").read_bytes() == b"for root", "root reads it into the cache"
    assert as_nobody(lambda: (here / "secret").read_bytes()) == errno.EACCES
    assert as_nobody(os.listdir, here / "closed") == errno.EACCES
    assert as_nobody(os.stat, here / "closed" / "inside") == errno.EACCES
    assert as_nobody(os.mkdir, here / "made") == errno.EACCES
    assert as_nobody(os.unlink, here / "readable") == errno.EACCES
    assert as_nobody(os.chmod, here / "readable", 0o777) == errno.EPERM
    assert as_nobody(os.mkdir, here / "open" / "made") == 0
    assert as_nobody(lambda: close(os.open(here / "open" / "file", os.O_CREAT | os.O_WRONLY, 0o644))) == 0
    for name in ("made", "file"):
        one = os.stat(share.source / "open" / name)
        assert pwd.getpwuid(one.st_uid).pw_name == "nobody", "what a user makes is theirs"
        assert os.stat(here / "open" / name).st_uid == one.st_uid
    assert as_nobody(lambda: (here / "open" / "file").write_bytes(b"mine") and None) == 0
    assert (share.source / "open" / "file").read_bytes() == b"mine"


def test_control_files_are_for_the_one_who_mounted(here):
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user")
    assert as_nobody(os.listdir, here / ".larder") == errno.EACCES
    assert stat.S_IMODE(os.stat(here / ".larder").st_mode) == 0o700


def test_a_mount_without_allow_other_is_for_its_owner_alone(workspace, share):
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user")
    larder = Larder(workspace, share, name="mine")
    assert as_nobody(os.listdir, larder.path) == errno.EACCES


def test_ro_refuses_every_change(workspace, share):
    (share.source / "file").write_bytes(b"x")
    age_tree(share.source)
    larder = Larder(workspace, share, "ro", name="ro")
    assert (larder.path / "file").read_bytes() == b"x"
    for change in (lambda: (larder.path / "file").write_bytes(b"y"), lambda: os.mkdir(larder.path / "d"),
                   lambda: os.unlink(larder.path / "file"), lambda: os.chmod(larder.path / "file", 0),
                   lambda: os.rename(larder.path / "file", larder.path / "g"),
                   lambda: os.symlink("x", larder.path / "l"), lambda: os.truncate(larder.path / "file", 0)):
        with raises(errno.EROFS):
            change()
    assert os.listdir(share.source) == ["file"]


def test_uid_gid_and_umask_are_shown(workspace, share):
    (share.source / "file").write_bytes(b"x")
    os.chmod(share.source / "file", 0o666)
    larder = Larder(workspace, share, "uid=1234,gid=4321,umask=027", name="shown")
    one = os.stat(larder.path / "file")
    assert (one.st_uid, one.st_gid, stat.S_IMODE(one.st_mode)) == (1234, 4321, 0o640)
    assert stat.S_IMODE(os.stat(share.source / "file").st_mode) == 0o666


def test_mount_and_findmnt_show_it(share, here):
    done = subprocess.run(["findmnt", "-n", "-o", "SOURCE,FSTYPE", "--target", here], check=True,
                          capture_output=True, text=True)
    assert done.stdout.split() == [str(share.path), "fuse.larder"]
    done = subprocess.run(["mount"], check=True, capture_output=True, text=True)
    [line] = [line for line in done.stdout.splitlines() if f" on {here} " in line]
    assert line.startswith(f"{share.path} on ") and "type fuse.larder" in line


def test_locks_between_processes_of_this_machine(here):
    import fcntl
    (here / "file").write_bytes(b"x")
    with open(here / "file", "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)

        def try_it():
            with open(here / "file", "r+b") as other:
                fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

        with raises(errno.EAGAIN, errno.EACCES):
            within(20, "a lock that somebody else has", try_it)
        fcntl.lockf(file, fcntl.LOCK_UN)
        within(20, "a lock that is free", try_it)
