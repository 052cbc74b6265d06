// SPDX-License-Identifier: Apache-2.0
// The table of mounts as /proc/self/mountinfo has it. Asks no file system, so it never waits for
// one. Thread: any.
#pragma once

#include <string>
#include <vector>

namespace larder::ctl {

// The type of the topmost file system mounted at `path` (absolute, resolved); empty: none is.
std::string type_mounted_at(const std::string& path);

// Mount points at or below `path`, in the order in which they can be unmounted.
std::vector<std::string> mounts_below(const std::string& path);

// As the table has it, without asking what is mounted at `path` itself: its parent is resolved, its
// last part is taken as it is.
std::string resolved_mountpoint(const std::string& path);

}  // namespace larder::ctl
