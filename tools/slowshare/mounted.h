// SPDX-License-Identifier: Apache-2.0
// Mounted: what /proc/self/mountinfo says of the mount.
#pragma once

#include <cstdint>
#include <string>

namespace larder::slowshare {

// "0:57", the device of the slowshare on top at `mountpoint` (an absolute path); empty where none
// is.
std::string device_mounted_at(const std::string& mountpoint);
bool is_mounted(const std::string& device);
// False where the system refuses it.
bool set_readahead(const std::string& device, std::uint64_t bytes);

}  // namespace larder::slowshare
