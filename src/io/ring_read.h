// SPDX-License-Identifier: Apache-2.0
// A read of the store on the ring of the thread that wants it: no hand-off, and `done` comes on the
// same thread. For both engines.
#pragma once

#include <larder/io_engine.h>

namespace larder {

// REQUIRES: this thread owns a reactor; `request` is a read.
void read_on_this_ring(IoRequest& request);

}  // namespace larder
