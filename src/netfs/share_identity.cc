// SPDX-License-Identifier: Apache-2.0
#include "netfs/share_identity.h"

#include <fmt/format.h>

#include <algorithm>

namespace larder::netfs {
namespace {

constexpr std::string_view kOurType = "fuse.larder";

// True where `path` is `point` or lies below it.
bool is_within(std::string_view path, std::string_view point) {
  if (point == "/") return true;
  return path.starts_with(point) && (path.size() == point.size() || path[point.size()] == '/');
}

const MountEntry* root_mount(const std::vector<MountEntry>& mounts) {
  // The one on "/" whose parent is not on "/" itself; what is stacked on it is found by the walk.
  for (const MountEntry& mount : mounts) {
    if (mount.point != "/") continue;
    const bool stacked = std::ranges::any_of(mounts, [&](const MountEntry& other) {
      return other.id == mount.parent && other.id != mount.id && other.point == "/";
    });
    if (!stacked) return &mount;
  }
  return nullptr;
}

}  // namespace

std::optional<Covering> covering_mount(const std::vector<MountEntry>& mounts, std::string_view path,
                                       OwnMountpoint own_mountpoint) {
  const MountEntry* here = root_mount(mounts);
  if (here == nullptr) return std::nullopt;
  Covering covering{.mount = here};
  // At most one step per mount: a table that loops ends the walk.
  for (std::size_t step = 0; step < mounts.size(); ++step) {
    const MountEntry* next = nullptr;
    for (const MountEntry& mount : mounts) {
      if (mount.parent != here->id || mount.id == here->id || !is_within(path, mount.point)) {
        continue;
      }
      if (own_mountpoint == OwnMountpoint::kYes && mount.type == kOurType && mount.point == path) {
        covering.has_ours_on_top = true;
        continue;
      }
      // The walk meets the nearest mount point first; of two on one point the later line is on top.
      if (next == nullptr || mount.point.size() <= next->point.size()) next = &mount;
    }
    if (next == nullptr) break;
    covering.mount = here = next;
  }
  return covering;
}

bool has_own_mount(const std::optional<Covering>& covering) {
  return covering && covering->mount->point != "/";
}

ShareIdentity identity_of_mount(const MountEntry& mount, std::string_view path) {
  std::string_view below = path.substr(mount.point == "/" ? 0 : mount.point.size());
  if (below.starts_with('/')) below.remove_prefix(1);
  return ShareIdentity{.type = mount.type,
                       .source = mount.source,
                       .root = mount.root,
                       .below = std::string(below),
                       .is_mount_point = below.empty()};
}

ShareIdentity identity_without_mount(std::string_view type, std::uint64_t fsid,
                                     std::string_view path) {
  if (path.starts_with('/')) path.remove_prefix(1);
  return ShareIdentity{.type = std::string(type),
                       .source = fmt::format("{:016x}", fsid),
                       .root = {},
                       .below = std::string(path),
                       .is_mount_point = false};
}

ShareIdentity identity_by_override(std::string_view share_id,
                                   const std::optional<Covering>& covering) {
  return ShareIdentity{.type = "share_id",
                       .source = std::string(share_id),
                       .root = {},
                       .below = {},
                       .is_mount_point = has_own_mount(covering)};
}

std::string to_text(const ShareIdentity& identity) {
  std::string text = fmt::format("{} {}", identity.type, identity.source);
  if (!identity.root.empty() && identity.root != "/")
    text += fmt::format(", its {}", identity.root);
  if (!identity.below.empty()) text += fmt::format(", below it {}", identity.below);
  return text;
}

}  // namespace larder::netfs
