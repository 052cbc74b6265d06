# SPDX-License-Identifier: Apache-2.0
"""What a mount shows of itself: control files and extended attributes."""
import errno
import os
import re
import threading

import pytest

from support import Larder, larder_with_a_hung_read, wait_until

MEGABYTE = 1 << 20


def own(path, name):
    return os.getxattr(path, "user.larder." + name).decode()


def read_control(larder, name):
    return (larder.path / ".larder" / name).read_text()


def test_metrics_are_what_prometheus_reads(workspace, share):
    larder = Larder(workspace, share)
    (larder.path / "large").read_bytes()
    larder.wait_until_filled()
    (larder.path / "large").read_bytes()
    samples, types = {}, {}
    for line in read_control(larder, "metrics").splitlines():
        if line.startswith("# HELP "):
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, "the samples of a name stand together"
            types[name] = kind
            continue
        match = re.fullmatch(r'([a-z0-9_]+)\{((?:[a-z]+="(?:[^"\\]|\\.)*",?)+)\} ([0-9.e+-]+)', line)
        assert match, line
        base = re.sub(r"_(bucket|sum|count)$", "", match[1])
        assert match[1] in types or types.get(base) == "histogram", line
        assert f'mountpoint="{larder.path}"' in match[2]
        samples[match[1], match[2]] = float(match[3])
    assert all(name.endswith("_total") for name, kind in types.items() if kind == "counter")
    mount = f'mountpoint="{larder.path}"'
    assert samples["larder_blockcache_miss_bytes_total", mount] > 0
    assert samples["larder_blockcache_bytes", mount] > 0
    assert samples["larder_fuse_ops_total", mount + ',op="read"'] > 0
    assert samples["larder_share_up", mount + ',state="ok"'] == 1
    assert samples["larder_store_up", mount + ',tag="larder",state="open"'] == 1
    assert samples["larder_used_buffer_size_bytes", mount] > 0
    assert samples["larder_fuse_ops_io_errors_total", mount] == 0
    assert samples["larder_blockcache_write_hist_seconds_count", mount] > 0
    durations = "larder_fuse_ops_durations_histogram_seconds"
    assert sum(count for (name, _), count in samples.items() if name == durations + "_count") > 0
    count = samples["larder_blockcache_read_hist_seconds_count", mount]
    assert samples["larder_blockcache_read_hist_seconds_bucket", mount + ',le="+Inf"'] == count


def test_files_say_how_much_of_them_is_cached(workspace, share):
    (share.source / "part").write_bytes(os.urandom(4 * MEGABYTE))
    (share.source / "empty").write_bytes(b"")
    for name in ("part", "empty"):
        os.utime(share.source / name, (1, 1))
    larder = Larder(workspace, share, "direct_io")
    path = larder.path / "part"
    assert own(path, "cached") == "0" and own(path, "cached_bytes") == "0" and own(path, "ranges") == ""
    assert own(larder.path / "empty", "cached") == "100"
    with open(path, "rb", buffering=0) as file:
        os.pread(file.fileno(), 4096, MEGABYTE)
        larder.wait_until_filled()
        assert own(path, "ranges") == f"{MEGABYTE}-{MEGABYTE + 4095}"
        assert own(path, "cached_bytes") == "4096"
        before = int(own(path, "hits"))
        os.pread(file.fileno(), 4096, MEGABYTE)
        assert int(own(path, "hits")) == before + 1
    assert own(path, "state") == "ACTV"
    assert own(path, "source") == str(share.path / "part")
    assert own(path, "generation") == "1"
    assert own(path, "validated") == "no" or float(own(path, "validated")) < 60
    path.read_bytes()
    larder.wait_until_filled()
    assert own(path, "cached") == "100"
    assert own(path, "ranges") == f"0-{4 * MEGABYTE - 1}"
    # A new mount has not opened the file, and yet knows.
    larder.remount()
    assert own(path, "cached") == "100"
    assert own(path, "state") == "ACTV"


def test_own_attributes_are_hidden_and_fixed(workspace, share):
    larder = Larder(workspace, share)
    path = larder.path / "large"
    assert not [name for name in os.listxattr(path) if "larder" in name]
    for attempt in (lambda: os.setxattr(path, "user.larder.cached", b"1"),
                    lambda: os.removexattr(path, "user.larder.cached")):
        with pytest.raises(OSError) as refused:
            attempt()
        assert refused.value.errno == errno.EPERM
    with pytest.raises(OSError) as unknown:
        own(path, "nonsense")
    assert unknown.value.errno == errno.ENODATA
    assert own(larder.path, "source") == str(share.path)


def test_ops_and_netfs_are_read_while_the_share_hangs(workspace):
    larder, reader = larder_with_a_hung_read(workspace)
    assert read_control(larder, "ops").startswith("OP       OBJECT   KIND ")
    assert "posix" in read_control(larder, "netfs")
    assert read_control(larder, "objects").startswith("OBJECT   PARENT   STAT ")
    assert reader.poll() is None


def test_a_long_listing_is_read_in_pieces_and_in_any_order(workspace, share):
    folder = share.source / "many"
    folder.mkdir()
    for n in range(3000):
        (folder / f"f{n}").write_bytes(b"x")
    larder = Larder(workspace, share)
    for n in range(3000):
        (larder.path / "many" / f"f{n}").read_bytes()
    wait_until(lambda: larder.counter("cache.ops_pending") == 0, "no operation waits")
    fd = os.open(larder.path / ".larder" / "objects:KA", os.O_RDONLY)
    try:
        whole = b""
        while piece := os.pread(fd, 5000, len(whole)):
            whole += piece
        assert len([row for row in whole.splitlines() if b"larder.file" in row]) == 3000
        assert os.pread(fd, 1000, 0) == whole[:1000]
        assert os.pread(fd, 1000, 200_000) == whole[200_000:201_000]
        assert os.pread(fd, 100, 50_000) == whole[50_000:50_100]
        assert os.pread(fd, 100, len(whole)) == b""
    finally:
        os.close(fd)


@pytest.mark.skipif("LARDER_LONG" not in os.environ, reason="a million files: LARDER_LONG=1")
def test_a_million_objects_are_listed_while_files_are_read(workspace, share):
    for n in range(1000):
        (share.source / f"{n:03}").mkdir()
        for m in range(1000):
            os.close(os.open(share.source / f"{n:03}" / f"{m:03}", os.O_CREAT | os.O_WRONLY, 0o644))
    larder = Larder(workspace, share, "coherency=ttl=3600,direct_io,objects=2000000,memory=8G", size="16G")
    for n in range(1000):
        for m in range(1000):
            os.close(os.open(larder.path / f"{n:03}" / f"{m:03}", os.O_RDONLY))
    wait_until(lambda: larder.counter("cache.ops_pending") == 0, "no operation waits")
    read, done = [], threading.Event()

    def read_on():
        while not done.is_set():
            read.append(len((larder.path / "folder" / "file-1").read_bytes()))

    reader = threading.Thread(target=read_on)
    reader.start()
    pieces, counts = [], []
    try:
        with open(larder.path / ".larder" / "objects", "rb", buffering=0) as objects:
            while piece := objects.read(MEGABYTE):
                pieces.append(piece)
                counts.append(len(read))
    finally:
        done.set()
        reader.join()
    rows = [row.split()[0] for row in b"".join(pieces).splitlines() if b"larder.file" in row]
    assert len(rows) >= 1_000_000
    assert len(set(rows)) == len(rows), "each is listed once"
    assert len(set(counts)) > len(counts) // 2, "others were served between the pieces"


def test_the_kernels_figures_are_in_the_json_too(workspace, share):
    larder = Larder(workspace, share)

    def of_text():
        figures = {}
        for line in read_control(larder, "stats").split("\n\n")[0].splitlines()[1:]:
            name, _, rest = line.partition(":")
            figures.setdefault(name.strip(), {}).update(
                {key: int(value) for key, value in (word.split("=") for word in rest.split())})
        return figures

    (larder.path / "large").read_bytes()
    assert of_text()["Acquire"]["n"] >= 1
    wait_until(lambda: larder.about()["fscache"] == of_text(), "both tell the same")
