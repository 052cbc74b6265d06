# SPDX-License-Identifier: Apache-2.0
"""Whatever larder is given: one clear line and an exit code, or a cache miss. Never a crash, a hang, or a
wrong byte."""
import os
import pathlib
import random
import shutil
import subprocess

import pytest

from support import (Larder, Slowshare, age_tree, differences, hash_tree, mount_points_below,
                     pseudo_random, run_larder, wait_until)
from support.trees import seed

BLOCK = 4096


def refused(workspace, *arguments, codes=(1, 32), **options):
    """Calls larder, which must say why not in one line. The line."""
    done = run_larder(*arguments, **options)
    lines = done.stderr.splitlines()
    assert done.returncode in codes, (done.returncode, done.stderr)
    assert len(lines) == 1 and lines[0].startswith("larder: "), done.stderr
    assert len(lines[0]) < 600 and lines[0].isprintable()
    assert done.stdout == ""
    assert not [point for point in mount_points_below(workspace.path) if point.endswith("/m")]
    return lines[0]


@pytest.fixture(name="refuse")
def fixture_refuse(workspace, share):
    """refuse("option,list"): what larder says to a mount with these options; nothing is mounted."""
    mountpoint = workspace.folder("m")

    def refuse(options, *, given=None, at=None, **more):
        words = ["-o", options] if options else []
        return refused(workspace, *words, given or share.path, at or mountpoint, **more)

    return refuse


# -- options -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options, names", [
    ("nonsense", "nonsense"),
    ("nonsense=1", "nonsense"),
    ("atr_timeout=1", "attr_timeout"),
    ("size=12", "size"),
    ("size=15M", "size"),
    ("size=-1", "size"),
    ("size=1Z", "size"),
    ("size=", "size"),
    ("size=99999999999T", "size"),
    ("store=", "store"),
    ("store=/tmp/", "store"),
    ("store", "store"),
    ("coherency=none", "coherency"),
    ("coherency=ttl", "coherency"),
    ("coherency=ttl=", "coherency"),
    ("coherency=ttl=-5", "coherency"),
    ("attr_timeout=soon", "attr_timeout"),
    ("attr_timeout=-1", "attr_timeout"),
    ("attr_timeout=1e99", "attr_timeout"),
    ("attr_timeout=", "attr_timeout"),
    ("negative_timeout=nan", "negative_timeout"),
    ("share_deadline=0", "share_deadline"),
    ("share_slow=0", "share_slow"),
    ("commit=0", "commit"),
    ("commit=61s", "commit"),
    ("threads=0", "threads"),
    ("threads=65", "threads"),
    ("threads=2.5", "threads"),
    ("share_threads=0", "share_threads"),
    ("share_threads=1025", "share_threads"),
    ("share_threads=99999999999999999999", "share_threads"),
    ("share_ino=perhaps", "share_ino"),
    ("engine=steam", "engine"),
    ("permissions=none", "permissions"),
    ("uid=-1", "uid"),
    ("uid=4294967295", "uid"),
    ("gid=wheel", "gid"),
    ("umask=8", "umask"),
    ("umask=1777", "umask"),
    ("tag=", "tag"),
    ("tag=a b", "tag"),
    ("tag=" + "x" * 33, "tag"),
    ("control=", "control"),
    ("control=..", "control"),
    ("control=a/b", "control"),
    ("log=loud", "log"),
    ("debug=0xg", "debug"),
    ("debug=4294967296", "debug"),
    ("ro=maybe", "ro"),
    ("allow_other=2", "allow_other"),
    ("x" * 3000, "x"),
])
def test_an_option_that_is_wrong_is_named_in_one_line(refuse, options, names):
    assert names in refuse(options, codes=(1,))


@pytest.mark.parametrize("arguments", [
    [], ["share"], ["share", "m", "more"], ["-x", "share", "m"], ["--nonsense", "share", "m"],
    ["-o"], ["share", "m", "-o"], ["", ""],
], ids=repr)
def test_a_command_line_that_is_wrong_is_refused_in_one_line(workspace, share, arguments):
    workspace.folder("m")
    assert share.path.exists()
    refused(workspace, *arguments, cwd=workspace.path)


def test_after_a_refusal_no_store_is_left(workspace, refuse):
    refuse(f"store={workspace / 'store'},size=16M,nonsense")
    refuse(f"store={workspace / 'store'},size=16M", given=workspace / "gone")
    assert not (workspace / "store").exists()


# -- share and mount point ---------------------------------------------------------------------------------


def own_store(workspace):
    return f"store={workspace / 'store'},size=16M"


def test_a_share_that_is_not_there(workspace, refuse):
    assert "gone" in refuse(own_store(workspace), given=workspace / "gone", codes=(32,))


def test_a_share_that_is_a_file(workspace, share, refuse):
    line = refuse(own_store(workspace), given=share.source / "large", codes=(32,))
    assert "not a directory" in line


def test_a_share_that_is_a_dangling_link(workspace, refuse):
    (workspace / "link").symlink_to("nowhere")
    assert "link" in refuse(own_store(workspace), given=workspace / "link", codes=(32,))


def test_a_share_that_is_a_loop_of_links(workspace, refuse):
    (workspace / "a").symlink_to("b")
    (workspace / "b").symlink_to("a")
    refuse(own_store(workspace), given=workspace / "a", codes=(32,))


def test_a_share_whose_server_died(workspace, refuse):
    dead = Slowshare(workspace)
    dead.process.kill()
    dead.process.wait()
    assert str(dead.path) in refuse(own_store(workspace), given=dead.path, codes=(32,))


def test_a_share_that_does_not_answer(workspace, refuse):
    stuck = Slowshare(workspace)
    stuck.ctl("hang", "*")
    line = refuse(own_store(workspace) + ",share_deadline=1", given=stuck.path, codes=(32,))
    assert str(stuck.path) in line


def test_a_share_that_may_not_be_reached(workspace, share, refuse):
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user")
    # To nobody, the mount point and the store belong; the way to the share is closed.
    for path in (workspace / "m", workspace.folder("home")):
        os.chown(path, 65534, 65534)
    os.chmod(share.source, 0o700)
    line = refuse(f"store={workspace}/home/store,size=16M", given=share.source / "folder", user=65534,
                  group=65534, extra_groups=[], codes=(32,))
    assert str(share.path) in line


def test_a_user_without_fuse_is_told_so(workspace, refuse):
    if os.geteuid() != 0 or os.stat("/dev/fuse").st_mode & 0o666 == 0o666:
        pytest.skip("whoever runs this may use /dev/fuse")
    for path in (workspace / "m", workspace.folder("home")):
        os.chown(path, 65534, 65534)
    line = refuse(f"store={workspace}/home/store,size=16M", user=65534, group=65534, extra_groups=[],
                  codes=(32,))
    assert "fuse" in line


def test_a_mount_point_that_is_not_there(workspace, refuse):
    assert "gone" in refuse(own_store(workspace), at=workspace / "gone", codes=(32,))


def test_a_mount_point_that_is_a_file(workspace, share, refuse):
    assert "large" in refuse(own_store(workspace), at=share.source / "large", codes=(32,))


def test_a_mount_point_below_a_file(workspace, share, refuse):
    refuse(own_store(workspace), at=share.source / "large" / "m", codes=(32,))


def test_a_larder_over_a_larder_at_the_same_place(workspace, share):
    """SHARE is a live larder's mount point, and the mount point too: a larder over a larder."""
    first = Larder(workspace, share)
    refused(workspace, "-o", own_store(workspace), first.path, first.path)
    assert hash_tree(first.path) == hash_tree(share.source)


# -- where the store may lie -------------------------------------------------------------------------------


def test_a_store_inside_the_share(share, refuse):
    line = refuse(f"store={share.source}/store,size=16M", codes=(32,))
    assert "inside" in line and str(share.source) in line
    assert not (share.source / "store").exists()


def test_a_store_inside_the_share_by_another_way(workspace, share, refuse):
    (workspace / "way").symlink_to(share.source / "folder")
    assert "inside" in refuse(f"store={workspace}/way/store,size=16M", codes=(32,))


def test_a_store_inside_the_mount_point(workspace, refuse):
    assert "inside" in refuse(f"store={workspace}/m/store,size=16M", codes=(32,))
    assert not os.listdir(workspace / "m")


def test_a_store_on_a_fuse_file_system(workspace, refuse):
    other = Slowshare(workspace)
    assert "FUSE" in refuse(f"store={other.path}/store,size=16M", codes=(32,))
    assert not os.listdir(other.source)


@pytest.mark.parametrize("place", ["/proc/store", "/sys/store", "/proc/self/store"])
def test_a_store_on_a_file_system_that_is_none(refuse, place):
    refuse(f"store={place},size=16M", codes=(32,))


def test_a_store_that_is_a_directory(workspace, refuse):
    assert "directory" in refuse(f"store={workspace.folder('d')},size=16M", codes=(32,))


@pytest.mark.parametrize("target", ["real", "nowhere"])
def test_a_store_that_is_a_link(workspace, refuse, target):
    (workspace / "real").write_bytes(b"")
    (workspace / "link").symlink_to(workspace / target)
    assert "link" in refuse(f"store={workspace}/link,size=16M", codes=(32,))
    assert (workspace / "real").read_bytes() == b""
    assert not (workspace / "nowhere").exists()


def test_a_store_with_a_second_name(workspace, refuse):
    (workspace / "one").write_bytes(b"")
    os.link(workspace / "one", workspace / "two")
    refuse(f"store={workspace}/two,size=16M", codes=(32,))


def test_a_store_that_is_a_fifo(workspace, refuse):
    os.mkfifo(workspace / "fifo")
    refuse(f"store={workspace}/fifo,size=16M", codes=(32,))


def test_a_store_that_is_a_character_device(refuse):
    refuse("store=/dev/null,size=16M", codes=(32,))


def test_a_store_whose_directory_is_not_there(workspace, refuse):
    assert "gone" in refuse(f"store={workspace}/gone/store,size=16M", codes=(32,))


def test_a_store_of_another_user(workspace, refuse):
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a file away")
    (workspace / "store").write_bytes(b"")
    os.chown(workspace / "store", 65534, 65534)
    assert "another user" in refuse(own_store(workspace), codes=(32,))


def test_a_store_in_a_name_that_is_too_long(workspace, refuse):
    refuse(f"store={workspace}/{'x' * 300},size=16M", codes=(32,))


def test_a_second_larder_on_the_same_store_is_told_who_has_it(workspace, share, refuse):
    first = Larder(workspace, share)
    os.environ["LARDER_RUN"] = str(workspace / "elsewhere")  # it does not find the first
    line = refuse(f"store={first.store},size=64M", codes=(32,))
    assert str(first.pid) in line and "in use" in line
    assert hash_tree(first.path) == hash_tree(share.source)


def mounted_tmpfs(workspace, size):
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    path = workspace.folder("small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=True)
    return path


def test_a_disk_too_small_for_the_store(workspace, refuse):
    place = mounted_tmpfs(workspace, "1m")
    refuse(f"store={place}/store,size=64M", codes=(32,))
    assert not os.listdir(place), "nothing half made is left"


def test_a_disk_too_small_for_any_store(workspace, refuse):
    refuse(f"store={mounted_tmpfs(workspace, '2m')}/store", codes=(32,))


def test_a_disk_that_is_full_under_the_store_costs_the_cache_alone(workspace, share):
    """The store's metadata fit, its data do not."""
    (share.source / "huge").write_bytes(pseudo_random(40 << 20, "huge"))
    age_tree(share.source)
    place = mounted_tmpfs(workspace, "12m")
    larder = Larder(workspace, share, store=place / "store", size="64M")
    for _ in range(3):
        assert not differences(hash_tree(share.source), hash_tree(larder.path, forget=True))
    assert larder.counter("store.fill_errors") > 0, "the disk was full"
    (larder.path / "new").write_bytes(b"written all the same")
    assert (share.source / "new").read_bytes() == b"written all the same"
    assert larder.ctl("status").returncode == 0
    larder.umount()
    larder.mount()
    assert not differences(hash_tree(share.source), hash_tree(larder.path))


def test_a_store_that_is_removed_under_larder_costs_nothing(workspace, share):
    larder = Larder(workspace, share)
    os.unlink(larder.store)
    assert not differences(hash_tree(share.source), hash_tree(larder.path))
    larder.umount()


# -- what is in the store ----------------------------------------------------------------------------------


def test_a_file_that_is_no_store_is_left_as_it_is(workspace, refuse):
    content = b"my diary\n" * 4_000_000
    (workspace / "store").write_bytes(content)
    line = refuse(own_store(workspace), codes=(32,))
    assert "not a store" in line
    assert (workspace / "store").read_bytes() == content


def test_a_short_file_that_is_no_store_is_left_as_it_is(workspace, refuse):
    (workspace / "store").write_bytes(b"my diary\n")
    refuse(own_store(workspace), codes=(32,))
    assert (workspace / "store").read_bytes() == b"my diary\n"


class Image:
    """A sound 20 MiB store with content, to be damaged and mounted again and again."""

    def __init__(self, workspace, share):
        self.workspace = workspace
        self.share = share
        self.larder = Larder(workspace, share, size="20M")
        self.expected = hash_tree(share.source)
        assert hash_tree(self.larder.path) == self.expected
        self.larder.wait_until_filled()
        self.larder.umount()
        self.sound = workspace / "sound"
        shutil.copy(self.larder.store, self.sound)
        self.size = os.stat(self.sound).st_size

    def holders(self):
        """Who has the store open."""
        found = []
        for link in pathlib.Path("/proc").glob("[0-9]*/fd/*"):
            try:
                if os.readlink(link) == str(self.larder.store):
                    found.append(link)
            except OSError:
                pass  # ended meanwhile
        return found

    def metadata_end(self):
        """Where the data area begins, from the superblock (docs/on-disk-format.md)."""
        with open(self.sound, "rb") as file:
            block = file.read(BLOCK)
        assert block[:6] == b"larder"
        end = int.from_bytes(block[64:72], "little")
        assert 64 << 10 < end < 8 << 20 and end % BLOCK == 0
        return end

    def damaged(self, damage):
        """Mounts a copy that `damage` (path -> None) had its hands on; everything reads as it is."""
        shutil.copy(self.sound, self.larder.store)
        damage(self.larder.store)
        self.larder.mount()
        self.read_and_umount()

    def refused_or_damaged(self, damage):
        """The same, or a refusal in one line: of what cannot be told from somebody's file."""
        shutil.copy(self.sound, self.larder.store)
        damage(self.larder.store)
        done = run_larder("-o", f"store={self.larder.store}", self.larder.share, self.larder.path)
        if done.returncode == 0:
            return self.read_and_umount()
        assert done.returncode == 32 and done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("larder: ")
        return None

    def read_and_umount(self):
        try:
            found = hash_tree(self.larder.path)
        finally:
            if self.larder.process is not None:
                self.larder.umount()
            else:
                subprocess.run(["umount", self.larder.path], check=True)
                wait_until(lambda: not self.holders(), "the daemon lets go of the store")
        lines = differences(self.expected, found)
        assert not lines, "\n".join(lines[:10])


@pytest.fixture(name="image")
def fixture_image(workspace, share):
    shutil.rmtree(share.source / "folder")
    (share.source / "small").write_bytes(b"small")
    age_tree(share.source)
    return Image(workspace, share)


def test_a_sound_store_serves_what_it_holds(image):
    image.damaged(lambda path: None)
    image.larder.mount()
    assert hash_tree(image.larder.path) == image.expected
    assert image.larder.counter("netfs.data_calls") == 0, "this is what the damages below take away"


def test_a_store_cut_at_every_block_of_its_metadata(image):
    failures = []
    for end in range(BLOCK, image.metadata_end() + BLOCK, BLOCK):
        try:
            image.damaged(lambda path, end=end: os.truncate(path, end))
        except AssertionError as error:
            failures.append(f"cut at {end}: {error}")
            break
    assert not failures


def test_a_store_cut_inside_a_block(image):
    chance = random.Random(seed())
    for end in [1, 7, 100, 4095] + [chance.randrange(image.size) for _ in range(12)]:
        image.refused_or_damaged(lambda path, end=end: os.truncate(path, end))


def overwrite(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize("how", ["zeros", "ones", "noise", "one bit"])
def test_a_store_with_a_damaged_block_anywhere(image, how):
    chance = random.Random(f"{seed()}/{how}")
    places = [0, 32 << 10, 64 << 10] + [chance.randrange(image.metadata_end() // BLOCK) * BLOCK
                                        for _ in range(12)]
    places += [image.metadata_end() + chance.randrange(600) * BLOCK for _ in range(12)]

    def damage(path, place):
        with open(path, "rb") as file:
            file.seek(place)
            block = bytearray(file.read(BLOCK).ljust(BLOCK, b"\0"))
        if how == "one bit":
            block[chance.randrange(BLOCK)] ^= 1 << chance.randrange(8)
        else:
            block = {"zeros": b"\0" * BLOCK, "ones": b"\xff" * BLOCK,
                     "noise": pseudo_random(BLOCK, place)}[how]
        overwrite(path, place, bytes(block))

    for place in places:
        image.damaged(lambda path, place=place: damage(path, place))


def test_a_store_whose_blocks_changed_places(image):
    chance = random.Random(f"{seed()}/swap")
    end = image.metadata_end()

    def swap(path, one, other):
        with open(path, "r+b") as file:
            blocks = []
            for place in (one, other):
                file.seek(place)
                blocks.append(file.read(BLOCK))
            for place, block in zip((other, one), blocks):
                file.seek(place)
                file.write(block)

    pairs = [(0, 32 << 10)] + [(end + chance.randrange(400) * BLOCK, end + chance.randrange(400) * BLOCK)
                               for _ in range(8)]
    pairs += [(chance.randrange(end // BLOCK) * BLOCK, chance.randrange(end // BLOCK) * BLOCK)
              for _ in range(8)]
    for one, other in pairs:
        image.damaged(lambda path, one=one, other=other: swap(path, one, other))


def test_a_store_of_another_format_number_is_made_anew(image):
    """The number is bytes 8 to 11 of both superblocks."""

    def other_format(path):
        for place in (0, 32 << 10):
            overwrite(path, place + 8, (77).to_bytes(4, "little"))

    image.damaged(other_format)
    assert "format" in image.larder.last_log, "it says so"


def test_a_store_of_noise_behind_the_magic_bytes(image):
    magic = image.sound.read_bytes()[:8]

    def noise(path):
        overwrite(path, 0, magic + pseudo_random((1 << 20) - 8, "noise"))
        overwrite(path, 32 << 10, magic)

    image.damaged(noise)


def test_the_smallest_store_of_another_format_number_is_made_anew_too(workspace, share):
    """Its file is a little shorter than the 16 MiB that a new one is asked to have."""
    larder = Larder(workspace, share, size="16M")
    assert hash_tree(larder.path) == hash_tree(share.source)
    larder.umount()
    for place in (0, 32 << 10):
        overwrite(larder.store, place + 8, (77).to_bytes(4, "little"))
    larder.mount()
    assert hash_tree(larder.path) == hash_tree(share.source)


def test_a_store_that_is_older_than_the_share(image):
    """Put back from a backup: what changed since is noticed."""
    (image.share.source / "large").write_bytes(pseudo_random(3 << 20, "changed"))
    image.expected = hash_tree(image.share.source)
    image.damaged(lambda path: None)


def test_a_store_of_another_share(workspace, image):
    other = workspace.folder("other")
    for name in ("large", "small"):
        (other / name).write_bytes(pseudo_random(2 << 20, f"other {name}"))
    age_tree(other)
    shutil.copy(image.sound, image.larder.store)
    larder = Larder(workspace, other, name="second", store=image.larder.store, size="16M")
    assert not differences(hash_tree(other), hash_tree(larder.path))


def test_an_existing_store_takes_another_size_and_keeps_its_pages(image):
    image.larder.size = "512M"
    image.larder.mount()
    assert hash_tree(image.larder.path) == image.expected
    assert image.larder.counter("netfs.data_calls") == 0
    assert "the store has 512 MiB now" in image.larder.log.read_text()
    assert os.stat(image.larder.store).st_size <= 512 << 20
