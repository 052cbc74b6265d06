// SPDX-License-Identifier: Apache-2.0
// Signalled: what the signals that are pending mean to whoever waits for an answer.
//
// It stays pending while he waits: FUSE tells of the first with an INTERRUPT, and keeps him
// where he is. Over rings it does not always tell: of one that comes between the kernel's choice of
// an entry and the copy of the request into it nothing is said (fs/fuse/dev_uring.c of Linux 6.14
// to 6.18 sets FR_SENT without a look at FR_INTERRUPTED, as fs/fuse/dev.c has it), and an INTERRUPT
// may overtake its request. So whoever waits long is looked at, too.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace larder {

enum class Signalled : std::uint8_t {
  kNothing,  // there are none, or he will not notice: blocked, ignored, to stop or to continue him
  kCaught,   // he has a handler for one
  kEnds,
};

// `status`: as /proc/PID/status has it. None: it says nothing.
std::optional<Signalled> signalled(std::string_view status);

// `thread`: of whoever asks, as this process numbers it; 0: not to be seen from here. None: nothing
// is known of him. Reads /proc. Thread: any.
std::optional<Signalled> signalled_now(std::uint32_t thread);

}  // namespace larder
