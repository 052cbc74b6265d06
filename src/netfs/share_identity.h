// SPDX-License-Identifier: Apache-2.0
// Which share a path shows, read from the mount table (/proc/self/mountinfo).
//
// An unmounted share is an empty LOCAL directory: everything would look deleted, and writes would
// fill the root disk. So the mount that covers a path is compared with the one that did when the
// share was opened. Pure functions over the table's text: no system call is in here, and nothing
// that could hang.
//
// The covering mount is found as the kernel walks a path: from the root mount down, at each step
// into the mount that sits on the nearest mount point of the present one. The order of lines in the
// table and the length of mount points are not enough: mounts are stacked, and mounts below a
// covered one are not seen.
#pragma once

#include <larder/mount_table.h>
#include <larder/netfs.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace larder::netfs {

struct Covering {
  const MountEntry* mount = nullptr;  // into the table that was given
  bool has_ours_on_top = false;  // a larder of ours covers the path; what is below it was taken
};

// The mount that shows `path`, which is absolute, canonical and without a slash at its end. A mount
// of type fuse.larder on the very `path` is passed over if `own_mountpoint`: there SHARE =
// MOUNTPOINT, and that mount is ours. nullopt where the table does not tell (a chroot that is no
// mount).
enum class OwnMountpoint : bool { kNo, kYes };
std::optional<Covering> covering_mount(const std::vector<MountEntry>& mounts, std::string_view path,
                                       OwnMountpoint own_mountpoint);

// True where the share has a mount of its own: one that is not the root of the whole tree.
bool has_own_mount(const std::optional<Covering>& covering);

// REQUIRES: has_own_mount.
ShareIdentity identity_of_mount(const MountEntry& mount, std::string_view path);
// Where it has none: `fsid` is f_fsid of statfs(2).
ShareIdentity identity_without_mount(std::string_view type, std::uint64_t fsid,
                                     std::string_view path);
// What the user says with share_id=. Another one once a mount that was there is gone.
ShareIdentity identity_by_override(std::string_view share_id,
                                   const std::optional<Covering>& covering);

// "nfs4 server:/export, below /mnt": for log lines.
std::string to_text(const ShareIdentity& identity);

}  // namespace larder::netfs
