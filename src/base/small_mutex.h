// SPDX-License-Identifier: Apache-2.0
// SmallMutex: a Mutex of four bytes, for records of which there are millions. Ranked and annotated
// as Mutex is; a waiter sleeps in the kernel. No condition variable waits on it.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/mutex.h"

namespace larder {

template <Rank rank>
class CAPABILITY("mutex") SmallMutex {
 public:
  SmallMutex() = default;
  SmallMutex(const SmallMutex&) = delete;
  SmallMutex& operator=(const SmallMutex&) = delete;

  void lock() ACQUIRE() {
    rank_push(rank);
    std::uint32_t seen = kFree;
    if (word_.compare_exchange_strong(seen, kHeld, std::memory_order_acquire,
                                      std::memory_order_relaxed)) {
      return;
    }
    while (word_.exchange(kWaited, std::memory_order_acquire) != kFree) word_.wait(kWaited);
  }
  void unlock() RELEASE() {
    rank_pop(rank);  // first, as in Mutex
    // Behind the exchange another thread may free this; to wake a waiter only its address is used.
    if (word_.exchange(kFree, std::memory_order_release) == kWaited) word_.notify_one();
  }

 private:
  static constexpr std::uint32_t kFree = 0, kHeld = 1, kWaited = 2;
  std::atomic<std::uint32_t> word_{kFree};
};

}  // namespace larder
