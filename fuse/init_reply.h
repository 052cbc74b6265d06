// SPDX-License-Identifier: Apache-2.0
// The answer to INIT, amended: libfuse 3.14 does not know all that the kernel offers.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "protocol.h"

namespace larder::fuse {

// What the kernel says in INIT.
struct InitOffer {
  std::uint64_t unique = 0;
  std::uint64_t flags = 0;
};
InitOffer read_init(std::span<const std::byte> request);

// What is to be said beside what libfuse says.
struct InitAmendment {
  std::uint64_t flags = 0;
  std::uint32_t max_bytes = 0;    // of a read or a write; 0: as libfuse has it
  std::uint32_t stack_depth = 0;  // with kPassThrough: one more than what is passed through to has
};
// Takes libfuse's fuse_init_out and gives what goes to the kernel.
InitOut amend(std::span<const std::byte> answer, const InitAmendment& amendment);

}  // namespace larder::fuse
