// SPDX-License-Identifier: Apache-2.0
#include "netfs/share_traits.h"

#include <algorithm>
#include <array>

namespace larder::netfs {
namespace {

// Numbers that are of the file itself, on the disk or on the server, and the same at each mount.
// fuse.slowshare and fuse.larder pass on, or keep, the numbers of what is below them.
constexpr std::array<std::string_view, 34> kStable = {"ext2",
                                                      "ext3",
                                                      "ext4",
                                                      "xfs",
                                                      "btrfs",
                                                      "bcachefs",
                                                      "f2fs",
                                                      "jfs",
                                                      "zfs",
                                                      "tmpfs",
                                                      "nfs",
                                                      "nfs4",
                                                      "cifs",
                                                      "smb3",
                                                      "ceph",
                                                      "lustre",
                                                      "gpfs",
                                                      "beegfs",
                                                      "ocfs2",
                                                      "gfs2",
                                                      "afs",
                                                      "9p",
                                                      "ntfs3",
                                                      "hfsplus",
                                                      "squashfs",
                                                      "erofs",
                                                      "udf",
                                                      "virtiofs",
                                                      "overlay",
                                                      "fuseblk",
                                                      "fuse.glusterfs",
                                                      "fuse.ceph-fuse",
                                                      "fuse.slowshare",
                                                      "fuse.larder"};

constexpr std::array<std::string_view, 4> kFatTypes = {"vfat", "msdos", "exfat", "fuse.exfat"};

template <std::size_t kCount>
bool holds(const std::array<std::string_view, kCount>& types, std::string_view type) {
  return std::ranges::find(types, type) != types.end();
}

std::string swap_case(std::string_view name) {
  std::string swapped(name);
  for (char& c : swapped) {
    const bool is_lower = c >= 'a' && c <= 'z', is_upper = c >= 'A' && c <= 'Z';
    if (is_lower || is_upper) c = static_cast<char>(c ^ 0x20);
  }
  return swapped;
}

bool is_smb(std::string_view type) { return type == "cifs" || type == "smb3"; }
bool is_fuse(std::string_view type) {
  return type == "fuse" || type == "fuseblk" || type.starts_with("fuse.");
}

}  // namespace

InodeNumbers inode_numbers_of(std::string_view type, const MountEntry* mount, ShareInodes wanted) {
  switch (wanted) {
    case ShareInodes::kStable:
      return InodeNumbers::kStable;
    case ShareInodes::kUnstable:
      return InodeNumbers::kUnstable;
    case ShareInodes::kAuto:
      break;
  }
  // Without serverino the client numbers files in the order in which it meets them.
  if (is_smb(type) && mount != nullptr && has_option(*mount, "noserverino")) {
    return InodeNumbers::kUnstable;
  }
  return holds(kStable, type) ? InodeNumbers::kStable : InodeNumbers::kUnstable;
}

bool has_own_ctime(std::string_view type) {
  // SFTP has no ctime, FAT does not keep one: both show mtime in its place.
  return type != "fuse.sshfs" && !holds(kFatTypes, type);
}

bool sends_late(std::string_view type) {
  return type == "nfs" || type == "nfs4" || is_smb(type) || type == "ceph" || type == "afs";
}

bool tells_writer(std::string_view type) { return is_fuse(type); }

CaseOfKind case_of(std::string_view type) {
  if (is_smb(type) || holds(kFatTypes, type) || type == "ntfs3" || type == "hfsplus")
    return CaseOfKind::kFoldsUnlessShown;
  return is_fuse(type) ? CaseOfKind::kTellsUnlessShown : CaseOfKind::kTells;
}

std::optional<std::pair<std::string, std::string>> names_that_tell_case(
    const std::vector<Dirent>& names) {
  for (const Dirent& entry : names) {
    std::string swapped = swap_case(entry.name);
    const bool is_a_name =
        std::ranges::any_of(names, [&](const Dirent& other) { return other.name == swapped; });
    if (!is_a_name) return std::pair(entry.name, std::move(swapped));
  }
  return std::nullopt;
}

}  // namespace larder::netfs
