// SPDX-License-Identifier: Apache-2.0
// A mount table for tests, with each of the kernel's escapes, mounts inside mounts and on top of
// them.
#pragma once

#include <string_view>

namespace larder {

inline constexpr std::string_view kMountLines =
    "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
    "40 27 0:50 / /mnt/nfs rw,relatime shared:7 master:3 - nfs4 server:/export rw,vers=4.2\n"
    "41 27 0:51 /sub /mnt/with\\040space\\011tab\\134back\\043hash rw - ext4 /dev/v\\040d rw\n"
    "42 40 0:52 / /mnt/nfs/inner rw - tmpfs tmpfs rw\n"
    "43 27 0:53 / /mnt/top rw - ext4 /dev/a rw\n"
    "44 43 0:54 / /mnt/top/below rw - ext4 /dev/b rw\n"
    "45 43 0:55 / /mnt/top rw - ext4 /dev/c rw\n";

}  // namespace larder
