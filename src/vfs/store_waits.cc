// SPDX-License-Identifier: Apache-2.0
#include "vfs/store_waits.h"

#include <utility>

namespace larder {

struct StoreWaits::Core : Timer, std::enable_shared_from_this<Core> {
  Core(const Clock& c, Timers& t, WorkQueue& a, cache::FsCache& f, Nanoseconds p, stats::Counter& n)
      : clock(c), timers(t), answers(a), cache(f), patience_ns(p), passed(n) {
    fire = [](Timer& self) {
      std::shared_ptr<Core> me = static_cast<Core&>(self).taken_from_timers();
      WorkQueue& queue = me->answers;
      larder::post(queue, [me = std::move(me)] { me->look(); });
    };
  }
  std::shared_ptr<Core> taken_from_timers() {
    const MutexLock lock(mutex);
    return std::move(for_timers);
  }
  void arm_locked() REQUIRES(mutex) {
    if (for_timers || ended) return;
    for_timers = shared_from_this();
    timers.add(*this, clock.mono_ns() + patience_ns / 4);
  }
  void remove_locked(Wait& wait) REQUIRES(mutex) {
    listed.back()->place = wait.place;
    listed[wait.place] = listed.back();
    listed.pop_back();
  }
  std::vector<Wait*> claim();
  void look();
  void take_back(Wait& wait);

  const Clock& clock;
  Timers& timers;
  WorkQueue& answers;
  cache::FsCache& cache;
  const Nanoseconds patience_ns;
  stats::Counter& passed;
  Mutex mutex{Rank::kShareCalls};
  std::vector<Wait*> listed GUARDED_BY(mutex);
  bool ended GUARDED_BY(mutex) = false;
  std::shared_ptr<Core> for_timers GUARDED_BY(mutex);  // while the timer waits
};

std::vector<StoreWaits::Wait*> StoreWaits::Core::claim() {
  const Nanoseconds until_ns = clock.mono_ns() - patience_ns;
  std::vector<Wait*> claimed;
  const MutexLock lock(mutex);
  if (ended) return claimed;
  // From the end: one that is removed gives its place to the last.
  for (std::size_t i = listed.size(); i-- > 0;) {
    Wait& wait = *listed[i];
    if (wait.since_mono_ns > until_ns) continue;
    remove_locked(wait);
    wait.state = Wait::State::kClaimed;
    claimed.push_back(&wait);
  }
  if (!listed.empty()) arm_locked();
  return claimed;
}

void StoreWaits::Core::look() {
  for (Wait* wait : claim()) take_back(*wait);
}

void StoreWaits::Core::take_back(Wait& wait) {
  const bool taken = cache.cancel(*wait.operation);
  Turn turn = Turn::kNever;
  if (!taken) {
    const MutexLock lock(mutex);
    // Its turn is just coming: to whoever brings it.
    if (wait.state == Wait::State::kClaimed) {
      wait.state = Wait::State::kAlone;
      return;
    }
    turn = wait.turn;
  }
  if (taken) passed.add();
  wait.go_on(wait, turn);
}

StoreWaits::StoreWaits(const Clock& clock, Timers& timers, WorkQueue& answers,
                       cache::FsCache& cache, Nanoseconds patience_ns, stats::Counter& passed)
    : core_(std::make_shared<Core>(clock, timers, answers, cache, patience_ns, passed)) {}

StoreWaits::~StoreWaits() { end(); }

void StoreWaits::add(Wait& wait) {
  const MutexLock lock(core_->mutex);
  if (core_->ended) return;
  wait.since_mono_ns = core_->clock.mono_ns();
  wait.state = Wait::State::kListed;
  wait.place = core_->listed.size();
  core_->listed.push_back(&wait);
  core_->arm_locked();
}

bool StoreWaits::came(Wait& wait, Turn turn) {
  const MutexLock lock(core_->mutex);
  if (wait.state == Wait::State::kListed) core_->remove_locked(wait);
  if (wait.state == Wait::State::kClaimed) {
    wait.state = Wait::State::kLeft;
    wait.turn = turn;
    return false;
  }
  wait.state = Wait::State::kAlone;
  return true;
}

void StoreWaits::end() {
  std::shared_ptr<Core> waited;
  const MutexLock lock(core_->mutex);
  core_->ended = true;
  if (core_->for_timers && core_->timers.cancel(*core_)) waited = std::move(core_->for_timers);
}

}  // namespace larder
