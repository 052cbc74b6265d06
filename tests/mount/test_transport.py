# SPDX-License-Identifier: Apache-2.0
"""The two transports: which one a mount gets and what it says; every kind of reply byte for byte; aborts,
signals, kill -9 and unmounting under load."""
import errno
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from support import (LARDERCTL, SWITCH, TRANSPORT, Larder, Slowshare, age_tree, is_mounted, pseudo_random,
                     run_larder, wait_until, within)

LONG = os.environ.get("LARDER_LONG") == "1"
MOUNTS = 1000 if LONG else 60
KILLS = 100 if LONG else 10
LIMIT_S = 2

# Reads PATH at random until it fails or is ended.
LOAD = textwrap.dedent("""
    import os, random, signal, sys
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # also where whoever started the tests ignores it
    if len(sys.argv) > 2: os.sched_setaffinity(0, {int(sys.argv[2])})
    fd = os.open(sys.argv[1], os.O_RDONLY)
    size = os.fstat(fd).st_size
    print("reads", flush=True)
    while True:
        try:
            os.pread(fd, random.choice((100, 4096, 70000, 1 << 20)), random.randrange(size))
            os.stat(sys.argv[1])
        except OSError as error:
            print(error.errno, flush=True)
            sys.exit(0)
""")

BURST = 100
# Looks at so many names below PATH at once, from one processor.
LOOKS = textwrap.dedent(f"""
    import os, sys, threading
    os.sched_setaffinity(0, {{0}})
    def look(n):
        os.stat(f"{{sys.argv[1]}}/stuck-{{n}}")
    threads = [threading.Thread(target=look, args=(n,)) for n in range({BURST})]
    for one in threads: one.start()
    for one in threads: one.join()
""")


@pytest.fixture(name="larder")
def fixture_larder(workspace, share):
    return Larder(workspace, share, "direct_io")


def load(workspace, path, *words):
    child = workspace.spawn([sys.executable, "-c", LOAD, path, *words])
    wait_until(lambda: "reads" in child.log.read_text(), "the reader reads")
    return child


def add_stuck(share):
    for n in range(BURST):
        (share.source / f"stuck-{n}").write_bytes(b"x")


def test_the_mount_says_which_transport_it_has(larder):
    assert larder.about()["transport"] == TRANSPORT
    status = larder.ctl("status")
    assert ("uring" if TRANSPORT == "uring" else "classic") in status.stdout


def test_classic_is_had_for_the_asking(workspace, share):
    larder = Larder(workspace, share)
    larder.umount()
    done = run_larder("-o", f"store={larder.store},transport=classic", larder.share, larder.path)
    assert (done.returncode, larder.about()["transport"]) == (0, "classic")
    assert "requests come over /dev/fuse: as asked" in done.stderr
    subprocess.run(["umount", larder.path], check=True)


@pytest.mark.skipif(TRANSPORT == "uring", reason="the switch is on in this run")
@pytest.mark.parametrize("asked", ["auto", "uring"])
def test_what_cannot_be_had_is_said_in_one_line_and_classic_serves(workspace, share, asked):
    if SWITCH.exists() and SWITCH.read_text(encoding="ascii").strip() == "Y":
        pytest.skip("FUSE over io_uring is on for the whole machine")
    path = workspace.folder("fast")
    done = run_larder("-o", f"store={workspace}/s,size=64M,transport={asked}", share.path, path)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "/dev/fuse" in line]
    assert len(lines) == 1
    assert f"echo Y > {SWITCH}" in lines[0] or "6.14" in lines[0]
    assert (path / "large").read_bytes() == (share.source / "large").read_bytes()
    subprocess.run(["umount", path], check=True)


def policies(larder):
    """Of its threads, by their names."""
    threads = pathlib.Path(f"/proc/{larder.process.pid}/task").iterdir()
    return [((one / "comm").read_text().strip(), os.sched_getscheduler(int(one.name))) for one in threads]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root finds the way back from SCHED_IDLE")
def test_the_threads_that_serve_stand_back_and_no_others(workspace, share):
    larder = Larder(workspace, share, "direct_io")
    assert os.listdir(larder.path)
    threads = policies(larder)
    serving = [policy for name, policy in threads if re.fullmatch(r"ring-\d+|request", name)]
    assert all(policy == os.SCHED_OTHER for name, policy in threads if not re.fullmatch(r"ring-\d+|request", name))
    # Where others want the processors, such a thread is ordinary for some time.
    assert os.SCHED_IDLE in serving or larder.counter("fuse.kept_waiting") > 0
    assert larder.counter("fuse.standing_back") <= len(serving)
    larder.remount("wake_in_place=no")
    assert {policy for _, policy in policies(larder)} == {os.SCHED_OTHER}
    assert larder.counter("fuse.standing_back") == 0


@pytest.mark.skipif(TRANSPORT != "uring", reason="about rings")
def test_too_little_memory_means_classic_where_not_even_small_entries_fit(workspace, share):
    path = workspace.folder("fast")
    done = run_larder("-o", f"store={workspace}/s,size=64M,transport_memory=1M", share.path, path)
    assert done.returncode == 0
    assert "requests come over" in done.stderr
    assert (path / "large").read_bytes() == (share.source / "large").read_bytes()
    subprocess.run(["umount", path], check=True)


def drop_store_pages(larder):
    fd = os.open(larder.store, os.O_RDWR)
    os.fdatasync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


@pytest.mark.parametrize("reads", ["buffered", "dropbehind", "direct", "auto"])
def test_eight_readers_of_random_sizes_see_the_right_bytes(workspace, share, reads):
    """From the page cache, from the disk, from the share, into their place and moved there."""
    # Where the kernel may keep pages, auto reads past the page cache what is not in it.
    larder = Larder(workspace, share, f"store_reads={reads}" + ("" if reads == "auto" else ",direct_io"))
    how = os.O_RDONLY | (os.O_DIRECT if reads == "auto" else 0)
    want = (share.source / "large").read_bytes()
    assert (larder.path / "large").read_bytes() == want
    larder.wait_until_filled()
    wrong = []

    def read(seed):
        chance = random.Random(seed)
        fd = os.open(larder.path / "large", how)
        for turn in range(60):
            if seed == 0 and turn % 10 == 0:
                drop_store_pages(larder)
            size = chance.choice((1, 17, 4095, 4096, 4097, 65536, chance.randrange(1, 1 << 20), 1 << 20))
            at = chance.randrange(len(want))
            if chance.random() < 0.3:
                at -= at % 4096
            if os.pread(fd, size, at) != want[at:at + size]:
                wrong.append((seed, at, size))
        os.close(fd)

    before = larder.stats()
    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert not wrong
    now = larder.stats()
    assert now["netfs.data_calls"] == before["netfs.data_calls"], "all of it came from the store"
    assert now["fuse.stale_answers"] == 0
    assert now["stage.store_ns"] > before["stage.store_ns"]


def test_writes_of_random_sizes_arrive(workspace, share):
    larder = Larder(workspace, share)
    image = bytearray(pseudo_random(2 << 20, "image"))
    path = larder.path / "written"
    path.write_bytes(image)
    chance = random.Random(7)
    with open(path, "r+b", buffering=0) as file:
        for _ in range(100):
            size, at = chance.choice((1, 4096, 5000, 131072, 1 << 20)), chance.randrange(1 << 20)
            data = pseudo_random(size, at)
            assert os.pwrite(file.fileno(), data, at) == size
            image[at:at + size] = data
            probe = chance.randrange(len(image))
            assert os.pread(file.fileno(), 300, probe) == image[probe:probe + 300]
    assert (share.source / "written").read_bytes() == image
    assert path.read_bytes() == image


def test_200_readers_of_a_hung_file_on_one_processor_leave_it_to_others(workspace):
    share = Slowshare(workspace)
    (share.source / "warm").write_bytes(pseudo_random(1 << 20, "warm"))
    (share.source / "stuck").write_bytes(bytes(256 << 16))
    age_tree(share.source)
    larder = Larder(workspace, share, "direct_io,share_slow=1,share_deadline=30")
    warm = (larder.path / "warm").read_bytes()
    os.listdir(larder.path)
    larder.wait_until_filled()
    share.ctl("hang", "stuck", "read")
    code = textwrap.dedent("""
        import os, sys, threading
        os.sched_setaffinity(0, {0})
        def read(n):
            fd = os.open(sys.argv[1], os.O_RDONLY)
            os.pread(fd, 4096, n * 65536)
        threads = [threading.Thread(target=read, args=(n,)) for n in range(200)]
        for one in threads: one.start()
        for one in threads: one.join()
    """)
    readers = workspace.spawn([sys.executable, "-c", code, larder.path / "stuck"])
    larder.wait_for("vfs.parked", lambda now: now >= 200)

    def on_that_processor(what, *words):
        os.sched_setaffinity(0, {0})
        return what(*words)

    for _ in range(3):
        assert within(LIMIT_S, "a warm read", on_that_processor,
                      lambda: (larder.path / "warm").read_bytes() == warm)
        assert within(LIMIT_S, "df", on_that_processor, lambda: os.statvfs(larder.path).f_blocks) > 0
        assert within(LIMIT_S, "stats", on_that_processor,
                      lambda: subprocess.run([LARDERCTL, "stats", str(larder.path)], check=False,
                                             capture_output=True).returncode) == 0
    share.ctl("clear")
    assert readers.wait(30) == 0


def test_a_burst_of_look_ups_before_any_file_was_looked_at_reaches_larder(workspace):
    """More at once than a queue has entries, and all of them wait: the kernel must be nudged, by a file that
    it knows."""
    share = Slowshare(workspace)
    add_stuck(share)
    larder = Larder(workspace, share, "share_slow=50,share_deadline=60")
    share.ctl("hang", "stuck-*")
    lookers = workspace.spawn([sys.executable, "-c", LOOKS, larder.path])

    def parked():
        told = json.loads(larder.ctl("stats", "--json").stdout)  # over the socket: past the mount
        return told["vfs.parked"]["value"]

    wait_until(lambda: parked() >= BURST, "all of them have come")
    share.ctl("clear")
    assert lookers.wait(30) == 0


@pytest.mark.skipif(os.cpu_count() < 2, reason="with one processor there is no other")
def test_a_burst_on_a_processor_that_larder_may_not_use_leaves_it_to_others(workspace):
    """Its queue is on a ring of no processor's, whose thread has to go there to nudge the kernel."""
    share = Slowshare(workspace)
    add_stuck(share)
    (share.source / "warm").write_bytes(pseudo_random(1 << 20, "warm"))
    age_tree(share.source)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {1})
    try:
        larder = Larder(workspace, share, "direct_io,share_slow=20,share_deadline=30")
    finally:
        os.sched_setaffinity(0, before)
    warm = (larder.path / "warm").read_bytes()
    share.ctl("hang", "*")
    before_parked = larder.counter("vfs.parked")
    lookers = workspace.spawn([sys.executable, "-c", LOOKS, larder.path])
    larder.wait_for("vfs.parked", lambda now: now >= before_parked + BURST)
    assert within(LIMIT_S, "df", os.statvfs, larder.path)
    share.ctl("clear")
    assert lookers.wait(30) == 0
    assert (larder.path / "warm").read_bytes() == warm


# -- the end, under load --------------------------------------------------------------------------------------


def test_mounts_and_unmounts_under_load(workspace, share):
    larder = Larder(workspace, share, "direct_io")
    larder.umount()
    options = f"store={larder.store},transport={TRANSPORT},direct_io"
    for turn in range(MOUNTS):
        done = run_larder("-o", options, larder.share, larder.path)
        assert done.returncode == 0, f"mount {turn}: {done.stderr}"
        readers = [load(workspace, larder.path / "large") for _ in range(1 + turn % 2)]
        if turn % 3 == 0:
            assert subprocess.run(["umount", "-l", larder.path], check=False).returncode == 0
        for reader in readers:
            reader.send_signal(signal.SIGKILL if turn % 2 else signal.SIGINT)
            reader.wait(30)
        if turn % 3 != 0:
            wait_until(lambda: subprocess.run(["umount", larder.path], check=False,
                                              capture_output=True).returncode == 0, "it is unmounted")
        assert not is_mounted(larder.path)
    wait_until(lambda: not workspace._strays(), "no daemon is left")  # pylint: disable=protected-access


def test_kill_9_under_load_leaves_no_hang_and_no_dead_mount(workspace, share):
    larder = Larder(workspace, share, "direct_io")
    for turn in range(KILLS):
        readers = [load(workspace, larder.path / "large") for _ in range(2)]
        larder.kill9()
        for reader in readers:
            assert reader.wait(10) == 0, f"turn {turn}: the reader is told"
            told = int(reader.log.read_text().split()[-1])
            assert told in (errno.ENOTCONN, errno.ECONNABORTED, errno.ECANCELED)
        larder.mount()  # over the dead mount
        want = (share.source / "folder" / "file-3").read_bytes()
        assert (larder.path / "folder" / "file-3").read_bytes() == want


def test_an_abort_of_the_connection_ends_larder_well(workspace, share):
    larder = Larder(workspace, share, "direct_io")
    reader = load(workspace, larder.path / "large")
    number = os.minor(os.stat(larder.path).st_dev)
    abort = pathlib.Path(f"/sys/fs/fuse/connections/{number}/abort")
    if not abort.exists():
        subprocess.run(["mount", "-t", "fusectl", "none", "/sys/fs/fuse/connections"], check=False,
                       capture_output=True)
    if not abort.exists():
        pytest.skip("there is no fusectl file system")
    abort.write_text("1", encoding="ascii")
    assert reader.wait(10) == 0
    larder.ended_well()
    subprocess.run(["umount", "-l", larder.path], check=False)


def test_signals_to_readers_and_to_larder_disturb_nothing(workspace, share):
    larder = Larder(workspace, share, "direct_io")
    code = textwrap.dedent("""
        import os, signal, sys
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        want = open(sys.argv[2], "rb").read()
        fd = os.open(sys.argv[1], os.O_RDONLY)
        for n in range(3000):
            at = n * 7919 % len(want)
            assert os.pread(fd, 20000, at) == want[at:at + 20000]
        signal.setitimer(signal.ITIMER_REAL, 0)  # Python's own end takes the handler away
    """)
    reader = workspace.spawn([sys.executable, "-c", code, larder.path / "large", share.source / "large"])
    while reader.poll() is None:
        larder.process.send_signal(signal.SIGWINCH)
        larder.counter("vfs.reads")
    assert reader.returncode == 0, reader.log.read_text()


def test_top_shows_the_busiest_file(workspace, share):
    larder = Larder(workspace, share, "direct_io")
    load(workspace, larder.path / "large")
    page = larder.ctl("top", "--count", "2", "--interval", "0.5")
    assert page.returncode == 0, page.stderr
    assert f"transport {TRANSPORT}" in page.stdout
    assert "large" in page.stdout
    assert "read " in page.stdout
