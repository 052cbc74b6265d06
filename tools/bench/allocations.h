// SPDX-License-Identifier: Apache-2.0
// How often a thread asks for memory: each call of malloc and its like, of operator new too, is
// counted, also where it is given back at once. A program that is linked with this counts.
#pragma once

#include <cstdint>

namespace larder::bench {

// By the calling thread, since it began.
std::uint64_t allocations_so_far();

// Of a stretch of code.
class Allocations {
 public:
  std::uint64_t count() const { return allocations_so_far() - before_; }

 private:
  std::uint64_t before_ = allocations_so_far();
};

}  // namespace larder::bench
