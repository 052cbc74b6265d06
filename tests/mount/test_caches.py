# SPDX-License-Identifier: Apache-2.0
"""Several caches in one mount: chosen, added and withdrawn while it is in use."""
import json
import os
import subprocess
import threading

from support import LARDER, LARDERCTL, Larder, hash_tree, is_mounted, wait_until

MEGABYTE = 1 << 20


def ctl(*arguments):
    done = subprocess.run([LARDERCTL, *map(str, arguments)], check=False, capture_output=True, text=True,
                          timeout=60)
    return done.returncode, done.stdout, done.stderr


def caches(larder):
    """Tag -> the other columns of its line."""
    lines = (larder.path / ".larder" / "caches").read_text().splitlines()[2:]
    return {line.split()[0]: line.split()[1:] for line in lines}


def filled(larder):
    """Reads everything, and again, so that nothing is asked of the share the second time."""
    hashes = hash_tree(larder.path)
    larder.wait_until_filled()
    return hashes


def share_bytes(larder):
    return larder.counter("netfs.bytes_read")


def test_a_cache_is_chosen_by_its_tag(workspace, share):
    options = f"cache=other:{workspace}/other.store:32M,select_cache=other,coherency=ttl=60"
    larder = Larder(workspace, share, options)
    filled(larder)
    now = caches(larder)
    assert set(now) == {"larder", "other"}
    assert int(now["other"][1]) > int(now["larder"][1]) == 0, now
    code, out, line = ctl("caches", larder.path)
    assert code == 0 and "other.store" in out, line
    about = larder.about()
    assert [one["tag"] for one in about["caches"]] == ["larder", "other"]
    larder.umount()


def test_what_is_cached_survives_in_each_store(workspace, share):
    larder = Larder(workspace, share, f"cache=other:{workspace}/other.store:32M,select_cache=other")
    expected = filled(larder)
    larder.remount()
    before = share_bytes(larder)
    assert hash_tree(larder.path) == expected
    assert share_bytes(larder) == before, "all comes from the second store"


def test_a_cache_is_withdrawn_and_comes_back_under_readers(workspace, share):
    larder = Larder(workspace, share, "direct_io")
    expected = filled(larder)
    failures, stop, rounds = [], threading.Event(), [0]

    def read():
        while not stop.is_set():
            try:
                if hash_tree(larder.path) != expected:
                    failures.append("another content")
            except OSError as error:
                failures.append(error)
            rounds[0] += 1

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(5):
            code, out, line = ctl("cache", "withdraw", "larder", larder.path)
            assert code == 0, line
            assert "withdrawn" in out and not caches(larder)
            seen = rounds[0]
            wait_until(lambda seen=seen: rounds[0] > seen + 1, "the share serves the readers")
            code, out, line = ctl("cache", "add", f"larder:{larder.store}", larder.path)
            assert code == 0, line
            assert caches(larder)["larder"][0] == "open"
            seen = rounds[0]
            wait_until(lambda seen=seen: rounds[0] > seen + 1, "the cache serves the readers")
    finally:
        stop.set()
        reader.join()
    assert not failures, failures[:3]
    # What was cached before is served again, and nothing is asked for.
    before = share_bytes(larder)
    assert hash_tree(larder.path) == expected
    assert share_bytes(larder) == before
    assert larder.counter("cache.rebinds") > 0
    larder.umount()


def test_a_cache_that_comes_back_serves_no_old_version(workspace, share):
    larder = Larder(workspace, share)
    filled(larder)
    name = "large"
    old = (larder.path / name).read_bytes()
    assert ctl("cache", "withdraw", "larder", larder.path)[0] == 0
    new = os.urandom(len(old))
    (share.source / name).write_bytes(new)
    # The mount point first, as others have it.
    assert ctl("cache", "add", larder.path, f"larder:{larder.store}")[0] == 0
    assert (larder.path / name).read_bytes() == new


def test_a_cache_that_comes_back_within_a_write_session(workspace, share):
    """The object that the cookie is given then knows nothing of the session: it must not serve what is of
    before it, nor keep what is written in it as if it were of the version of before."""
    larder = Larder(workspace, share, "direct_io")
    filled(larder)
    path = larder.path / "large"
    size = path.stat().st_size
    old = path.read_bytes()
    fd = os.open(path, os.O_RDWR)
    try:
        first = os.urandom(4096)
        os.pwrite(fd, first, 0)
        assert ctl("cache", "withdraw", "larder", larder.path)[0] == 0
        second = os.urandom(4096)
        os.pwrite(fd, second, 8192)
        assert ctl("cache", "add", f"larder:{larder.store}", larder.path)[0] == 0
        expected = first + old[4096:8192] + second + old[12288:]
        for _ in range(3):
            assert os.pread(fd, size, 0) == expected
        third = os.urandom(4096)
        os.pwrite(fd, third, 4096)
        expected = first + third + expected[8192:]
        assert os.pread(fd, size, 0) == expected
    finally:
        os.close(fd)
    assert path.read_bytes() == expected == (share.source / "large").read_bytes()
    larder.remount()
    assert path.read_bytes() == expected


def test_a_tag_is_asked_for_before_its_cache_is_there(workspace, share):
    larder = Larder(workspace, share, "select_cache=late,direct_io")
    expected = hash_tree(larder.path)
    assert caches(larder)["larder"][1] == "0", "nothing is cached in another one"
    code, _, line = ctl("cache", "add", f"late:{workspace}/late.store:32M", larder.path)
    assert code == 0, line

    def bound():
        assert hash_tree(larder.path) == expected
        return int(caches(larder)["late"][1]) > 3

    wait_until(bound, "the cookies are bound to it")
    assert int(caches(larder)["larder"][1]) == 0


def test_wrong_words_get_one_line(workspace, share):
    larder = Larder(workspace, share)
    for words in (("cache", "add", "larder:/x/y"), ("cache", "add", "a b:/x"), ("cache", "add", "tag"),
                  ("cache", "add", "t:/nonexistent/s:32M"), ("cache", "add", f"t:{workspace}/s:1K"),
                  ("cache", "add", f"t:{larder.path}/s"), ("cache", "add", f"t:{share.path}/s"),
                  ("cache", "add", f"t:{larder.store}"), ("cache", "withdraw", "nobody"), ("debug", "many")):
        code, out, line = ctl(*words, larder.path)
        assert code == 1 and not out, words
        assert line.count("\n") == 1, line
    assert "is the store of the cache larder" in ctl("cache", "add", f"t:{larder.store}", larder.path)[2]
    assert list(caches(larder)) == ["larder"]
    path = workspace.folder("second")
    for options in ("cache=x", "cache=x:/a:1K", f"cache=x:{workspace}/a,cache=x:{workspace}/b", "select_cache=a b"):
        done = subprocess.run([LARDER, "-o", options, str(share.path), str(path)], check=False,
                              capture_output=True, text=True, timeout=30)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        assert not is_mounted(path)


def test_tracing_is_switched_while_mounted(workspace, share):
    larder = Larder(workspace, share)
    assert "object" not in larder.last_log
    assert ctl("debug", "0xfff", larder.path)[1] == "debug=0xfff\n"
    assert "debug=0xfff\n" in (larder.path / ".larder" / "options").read_text()
    hash_tree(larder.path)
    wait_until(lambda: "acquire(" in larder.last_log, "calls are traced")
    assert ctl("debug", "0", larder.path)[0] == 0
    (larder.path / "large").read_bytes()
    size = len(larder.last_log)
    hash_tree(larder.path)
    assert len(larder.last_log) == size


def test_two_mounts_use_the_caches_together(workspace, share):
    first = Larder(workspace, share, f"cache=other:{workspace}/other.store:32M")
    folder = workspace.folder("share2")
    (folder / "file").write_bytes(os.urandom(MEGABYTE))
    os.utime(folder / "file", (1, 1))
    second = Larder(workspace, folder, "select_cache=other", name="second", store=first.store)
    filled(first)
    filled(second)
    assert int(caches(first)["other"][1]) > 0 and int(caches(first)["larder"][1]) > 0
    assert ctl("cache", "withdraw", "other", second.path)[0] == 0
    assert (second.path / "file").read_bytes() == (folder / "file").read_bytes()
    assert list(caches(second)) == ["larder"]
    assert json.loads(ctl("stats", "--json", second.path)[1])["caches"][0]["tag"] == "larder"
    second.umount()
    first.umount()


def test_a_file_is_culled_by_its_path(workspace, share):
    larder = Larder(workspace, share, "direct_io")
    filled(larder)
    path = larder.path / "large"
    assert os.getxattr(path, "user.larder.cached") == b"100"
    wait_until(lambda: ctl("cull", path)[0] == 0, "nothing is under way on it")
    assert os.getxattr(path, "user.larder.cached") == b"0"
    before = share_bytes(larder)
    assert path.read_bytes() == (share.source / "large").read_bytes()
    assert share_bytes(larder) > before
    larder.wait_until_filled()
    assert os.getxattr(path, "user.larder.cached") == b"100"
    # A directory is walked; what is written is left alone.
    fd = os.open(path, os.O_RDWR)
    code, out, line = ctl("cull", larder.path)
    os.close(fd)
    assert code == 0 and out.startswith("culled "), line
    for elsewhere in (share.source / "large", share.source):
        code, out, line = ctl("cull", elsewhere)
        assert code == 1 and line == f"larderctl: {elsewhere}: this does not lie in a larder mount\n"
    assert ctl("cull", larder.path / "gone")[0] == 1


def test_room_is_made(workspace, share):
    (share.source / "big").write_bytes(os.urandom(20 * MEGABYTE))
    os.utime(share.source / "big", (1, 1))
    larder = Larder(workspace, share)
    filled(larder)
    used = larder.counter("store.used_bytes")
    assert used > 20 * MEGABYTE
    code, out, line = ctl("cull", "--free", "50M", larder.path)
    assert code == 0 and "larder has" in out, line
    assert larder.counter("store.used_bytes") < used
    assert (larder.path / "big").read_bytes() == (share.source / "big").read_bytes()
    code, out, line = ctl("cull", "--free", "10G", larder.path)
    assert code == 1 and not out and "larder is left as it is" in line, line
    assert ctl("cull", "--free", "10", workspace.path)[0] == 1
    assert ctl("cull", "--free", "lots", larder.path)[0] == 1
