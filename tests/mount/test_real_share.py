# SPDX-License-Identifier: Apache-2.0
"""Every file of a real tree, over a real network share (sshfs to an sshd of our own), by SHA-256.

Thousands of small files and one of 1 GiB; the store holds all of it. What is expected is always the source
directory as it is at that moment; 0 differences each time. Each test stands alone on the share, which they
have in common, and leaves it as it likes: the next one looks anew.
"""
import os
import random
import shutil

import pytest

from support import (Larder, SshShare, Workspace, age, age_tree, copy_tree, differences, hash_file,
                     hash_tree, pseudo_random, why_no_fuse, write_pseudo_random)
from support.trees import seed

FILES = 3000
LARGE = 1 << 30
STORE = "2560M"


class World:
    """The share, and one store that all tests use."""

    def __init__(self, workspace):
        self.workspace = workspace
        self.share = SshShare(workspace)
        self.source = self.share.source
        self.tree = self.source / "tree"
        copied = copy_tree("/usr/include", self.tree, FILES)
        assert copied >= 1000, "this machine has too few header files to make a tree of"
        write_pseudo_random(self.source / "large", LARGE)
        age_tree(self.source)
        self.larder = None

    def mount(self, name="fast"):
        if self.larder is None:
            self.larder = Larder(self.workspace, self.share, name=name, size=STORE)
        return self.larder

    def unmount(self):
        if self.larder is not None:
            if self.larder.process is not None:
                self.larder.umount()
            self.larder = None

    def compare(self, forget=True):
        found = hash_tree(self.larder.path, forget)
        lines = differences(hash_tree(self.source), found)
        assert not lines, f"{len(lines)} differences:\n" + "\n".join(lines[:20])

    def read_all(self):
        hash_tree(self.larder.path)


@pytest.fixture(name="world", scope="module")
def fixture_world():
    reason = why_no_fuse()
    if reason:
        pytest.skip(reason)
    with Workspace() as workspace:
        yield World(workspace)


@pytest.fixture(autouse=True)
def fixture_unmounted_behind_each(world):
    yield
    world.unmount()


def test_cold_then_warm_the_share_reads_as_it_is(world):
    larder = world.mount()
    world.compare()
    larder.wait_until_filled()
    before = larder.counter("netfs.data_calls")
    world.compare()
    assert larder.counter("netfs.data_calls") == before


def test_after_umount_and_mount_it_reads_as_it_is_from_the_store(world):
    larder = world.mount()
    world.read_all()
    larder.wait_until_filled()
    larder.remount()
    world.compare()
    assert larder.counter("netfs.data_calls") == 0


def test_after_kill_9_and_a_new_mount_it_reads_as_it_is(world):
    larder = world.mount()
    world.read_all()
    larder.kill9()
    larder.mount()
    world.compare()


def test_killed_in_the_middle_of_reading_and_mounted_again_it_reads_as_it_is(world):
    """Of the large file's store, some is in, some on its way, some not asked for."""
    write_pseudo_random(world.source / "large-too", 128 << 20, "killed")
    age(world.source / "large-too")
    larder = world.mount()
    with open(larder.path / "large-too", "rb", buffering=0) as file:
        for _ in range(64):
            file.read(1 << 20)
    larder.kill9()
    larder.mount()
    assert hash_file(larder.path / "large-too") == hash_file(world.source / "large-too")
    larder.umount()
    larder.mount()
    assert hash_file(larder.path / "large-too") == hash_file(world.source / "large-too")
    (world.source / "large-too").unlink()


# -- writes through larder ---------------------------------------------------------------------------------


def some_files(root, count, salt):
    """Regular files of the tree, as paths below root; the same for the same seed."""
    found = [os.path.relpath(os.path.join(folder, name), root)
             for folder, _, names in os.walk(root) for name in names
             if not os.path.islink(os.path.join(folder, name))]
    return random.Random(f"{seed()}/{salt}").sample(sorted(found), count)


def write_in_many_ways(root, names, salt):
    """Changes the files below `root` (a mount or the source itself), 8 of each kind."""
    kinds = iter([names[n::8] for n in range(8)])
    for n, name in enumerate(next(kinds)):  # overwritten in place: the size stays
        with open(root / name, "r+b") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(size // 3)
            file.write(pseudo_random(max(1, size // 5), f"in place {salt} {n}")[:size - size // 3])
    for n, name in enumerate(next(kinds)):  # anew
        (root / name).write_bytes(pseudo_random(1000 * n, f"anew {salt} {n}"))
    for n, name in enumerate(next(kinds)):
        with open(root / name, "ab") as file:
            file.write(pseudo_random(1 + 5000 * n, f"appended {salt} {n}"))
    for name in next(kinds):
        os.truncate(root / name, os.stat(root / name).st_size // 2)
    for name in next(kinds):
        os.truncate(root / name, os.stat(root / name).st_size + 10_000)
    for n, name in enumerate(next(kinds)):  # renamed over: what editors and package managers do
        fresh = root / (name + ".new")
        fresh.write_bytes(pseudo_random(3000 + n, f"over {salt} {n}"))
        os.rename(fresh, root / name)
    for name in next(kinds):
        os.unlink(root / name)
    for n, name in enumerate(next(kinds)):
        folder = (root / name).parent / f"folder-{salt}-{n}"
        folder.mkdir()
        (folder / "created").write_bytes(pseudo_random(77 * n, f"created {salt} {n}"))
        os.rename(root / name, folder / "moved")


def test_after_writes_through_larder_both_sides_read_the_same(world):
    larder = world.mount()
    world.read_all()
    write_in_many_ways(larder.path / "tree", some_files(world.tree, 64, "through"), "through")
    with open(larder.path / "large", "r+b") as file:  # a piece in the middle of what is cached
        file.seek((LARGE // 2) - 12345)
        file.write(pseudo_random(3 << 20, "middle"))
    world.compare(forget=False)
    world.compare()
    larder.remount()
    world.compare()


def test_what_was_written_just_before_kill_9_is_the_shares(world):
    larder = world.mount()
    world.read_all()
    write_in_many_ways(larder.path / "tree", some_files(world.tree, 64, "killed"), "killed")
    larder.kill9()
    larder.mount()
    world.compare()


# -- changes behind its back -------------------------------------------------------------------------------


def test_changes_made_behind_its_back_show_at_the_next_open(world):
    larder = world.mount()
    world.read_all()
    write_in_many_ways(world.tree, some_files(world.tree, 64, "behind"), "behind")
    for n in range(50):
        (world.tree / f"new-{n}").write_bytes(pseudo_random(n * 400, f"new {n}"))
    shutil.rmtree(next(path for path in sorted(world.tree.iterdir()) if path.is_dir()))
    with open(world.source / "large", "r+b") as file:
        file.seek(LARGE // 4)
        file.write(pseudo_random(1 << 20, "large behind"))
    world.compare(forget=False)
    larder.remount()
    world.compare()


def test_a_change_of_the_same_size_with_another_time_stamp_shows(world):
    larder = world.mount()
    names = some_files(world.tree, 40, "same size")
    for name in names:
        hash_file(larder.path / "tree" / name)
    for n, name in enumerate(names):
        path = world.tree / name
        path.write_bytes(pseudo_random(os.stat(path).st_size, f"same {n}"))
        age(path, 60 + n)
    for name in names:
        assert hash_file(larder.path / "tree" / name) == hash_file(world.tree / name), name


def test_changes_made_while_it_was_not_mounted_show(world):
    larder = world.mount()
    world.read_all()
    larder.umount()
    write_in_many_ways(world.tree, some_files(world.tree, 64, "while away"), "away")
    larder.mount()
    world.compare()
