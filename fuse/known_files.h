// SPDX-License-Identifier: Apache-2.0
// KnownFiles: a few regular files that the kernel should know at this moment, the latest ones.
//
// What a nudge (ring_queue.h) names must be one: the kernel refuses any other kind since 6.18. It
// may have forgotten each of them by now; then the next is tried.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace larder::fuse {

class KnownFiles {
 public:
  // Thread: any, all of them.
  void note(std::uint64_t node) {
    // Most often it is the one before.
    if (nodes_[last_.load(std::memory_order_relaxed) % kCount].load(std::memory_order_relaxed) ==
        node)
      return;
    const std::size_t at = last_.fetch_add(1, std::memory_order_relaxed) + 1;
    nodes_[at % kCount].store(node, std::memory_order_relaxed);
  }
  // Gives them to `take`, the latest first, until it says true. False: it never did.
  template <class Take>
  bool offer(Take take) const {
    const std::size_t last = last_.load(std::memory_order_relaxed);
    for (std::size_t back = 0; back < kCount; ++back) {
      const std::uint64_t node =
          nodes_[(last + kCount - back) % kCount].load(std::memory_order_relaxed);
      if (node != 0 && take(node)) return true;
    }
    return false;
  }

 private:
  static constexpr std::size_t kCount = 16;
  std::array<std::atomic<std::uint64_t>, kCount> nodes_{};
  std::atomic<std::size_t> last_{0};
};

}  // namespace larder::fuse
