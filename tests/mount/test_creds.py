# SPDX-License-Identifier: Apache-2.0
"""creds=caller: the share is called as whoever asks, and decides for each of them."""
import os
import subprocess

import pytest

from support import Larder, LocalShare, age_tree
from support.larder import run_larder

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which alone may act as others")

ANN, BOB, TEAM = 3001, 3002, 3100


def run_as(uid, *argv, groups=()):
    return subprocess.run(list(map(str, argv)), user=uid, group=uid, extra_groups=list(groups), check=False,
                          capture_output=True, text=True)


@pytest.fixture(name="share")
def fixture_share(workspace):
    share = LocalShare(workspace)
    os.chmod(share.source, 0o777)
    for name, uid, gid, mode in (("anns", ANN, ANN, 0o600), ("teams", 0, TEAM, 0o640), ("all", 0, 0, 0o644)):
        (share.source / name).write_text(name)
        os.chown(share.source / name, uid, gid)
        os.chmod(share.source / name, mode)
    age_tree(share.source)
    return share


@pytest.fixture(name="larder", params=["coherency=cto", "coherency=ttl=1h"])
def fixture_larder(workspace, share, request):
    # The kernel checks nothing: whoever is refused is refused by the share.
    return Larder(workspace, share, f"allow_other,creds=caller,permissions=share,{request.param}")


def test_each_caller_is_told_what_the_share_tells_them(larder):
    def reads(uid, name, **more):
        done = run_as(uid, "cat", larder.path / name, **more)
        if done.returncode != 0:
            assert "Permission denied" in done.stderr
        return done.returncode == 0 and done.stdout == name

    for _ in range(2):  # cold, then all of it cached
        assert reads(0, "anns") and reads(ANN, "anns") and not reads(BOB, "anns")
        assert reads(0, "teams") and not reads(ANN, "teams") and reads(BOB, "teams", groups=[TEAM])
        assert reads(ANN, "all") and reads(BOB, "all")
    os.chmod(larder.path / "anns", 0o644)
    assert reads(BOB, "anns")
    os.chmod(larder.path / "anns", 0o600)
    assert not reads(BOB, "anns") and reads(ANN, "anns")


def test_what_a_caller_makes_is_theirs_and_what_they_may_not_is_refused(share, larder):
    assert run_as(ANN, "mkdir", larder.path / "home").returncode == 0
    assert run_as(ANN, "sh", "-c", f"echo mine > {larder.path}/home/file").returncode == 0
    for name in ("home", "home/file"):
        status = os.stat(share.source / name)
        assert (status.st_uid, status.st_gid) == (ANN, ANN)
    for words in (("rm", "-f", larder.path / "home" / "file"), ("chmod", "777", larder.path / "home"),
                  ("touch", larder.path / "home" / "other"), ("truncate", "-s0", larder.path / "all"),
                  ("mv", larder.path / "home" / "file", larder.path / "taken")):
        assert run_as(BOB, *words).returncode != 0, words
    assert (share.source / "home" / "file").read_text() == "mine\n"
    # larder's threads are themselves again.
    (larder.path / "roots").write_text("x")
    assert os.stat(share.source / "roots").st_uid == 0


def test_a_closed_directory_shows_nothing_to_others(larder):
    assert run_as(ANN, "mkdir", "-m", "700", larder.path / "closed").returncode == 0
    assert run_as(ANN, "touch", larder.path / "closed" / "secret").returncode == 0
    for _ in range(2):
        assert run_as(ANN, "ls", larder.path / "closed").stdout == "secret\n"
        refused = run_as(BOB, "ls", larder.path / "closed")
        assert refused.stdout == "" and "Permission denied" in refused.stderr


def test_only_root_may_ask_for_it(workspace, share):
    home, mountpoint = workspace.folder("home"), workspace.folder("m")
    for path in (home, mountpoint):
        os.chown(path, 65534, 65534)
    done = run_larder("-f", "-o", f"store={home}/store,size=16M,creds=caller", share.path, mountpoint,
                      user=65534, group=65534, extra_groups=[])
    assert done.returncode != 0
    assert "creds=caller needs root" in done.stderr
