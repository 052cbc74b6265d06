# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the mount tests."""
import os
import pathlib
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from support import (TRANSPORT, LocalShare, Workspace, age_tree, pseudo_random,  # noqa: E402
                     uring_switched_on, why_no_fuse, why_no_uring)


# Of a run over io_uring: what asks for content and names in every way. What is about stores, caches, options and
# daemons is the same on both transports, and runs over io_uring with LARDER_LONG=1.
URING_FILES = ("test_transport.py", "test_counters.py", "test_hangs.py", "test_pass_through.py",
               "test_posix_basic.py", "test_posix_names.py", "test_posix_mapped.py", "test_posix_locks.py",
               "test_differential.py", "test_model.py", "test_programs.py")


def pytest_ignore_collect(path):
    chosen = TRANSPORT != "uring" or os.environ.get("LARDER_LONG") == "1" or path.isdir()
    return not chosen and path.basename not in URING_FILES or None


def pytest_configure():
    # Whoever ends the run with SIGTERM (meson does at its time limit) gets the same clean-up as Ctrl-C.
    def interrupt(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


@pytest.fixture(name="transport", scope="session")
def fixture_transport():
    """The transport of this run, ready to be had."""
    if TRANSPORT != "uring":
        yield TRANSPORT
        return
    reason = why_no_uring()
    if reason:
        pytest.skip(reason)
    with uring_switched_on():
        yield TRANSPORT


@pytest.fixture(name="workspace")
def fixture_workspace(transport):  # pylint: disable=unused-argument
    reason = why_no_fuse()
    if reason:
        pytest.skip(reason)
    with Workspace() as workspace:
        yield workspace


@pytest.fixture(name="share")
def fixture_share(workspace):
    """A plain directory with a few files, old enough to be kept."""
    share = LocalShare(workspace)
    (share.source / "folder").mkdir()
    for n in range(30):
        (share.source / "folder" / f"file-{n}").write_bytes(pseudo_random(n * 3001, n))
    (share.source / "large").write_bytes(pseudo_random(3 << 20, "large"))
    age_tree(share.source)
    return share
