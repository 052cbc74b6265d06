// SPDX-License-Identifier: Apache-2.0
// ShareClock: what time it is on the share, which sets the time stamps that versions are told by.
//
// Nobody tells us, but each file that we make carries the moment at which the share made it, and
// that lies between question and answer. What it shows beyond those, and beyond the step of its
// stamps, is how far the share's clock is off. Until something was made, the local clock stands for
// it.
//
// Thread: any.
#pragma once

#include <larder/clock.h>
#include <larder/identity.h>

#include <atomic>

namespace larder {

class ShareClock {
 public:
  explicit ShareClock(const Clock& clock) : clock_(clock) {}

  Nanoseconds now_ns() const { return at_ns(clock_.wall_ns()); }
  // The share's time at a moment of the local wall clock.
  Nanoseconds at_ns(Nanoseconds local_wall_ns) const { return local_wall_ns + ahead_ns_.load(); }

  // Something was made on the share, asked for and answered at these moments of the local wall
  // clock.
  void saw_made(std::int64_t stamp_ns, Nanoseconds asked_wall_ns, Nanoseconds answered_wall_ns) {
    const Nanoseconds step_ns = granularity_of(stamp_ns);
    if (stamp_ns > answered_wall_ns + step_ns)
      ahead_ns_.store(stamp_ns - answered_wall_ns);
    else if (stamp_ns < asked_wall_ns - step_ns)
      ahead_ns_.store(stamp_ns - asked_wall_ns);
    else
      ahead_ns_.store(0);
  }

 private:
  const Clock& clock_;
  std::atomic<Nanoseconds> ahead_ns_{0};
};

}  // namespace larder
