# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the mount tests."""
import pathlib
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from support import Workspace, why_no_fuse  # noqa: E402


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
