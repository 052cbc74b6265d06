# SPDX-License-Identifier: Apache-2.0
"""The same system calls, chosen by a seed, on a plain directory and through larder: no difference.

`LARDER_SEED` chooses the first seed, `LARDER_LONG` makes it many more steps. A failing run prints the seed
and the last steps; tests/differential is the program.
"""
import os
import subprocess

import pytest

from support import BUILD, Larder, LocalShare, Slowshare
from support.trees import seed

DIFFER = str(BUILD / "tests" / "differential" / "differ")
RUNS = 30 if os.environ.get("LARDER_LONG") else 1
NAMES = 3000
CONTENT = 800

# The kernel refuses devices and set-user-ID on a mount unless it is told otherwise.
OPTIONS = ["", "coherency=ttl=60", "attr_timeout=0,entry_timeout=0", "locks=share"]


OTHER_USER = 3001
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def mount(workspace, share, options, owner=None):
    """Both sides are alike, and are so before larder looks at them."""
    for path in (workspace.folder("plain"), share.source):
        os.chmod(path, 0o777)
        if owner is not None:
            os.chown(path, owner, owner)
    return Larder(workspace, share, options)


def differ(workspace, share, part, *words, steps, user=None):
    plain = workspace / "plain"
    program = [DIFFER, part, "--plain", plain, "--other", workspace / "fast", "--behind", share.source,
               "--seed", str(seed()), "--steps", str(steps), "--runs", str(RUNS), *words]
    done = subprocess.run(program, check=False, capture_output=True, text=True, errors="replace",
                          timeout=60 * RUNS + 60, user=user, group=user,
                          extra_groups=None if user is None else [])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(name="share")
def fixture_share(workspace):
    return LocalShare(workspace)


@pytest.mark.parametrize("options", OPTIONS)
def test_names_attributes_and_permissions(workspace, share, options):
    mount(workspace, share, ",".join(["dev,suid,allow_other", options]).rstrip(","))
    differ(workspace, share, "names", *["--users"] * (os.geteuid() == 0), steps=NAMES)


@needs_root
@pytest.mark.parametrize("options", ["", "creds=caller"])
def test_names_as_another_user(workspace, share, options):
    mount(workspace, share, ",".join(["dev,suid,allow_other", options]).rstrip(","), owner=OTHER_USER)
    differ(workspace, share, "names", steps=NAMES, user=OTHER_USER)


@pytest.mark.parametrize("options", [*OPTIONS, "writeback_cache"])
def test_content(workspace, share, options):
    mount(workspace, share, options)
    differ(workspace, share, "content", steps=CONTENT)


@pytest.fixture(name="slow")
def fixture_slow(workspace):
    return Slowshare(workspace, "latency=1ms,allow_other")


def test_content_over_a_slow_share(workspace, slow):
    mount(workspace, slow, "")
    differ(workspace, slow, "content", steps=CONTENT // 2)


# A FUSE share: without times of birth, so that the number of what was removed comes back as another
# file's at once, and without O_TMPFILE.
def test_names_over_a_fuse_share(workspace, slow):
    mount(workspace, slow, "dev,suid,allow_other")
    differ(workspace, slow, "names", "--no-tmpfile", *["--users"] * (os.geteuid() == 0), steps=NAMES // 3)


@needs_root
@pytest.mark.parametrize("options", ["", "creds=caller"])
def test_names_over_a_fuse_share_as_another_user(workspace, slow, options):
    mount(workspace, slow, ",".join(["dev,suid,allow_other", options]).rstrip(","), owner=OTHER_USER)
    differ(workspace, slow, "names", "--no-tmpfile", steps=NAMES // 3, user=OTHER_USER)


@needs_root
@pytest.mark.parametrize("over", ["share", "slow"])
@pytest.mark.parametrize("options", ["allow_other", "allow_other,creds=caller"])
def test_content_as_another_user(workspace, request, over, options):
    share = request.getfixturevalue(over)
    mount(workspace, share, options, owner=OTHER_USER)
    differ(workspace, share, "content", steps=CONTENT // 4, user=OTHER_USER)
