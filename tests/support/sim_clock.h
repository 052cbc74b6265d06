// SPDX-License-Identifier: Apache-2.0
// SimClock: time that moves when the test says so.
#pragma once

#include <larder/clock.h>

#include <atomic>

namespace larder::test {

class SimClock final : public Clock {
 public:
  Nanoseconds mono_ns() const override { return now_.load(); }
  Nanoseconds wall_ns() const override { return kEpoch + now_.load(); }
  void advance(Nanoseconds by) { now_.fetch_add(by); }

  static constexpr Nanoseconds kEpoch = 1'700'000'000 * kSecond;

 private:
  std::atomic<Nanoseconds> now_{kSecond};
};

}  // namespace larder::test
