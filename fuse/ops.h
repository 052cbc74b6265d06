// SPDX-License-Identifier: Apache-2.0
// The libfuse operations: thin shims that turn a request into a call of the Filesystem.
#pragma once

#include <larder/filesystem.h>

#include "request.h"

namespace larder::fuse {

class Transport;

// What the session's userdata points to.
struct Served {
  Filesystem* filesystem = nullptr;
  bool share_locks = false;         // locks are asked for here
  bool writeback_cache = false;     // the kernel gathers writes
  bool checks_access_lists = true;  // the kernel checks permissions, so access lists too
  Transport* transport = nullptr;
  // The kernel holds further read-ahead back, of all files, once this many are out: so many that
  // reads of a file that hangs do not use them up.
  unsigned max_background = 4096;
};

// Both transports end here.
const fuse_lowlevel_ops& operations();

}  // namespace larder::fuse
