// SPDX-License-Identifier: Apache-2.0
// The kernel's first request, INIT, answered by libfuse but for one flag.
//
// libfuse 3.14 knows FUSE_PARALLEL_DIROPS and never sends it, and without it the kernel makes
// look-ups in one directory wait for each other: each would wait for the latency of all before it,
// as with no real network client. So libfuse is made to answer into a socket, and the answer goes
// on with the flag added.
#pragma once

#include <fuse3/fuse_lowlevel.h>
#include <larder/result.h>

namespace larder::slowshare {

// Before any other thread reads the device. After it the mount answers as soon as threads do.
Status answer_init(fuse_session* session);

}  // namespace larder::slowshare
