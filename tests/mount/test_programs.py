# SPDX-License-Identifier: Apache-2.0
"""Real programs on a mount, over a plain directory and over sshfs: what they read back is what they wrote, and what
the share holds."""
import hashlib
import mmap
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest

from support import Larder, LocalShare, SshShare, age_tree, copy_tree, differences, hash_tree, wait_until

LONG = os.environ.get("LARDER_LONG") is not None
PATIENCE_S = 900 if LONG else 150
FILES = 150


def run(*words, **options):
    """A program that must succeed; its output."""
    done = subprocess.run([str(word) for word in words], check=False, capture_output=True, text=True,
                          timeout=PATIENCE_S, stdin=subprocess.DEVNULL, **options)
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def git(folder, *words):
    who = ["-c", "user.name=larder", "-c", "user.email=larder@localhost", "-c", "safe.directory=*"]
    return run("git", *who, "-C", folder, *words)


@pytest.fixture(name="share", params=[LocalShare, SshShare], ids=["directory", "sshfs"])
def fixture_share(request, workspace):
    return request.param(workspace)


@pytest.fixture(name="larder")
def fixture_larder(workspace, share):
    return Larder(workspace, share, size="512M")


@pytest.fixture(name="here")
def fixture_here(larder):
    return larder.path


@pytest.fixture(name="tree")
def fixture_tree(workspace, share):
    """Some real files, beside the share. Without symbolic links over sshfs, which cannot date them."""
    tree = workspace.folder("originals")
    assert copy_tree("/usr/include", tree, FILES) == FILES
    if isinstance(share, SshShare):
        for path in tree.rglob("*"):
            if path.is_symlink():
                path.unlink()
    age_tree(tree)
    return tree


def assert_same(expected, found):
    lines = differences(hash_tree(expected), hash_tree(found))
    assert not lines, f"{len(lines)} differences:\n" + "\n".join(lines[:10])


def test_git_clones_changes_and_packs(workspace, share, here, tree):
    upstream = workspace.folder("upstream")
    shutil.copytree(tree, upstream / "tree", symlinks=True)
    git(upstream, "init", "-q")
    git(upstream, "add", "-A")
    git(upstream, "commit", "-q", "-m", "first")
    run("git", "clone", "-q", f"file://{upstream}", here / "clone")
    clone = here / "clone"
    assert git(clone, "status", "--porcelain") == ""
    assert_same(upstream / "tree", clone / "tree")
    changed = [clone / name for name in git(clone, "ls-files").split("\n")[:40:4]]
    for path in changed:
        if path.is_file() and not path.is_symlink():
            path.write_bytes(path.read_bytes() + b"\n// changed\n")
    assert " M " in git(clone, "status", "--porcelain")
    git(clone, "commit", "-q", "-a", "-m", "second")
    git(clone, "checkout", "-q", "-b", "other", "HEAD~1")
    git(clone, "checkout", "-q", "-")
    git(clone, "gc", "-q", "--prune=now")
    git(clone, "fsck", "--full", "--strict")
    assert git(clone, "status", "--porcelain") == ""
    # And so it is on the share.
    assert git(share.source / "clone", "rev-parse", "HEAD") == git(clone, "rev-parse", "HEAD")
    git(share.source / "clone", "fsck", "--full")


def save_in_place(path, text):
    with open(path, "r+b") as file:
        file.truncate(0)
        file.write(text)
        os.fsync(file.fileno())


def save_beside(path, text):
    beside = path.with_suffix(".new")
    with open(beside, "xb") as file:
        file.write(text)
        os.fsync(file.fileno())
    os.rename(beside, path)


def save_with_a_backup(path, text):
    backup = path.with_suffix(".bak")
    os.rename(path, backup)
    with open(path, "xb") as file:
        file.write(text)
        os.fsync(file.fileno())
    os.unlink(backup)


@pytest.mark.parametrize("save", [save_in_place, save_beside, save_with_a_backup])
def test_what_an_editor_saves_is_what_all_read(here, share, save):
    path = here / "text.txt"
    path.write_bytes(b"as it was")
    for n in range(20):
        text = b"line\n" * (n * 997 % 3001) + b"version %d" % n
        with open(path, "rb") as before:
            before.read()
            save(path, text)
            assert path.read_bytes() == (share.source / "text.txt").read_bytes() == text
    # sshfs keeps what is replaced while it is open under a name of its own.
    wait_until(lambda: os.listdir(share.source) == ["text.txt"], "nothing else is left")


WRITER = """
import sqlite3, sys
path, who, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
base = sqlite3.connect(path, timeout=120)
for n in range(count):
    with base:
        base.execute("insert into rows values (?, ?, ?)", (who, n, bytes([who]) * 500))
        base.execute("update total set rows = rows + 1")
"""


def test_sqlite_with_concurrent_writers_loses_nothing(here, share):
    path = here / "base.sqlite"
    writers, rows = 3, 40 if LONG else 12
    with sqlite3.connect(path) as base:
        base.execute("create table rows (who, n, body)")
        base.execute("create table total (rows)")
        base.execute("insert into total values (0)")
    base.close()
    children = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(who), str(rows)])
                for who in range(writers)]
    try:
        for child in children:
            assert child.wait(PATIENCE_S) == 0
    finally:
        for child in children:
            child.kill()
    for place in (path, share.source / "base.sqlite"):
        base = sqlite3.connect(place)
        assert base.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert base.execute("select rows from total").fetchone() == (writers * rows,)
        assert base.execute("select count(*), count(distinct who * 1000 + n) from rows").fetchone() == \
            (writers * rows, writers * rows)
        base.close()


def test_tar_packs_and_unpacks_on_the_mount(here, share, tree):
    run("tar", "-C", tree, "-cf", here / "tree.tar", ".")
    (here / "out").mkdir()
    run("tar", "-C", here / "out", "-xf", here / "tree.tar")
    assert_same(tree, here / "out")
    assert_same(tree, share.source / "out")
    run("tar", "-C", here / "out", "-df", here / "tree.tar")


def test_rsync_copies_once_and_then_nothing(here, share, tree):
    os.link(next(path for path in tree.iterdir() if path.is_file() and not path.is_symlink()), tree / "again")
    # Over sshfs there are neither access lists nor extended attributes, and names of one file are files.
    kept = "-aHAX" if isinstance(share, LocalShare) else "-a"
    words = ["rsync", kept, "--stats", f"{tree}/", f"{here}/copy/"]
    run(*words)
    assert_same(tree, share.source / "copy")
    second = run(*words)
    assert "Number of regular files transferred: 0" in second, second
    assert "Number of created files: 0" in second, second


def test_programs_run_from_the_mount(here):
    for name in ("true", "ls"):
        shutil.copy2(shutil.which(name), here / name)
    run(here / "true")
    assert "true" in run(here / "ls", here)
    os.chmod(here / "true", 0o644)
    with pytest.raises(PermissionError):
        subprocess.run([here / "true"], check=False)


def test_fio_reads_back_what_it_wrote(here, workspace):
    size = "64m" if LONG else "6m"
    run("fio", "--name=verify", f"--directory={here}", f"--size={size}", "--rw=randrw", "--bsrange=512-64k",
        "--ioengine=psync", "--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--randseed=1",
        "--verify_backlog=128", "--numjobs=2", "--group_reporting", f"--aux-path={workspace}",
        "--output-format=terse")


def test_dbench_runs_its_load(here):
    loads = "/usr/share/dbench/client.txt"
    if not os.path.exists(loads):
        pytest.skip("this dbench brings no load")
    out = run("dbench", "-c", loads, "-D", here, "-t", "30" if LONG else "3", "2")
    assert "Throughput" in out, out
    assert "failed on handle" not in out, out


def test_a_mapped_file_is_what_was_written_through_the_map(here, share):
    """As linkers and databases do: grown, mapped shared, changed in place, and read by another process."""
    path = here / "mapped"
    size = 300_000
    with open(path, "w+b") as file:
        file.truncate(size)
        with mmap.mmap(file.fileno(), size) as mapped:
            for at in range(0, size - 100, 9_973):
                mapped[at:at + 100] = bytes([at % 251]) * 100
            mapped.flush()
    expected = bytearray(size)
    for at in range(0, size - 100, 9_973):
        expected[at:at + 100] = bytes([at % 251]) * 100
    assert run("sha256sum", path).split()[0] == hashlib.sha256(expected).hexdigest()
    assert (share.source / "mapped").read_bytes() == expected


@pytest.mark.skipif(not LONG, reason="a build takes minutes: LARDER_LONG=1")
def test_larder_is_built_on_the_mount(here):
    source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    files = run("git", "-c", "safe.directory=*", "-C", source, "ls-files").split("\n")
    for name in filter(None, files):
        (here / "larder" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(os.path.join(source, name), here / "larder" / name, follow_symlinks=False)
    run("meson", "setup", here / "build", here / "larder", "--buildtype=debugoptimized")
    run("ninja", "-C", here / "build", "tests/base/base-test", "tools/larderctl")
    run(here / "build" / "tests" / "base" / "base-test")
