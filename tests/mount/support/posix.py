# SPDX-License-Identifier: Apache-2.0
"""What the tests of single system calls share: a mount over each kind of share, and errors that must come."""
import errno

import pytest

from .larder import Larder
from .shares import LocalShare, Slowshare


@pytest.fixture(name="share", params=[LocalShare, Slowshare], ids=["directory", "slowshare"])
def fixture_share(request, workspace):
    return request.param(workspace)


@pytest.fixture(name="larder")
def fixture_larder(workspace, share):
    return Larder(workspace, share, "allow_other")


@pytest.fixture(name="here")
def fixture_here(larder):
    """The root of the mount."""
    return larder.path


class raises:  # noqa: N801: reads as pytest.raises does
    """An OSError of one of these numbers."""

    def __init__(self, *numbers):
        self.numbers = numbers

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        assert kind is not None, f"no error, but one of {[errno.errorcode[n] for n in self.numbers]} expected"
        if not isinstance(error, OSError):
            return False
        assert error.errno in self.numbers, f"{error!r}, expected {[errno.errorcode[n] for n in self.numbers]}"
        return True
