# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the mount tests."""
import pathlib
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from support import LocalShare, Workspace, age_tree, pseudo_random, why_no_fuse  # noqa: E402


def pytest_configure():
    # Whoever ends the run with SIGTERM (meson does at its time limit) gets the same clean-up as Ctrl-C.
    def interrupt(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


@pytest.fixture(name="workspace")
def fixture_workspace():
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
