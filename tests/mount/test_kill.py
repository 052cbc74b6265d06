# SPDX-License-Identifier: Apache-2.0
"""Killed under load, again and again: the store that is left is sound, and the next mount serves the share's bytes.

`LARDER_LONG` makes it 200 rounds and a store that is full all the time; `LARDER_SEED` chooses what is read and
written.
"""
import os
import random
import subprocess

import pytest

from support import Larder, LocalShare, age_tree, differences, hash_tree, write_pseudo_random
from support.load import Load, abort, connection_of, where_it_waits
from support.processes import LARDERCTL, PATIENCE_S, within
from support.trees import seed

LONG = bool(os.environ.get("LARDER_LONG"))
PARTS, ROUNDS = (20, 10) if LONG else (1, 4)
FILES = 24
SIZE = 1 << 20


@pytest.fixture(name="share")
def fixture_share(workspace):
    share = LocalShare(workspace)
    (share.source / "tree").mkdir()
    for n in range(FILES):
        write_pseudo_random(share.source / "tree" / f"file-{n}", SIZE, n)
    age_tree(share.source)
    return share


def works_on(folder):
    def read(chance):
        with open(folder / f"file-{chance.randrange(FILES)}", "rb") as file:
            file.seek(chance.randrange(SIZE))
            file.read(chance.randrange(1, SIZE))

    def write(chance):
        # Few files, so that most stay as they are and are kept.
        with open(folder / f"file-{chance.randrange(4)}", "r+b") as file:
            file.seek(chance.randrange(SIZE // 2))
            file.write(chance.randbytes(chance.randrange(1, SIZE // 4)))

    return [read, read, read, write]


def kill(larder, connection):
    """kill -9, and it is gone: with a thread of it in the kernel the store would stay locked."""
    process = larder.process
    try:
        larder.kill9()
    except subprocess.TimeoutExpired:
        where = where_it_waits(process.pid)
        abort(connection)
        pytest.fail(f"larder does not end after kill -9:\n{where}")


def check_store(larder, number):
    check = subprocess.run([LARDERCTL, "fsck", str(larder.store)], check=False, capture_output=True, text=True,
                           timeout=PATIENCE_S)
    # A page whose write the kill overtook would be a breach; the page cache keeps what was written.
    assert check.returncode == 0, f"round {number}: {check.stdout}{check.stderr}"


@pytest.mark.parametrize("part", range(PARTS))
def test_killed_under_load_the_store_is_sound_and_serves_the_shares_bytes(workspace, share, part):
    chance = random.Random(f"{seed()}-{part}")
    larder = Larder(workspace, share, size="16M" if LONG and part % 2 else "64M")
    warm = 0
    for number in range(ROUNDS):
        connection = connection_of(larder.path)
        assert connection is not None
        load = Load(works_on(larder.path / "tree"), f"{seed()}-{part}-{number}")
        try:
            load.wait_for_steps(chance.randrange(5, 120))
            kill(larder, connection)
            load.join(connection)
        finally:
            load.end()
        check_store(larder, number)
        larder.mount()
        lines = differences(hash_tree(share.source / "tree"),
                            within(PATIENCE_S, "reading all", hash_tree, larder.path / "tree"))
        assert not lines, f"round {number}: " + "\n".join(lines[:10])
        warm += larder.counter("vfs.warm_bytes")
    assert warm > 0, "nothing of what was cached before a kill was served behind it"
    larder.umount()
