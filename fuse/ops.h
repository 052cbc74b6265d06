// SPDX-License-Identifier: Apache-2.0
// The libfuse operations: thin shims that turn a request into a call of the Filesystem.
#pragma once

#include <larder/filesystem.h>
#include <larder/options.h>

#include "request.h"

namespace larder::fuse {

class Transport;

// What the session's userdata points to.
struct Served {
  Filesystem* filesystem = nullptr;
  Transport* transport = nullptr;
  KernelTuning kernel;
};

// Both transports end here.
const fuse_lowlevel_ops& operations();

}  // namespace larder::fuse
