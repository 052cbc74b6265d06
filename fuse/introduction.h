// SPDX-License-Identifier: Apache-2.0
// So that a nudge (ring_queue.h) has a file to name from the start, the kernel is made to look one
// up that is always there: a control file.
#pragma once

#include <larder/clock.h>

#include <string>

namespace larder::fuse {

// Has a process of its own look at `path`, which lies on a mount of ours, and waits for it, but no
// longer than that. (A thread of ours that waits for an answer of ours could not be killed.)
void introduce(const std::string& path, Nanoseconds at_most_ns);

}  // namespace larder::fuse
