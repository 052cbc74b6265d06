# SPDX-License-Identifier: Apache-2.0
"""What the mount tests stand on: a workspace that cleans up, shares of several kinds, larder itself."""
from .larder import Larder, larder_with_a_hung_read, run_larder
from .processes import (BUILD, LARDER, LARDERCTL, SLOWSHARE, PATIENCE_S, TooLong, kill_as_it_asks, wait_until,
                        within)
from .shares import LocalShare, Slowshare, SshShare
from .transport import SWITCH, TRANSPORT, uring_switched_on, why_no_uring
from .trees import (age, age_tree, copy_tree, differences, hash_file, hash_tree, pseudo_random,
                    read_all, write_pseudo_random)
from .workspace import Workspace, is_mounted, mount_points_below, mount_type_at, why_no_fuse

__all__ = [
    "BUILD", "LARDER", "LARDERCTL", "SLOWSHARE", "PATIENCE_S", "SWITCH", "TRANSPORT", "Larder", "LocalShare",
    "Slowshare", "SshShare", "TooLong", "Workspace", "age", "age_tree", "copy_tree", "differences", "hash_file",
    "hash_tree", "is_mounted", "kill_as_it_asks", "larder_with_a_hung_read", "mount_points_below", "mount_type_at",
    "pseudo_random", "read_all", "run_larder",
    "uring_switched_on", "wait_until", "why_no_fuse", "why_no_uring", "within", "write_pseudo_random",
]
