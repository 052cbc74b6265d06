// SPDX-License-Identifier: Apache-2.0
// Timers: what waits lies in one ordered set, by due time and then by the order of adding, so that
// a simulation fires the same timers in the same order at each run.
//
//   T1 a timer is in the set exactly while `waiting` is true; both change under the lock
//   T2 a timer leaves the set before its callback begins, and no lock is held during the callback:
//      so it may add the timer again, add or cancel others, or free its own
//   T3 the thread sleeps until the first timer of the set is due; an earlier one wakes it
#include <larder/result.h>
#include <larder/timers.h>

#include <chrono>
#include <limits>
#include <set>

#include "base/mutex.h"
#include "io/thread.h"

namespace larder {
namespace {

struct Place {
  Nanoseconds due_mono_ns;
  std::uint64_t order;
  Timer* timer;
  friend bool operator<(const Place& a, const Place& b) {
    if (a.due_mono_ns != b.due_mono_ns) return a.due_mono_ns < b.due_mono_ns;
    return a.order < b.order;
  }
};

constexpr Nanoseconds kNever = std::numeric_limits<Nanoseconds>::max();

}  // namespace

struct Timers::Impl {
  explicit Impl(const Clock& c) : clock(c) {}

  Nanoseconds first_due_locked() const REQUIRES(mutex) {
    return waiting.empty() ? kNever : waiting.begin()->due_mono_ns;
  }
  void run_thread(Timers& timers);

  const Clock& clock;
  Mutex mutex{Rank::kTimers};
  CondVar earlier;
  std::set<Place> waiting GUARDED_BY(mutex);
  std::uint64_t next_order GUARDED_BY(mutex) = 0;
  bool stopping GUARDED_BY(mutex) = false;
  std::unique_ptr<Thread> thread;  // the owner's: start() and stop()
};

Timers::Timers(const Clock& clock) : impl_(std::make_unique<Impl>(clock)) {}

Timers::~Timers() {
  check(impl_->thread == nullptr, "the thread of the timers was stopped");
  const MutexLock lock(impl_->mutex);
  check(impl_->waiting.empty(), "no timer waits when the timers end");
}

void Timers::add(Timer& timer, Nanoseconds due_mono_ns) {
  const MutexLock lock(impl_->mutex);
  check(!timer.waiting && timer.fire != nullptr, "a timer is added once and has something to do");
  const bool first = due_mono_ns < impl_->first_due_locked();
  timer.due_mono_ns = due_mono_ns;
  timer.order = impl_->next_order++;
  timer.waiting = true;
  impl_->waiting.insert(Place{due_mono_ns, timer.order, &timer});
  if (first) impl_->earlier.notify_one();
}

bool Timers::cancel(Timer& timer) {
  const MutexLock lock(impl_->mutex);
  if (!timer.waiting) return false;
  check(impl_->waiting.erase(Place{timer.due_mono_ns, timer.order, &timer}) == 1,
        "a timer that waits is in the set of these timers");
  timer.waiting = false;
  return true;
}

Nanoseconds Timers::run_due() {
  const Nanoseconds now_mono_ns = impl_->clock.mono_ns();
  MutexLock lock(impl_->mutex);
  while (impl_->first_due_locked() <= now_mono_ns) {
    Timer& timer = *impl_->waiting.begin()->timer;
    impl_->waiting.erase(impl_->waiting.begin());
    timer.waiting = false;
    lock.unlock();
    timer.fire(timer);
    lock.lock();
  }
  return impl_->first_due_locked();
}

void Timers::Impl::run_thread(Timers& timers) {
  for (;;) {
    timers.run_due();
    const MutexLock lock(mutex);
    if (stopping) return;
    const Nanoseconds due_mono_ns = first_due_locked();
    if (due_mono_ns == kNever) {
      earlier.wait(mutex);
      continue;
    }
    const Nanoseconds left_ns = due_mono_ns - clock.mono_ns();
    if (left_ns > 0) earlier.wait_for(mutex, std::chrono::nanoseconds(left_ns));
  }
}

void Timers::start() {
  check(impl_->thread == nullptr, "the thread of the timers is started once");
  {
    const MutexLock lock(impl_->mutex);
    impl_->stopping = false;
  }
  impl_->thread = std::make_unique<Thread>("timers", [this] { impl_->run_thread(*this); });
}

void Timers::stop() {
  if (impl_->thread == nullptr) return;
  {
    const MutexLock lock(impl_->mutex);
    impl_->stopping = true;
    impl_->earlier.notify_one();
  }
  impl_->thread->join();
  impl_->thread.reset();
}

}  // namespace larder
