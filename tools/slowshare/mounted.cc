// SPDX-License-Identifier: Apache-2.0
#include "slowshare/mounted.h"

#include <fmt/format.h>
#include <larder/mount_table.h>

#include <algorithm>
#include <fstream>

namespace larder::slowshare {

std::string device_mounted_at(const std::string& mountpoint) {
  std::string device;
  for (const MountEntry& mount : read_mounts()) {
    if (mount.point == mountpoint) device = mount.device;
  }
  return device;
}

bool is_mounted(const std::string& device) {
  return std::ranges::any_of(read_mounts(),
                             [&](const MountEntry& mount) { return mount.device == device; });
}

bool set_readahead(const std::string& device, std::uint64_t bytes) {
  std::ofstream stream(fmt::format("/sys/class/bdi/{}/read_ahead_kb", device));
  stream << (bytes + 1023) / 1024 << std::flush;
  return stream.good();
}

}  // namespace larder::slowshare
