// SPDX-License-Identifier: Apache-2.0
// Rounds: a look at all who wait for something, some time after one began to, and again for as long
// as anybody does.
//
// It keeps itself alive while the timers have it, so whoever owns it may go at any time behind
// end(): one that is just being taken sees that it has ended.
#pragma once

#include <larder/clock.h>
#include <larder/timers.h>

#include <memory>
#include <utility>

#include "base/mutex.h"

namespace larder {

class Rounds : Timer, public std::enable_shared_from_this<Rounds> {
 public:
  // Both outlive end(). REQUIRES: made as a shared_ptr.
  Rounds(const Clock& clock, Timers& timers, Nanoseconds every_ns)
      : clock_(clock), timers_(timers), every_ns_(every_ns) {
    fire = [](Timer& self) {
      const std::shared_ptr<Rounds> me = static_cast<Rounds&>(self).taken_from_timers();
      me->look();
    };
  }
  virtual ~Rounds() = default;
  Rounds(const Rounds&) = delete;
  Rounds& operator=(const Rounds&) = delete;

  // No round begins any more, and no timer is touched. Thread: any.
  void end() {
    std::shared_ptr<Rounds> waited;
    const MutexLock lock(mutex);
    ended_ = true;
    // One that is firing lets go of its reference itself.
    if (for_timers_ && timers_.cancel(*this)) waited = std::move(for_timers_);
  }

  Mutex mutex{Rank::kShareCalls};  // of those who wait

 protected:
  // One round. Thread: the timers', with no lock held.
  virtual void look() = 0;
  // There will be one, if there is none on its way.
  void ask_locked() REQUIRES(mutex) {
    if (for_timers_ || ended_) return;
    for_timers_ = shared_from_this();
    timers_.add(*this, now_ns() + every_ns_);
  }
  bool ended_locked() const REQUIRES(mutex) { return ended_; }
  Nanoseconds now_ns() const { return clock_.mono_ns(); }

 private:
  std::shared_ptr<Rounds> taken_from_timers() {
    const MutexLock lock(mutex);
    return std::move(for_timers_);
  }

  const Clock& clock_;
  Timers& timers_;
  const Nanoseconds every_ns_;
  bool ended_ GUARDED_BY(mutex) = false;
  std::shared_ptr<Rounds> for_timers_ GUARDED_BY(mutex);  // while the timer waits
};

}  // namespace larder
