// SPDX-License-Identifier: Apache-2.0
// A lock as fcntl(2) has it. l_pid is 0, as F_OFD_SETLK wants it.
#pragma once

#include <larder/netfs.h>

struct flock;  // <fcntl.h>

namespace larder {

struct ::flock to_flock(const LockRange& range);

}  // namespace larder
