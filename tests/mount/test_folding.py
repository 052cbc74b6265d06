# SPDX-License-Identifier: Apache-2.0
"""A share that folds case, on a real mount: a name is one, however it is spelled.

The share is slowshare with `fold_case`: kernels that have ext4 or tmpfs with casefold are rare.
"""
import errno
import os
import random

import pytest

from support import Larder, Slowshare, age_tree, wait_until
from support.posix import raises
from support.trees import seed

OPTIONS = ["", "coherency=ttl=600", "coherency=strict"]
STEPS = 300


@pytest.fixture(name="share")
def fixture_share(workspace):
    share = Slowshare(workspace, "latency=0,fold_case")
    (share.source / "File").write_bytes(b"what it holds")
    age_tree(share.source)
    return share


def assert_gone(*paths):
    """Where a change went by another spelling, the kernel is told behind the answer."""
    for path in paths:
        wait_until(lambda path=path: not os.path.exists(path), f"{path} is gone")


def assert_holds(path, content):
    wait_until(lambda: path.read_bytes() == content, f"{path} shows what it holds")


def names_below(path):
    return sorted(name for name in os.listdir(path) if name != ".larder")


@pytest.mark.parametrize("options", OPTIONS)
def test_each_spelling_is_the_one_file(workspace, share, options):
    here = Larder(workspace, share, options).path
    assert (here / "fILE").read_bytes() == (here / "FILE").read_bytes() == b"what it holds"
    assert len({os.stat(here / name).st_ino for name in ("File", "file", "FILE")}) == 1
    assert names_below(here) == ["File"]
    with raises(errno.EEXIST):
        os.close(os.open(here / "file", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    with raises(errno.EEXIST):
        os.mkdir(here / "FILE")
    (here / "file").write_bytes(b"other content")
    assert (here / "File").read_bytes() == (share.source / "File").read_bytes() == b"other content"
    assert names_below(share.source) == ["File"]


@pytest.mark.parametrize("options", OPTIONS)
def test_what_goes_by_one_spelling_is_gone_by_all(workspace, share, options):
    here = Larder(workspace, share, options).path
    for name in ("File", "file", "FILE"):
        os.stat(here / name)
    os.rename(here / "fILE", here / "Other")
    assert_gone(*(here / name for name in ("File", "file", "FILE", "fILE")))
    assert (here / "oTHER").read_bytes() == b"what it holds"
    assert names_below(here) == names_below(share.source) == ["Other"]
    os.unlink(here / "OTHER")
    assert_gone(*(here / name for name in ("Other", "other", "OTHER", "oTHER")))
    assert names_below(here) == names_below(share.source) == []
    # No absent name is kept where another spelling of it comes to be.
    (here / "otheR").write_bytes(b"new")
    assert (here / "Other").read_bytes() == (here / "OTHER").read_bytes() == b"new"


def test_one_spelling_that_is_known_answers_for_the_others(workspace, share):
    larder = Larder(workspace, share, "coherency=ttl=600")
    assert (larder.path / "File").read_bytes() == b"what it holds"
    larder.wait_until_filled()
    before = larder.stats()
    for name in ("file", "FILE", "fiLE"):
        assert (larder.path / name).read_bytes() == b"what it holds"
    after = larder.stats()
    assert after["netfs.data_calls"] == before["netfs.data_calls"]
    assert after["netfs.calls"] <= before["netfs.calls"] + 1


def test_changes_behind_its_back_show_by_every_spelling(workspace, share):
    here = Larder(workspace, share).path
    assert (here / "file").read_bytes() == b"what it holds"
    (share.source / "File").write_bytes(b"another client's")
    assert (here / "FILE").read_bytes() == (here / "file").read_bytes() == b"another client's"
    os.rename(share.source / "File", share.source / "Moved")
    wait_until(lambda: not any(os.path.exists(here / name) for name in ("File", "file", "FILE")),
               "its names to be gone")
    assert (here / "mOVED").read_bytes() == b"another client's"


class Model:
    """What a directory that folds case holds: folded name -> (spelling, content)."""

    def __init__(self, here, source, chance):
        self.here, self.source, self.random = here, source, chance
        self.held = {}
        self.story = []

    def spelling(self):
        name = self.random.choice(("alpha", "beta", "gamma"))
        return "".join(self.random.choice((c, c.upper())) for c in name)

    def step(self):
        name, other = self.spelling(), self.spelling()
        act = self.random.choice(("write", "write", "remove", "rename", "exclusive", "look", "look"))
        self.story.append(f"{act} {name} {other}")
        there = name.lower() in self.held
        if act == "write":
            content = self.random.randbytes(self.random.randrange(9000))
            (self.here / name).write_bytes(content)
            self.held[name.lower()] = (self.held[name.lower()][0] if there else name, content)
        elif act == "remove" and there:
            os.unlink(self.here / name)
            del self.held[name.lower()]
        elif act == "rename" and there and name.lower() != other.lower():
            os.rename(self.here / name, self.here / other)
            spelled = self.held[other.lower()][0] if other.lower() in self.held else other
            self.held[other.lower()] = (spelled, self.held.pop(name.lower())[1])
        elif act == "exclusive" and there:
            with raises(errno.EEXIST):
                os.close(os.open(self.here / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        elif there:
            assert_holds(self.here / name, self.held[name.lower()][1])
        else:
            assert_gone(self.here / name)

    def compare(self):
        spellings = sorted(spelled for spelled, _ in self.held.values())
        assert names_below(self.here) == names_below(self.source) == spellings
        for spelled, content in self.held.values():
            assert_holds(self.here / spelled.swapcase(), content)
            assert (self.source / spelled).read_bytes() == content


@pytest.mark.parametrize("options", OPTIONS)
def test_random_spellings_do_what_a_folding_directory_does(workspace, share, options):
    here = Larder(workspace, share, options).path
    (here / "d").mkdir()
    model = Model(here / "D", share.source / "d", random.Random(seed()))
    try:
        for number in range(STEPS):
            model.step()
            if number % 20 == 0:
                model.compare()
        model.compare()
    except (OSError, AssertionError) as error:
        raise AssertionError(f"{error} behind\n" + "\n".join(model.story[-30:])) from error
