// SPDX-License-Identifier: Apache-2.0
// The posix netfs: any directory that is mounted here, by plain system calls.
//
// It holds one descriptor, the root's; names are resolved from there at each call (safe_path.h), so
// a million cached inodes cost no descriptor. Whether the share is still there: share_root.h.
#pragma once

#include <larder/netfs.h>

#include <memory>
#include <string>

#include "netfs/share_identity.h"
#include "netfs/share_pool.h"

namespace larder::netfs {

struct PosixOptions {
  std::string share;          // a directory; links in it are followed once, now
  std::string share_id = {};  // share_id=; empty: from the mount table
  ShareInodes inodes = ShareInodes::kAuto;
  OwnMountpoint own_mountpoint = OwnMountpoint::kNo;  // kYes: SHARE = MOUNTPOINT
  Nanoseconds open_within_ns = 30 * kSecond;
};

// Opens the share on a thread of `pool`. Thread: any but the pool's; blocks, at most as long as
// said. REQUIRES: the Netfs and all files of it are let go before the pool is stopped, or else stay
// until the process ends.
SetUp<std::shared_ptr<Netfs>> open_posix(const PosixOptions& options, SharePool& pool);

}  // namespace larder::netfs
