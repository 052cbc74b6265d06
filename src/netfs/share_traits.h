// SPDX-License-Identifier: Apache-2.0
// What a kind of file system can be relied on for, by its type. Unknown kinds are trusted with
// less.
#pragma once

#include <larder/netfs.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "netfs/share_identity.h"

namespace larder::netfs {

// `mount` may be null: where the mount table does not tell.
InodeNumbers inode_numbers_of(std::string_view type, const MountEntry* mount, ShareInodes wanted);
// False where ctime is a copy of mtime.
bool has_own_ctime(std::string_view type);
// True where the client gathers writes, and the server stamps them as they arrive.
bool sends_late(std::string_view type);
// True where errors of writes are kept by descriptor: a FUSE file system's own program may do so.
bool tells_writer(std::string_view type);
// Does this kind fold case? Those of the system itself tell names apart and are not probed; behind
// FUSE may be anything; FAT and SMB do unless a probe shows otherwise.
enum class CaseOfKind : std::uint8_t { kTells, kTellsUnlessShown, kFoldsUnlessShown };
CaseOfKind case_of(std::string_view type);

// A name of the directory and the same with the case of its ASCII letters swapped, where the latter
// is no name in it of its own.
std::optional<std::pair<std::string, std::string>> names_that_tell_case(
    const std::vector<Dirent>& names);

}  // namespace larder::netfs
