// SPDX-License-Identifier: Apache-2.0
#include "vfs/store_waits.h"

#include <utility>
#include <vector>

#include "vfs/rounds.h"

namespace larder {

struct StoreWaits::Core final : Rounds {
  Core(const Clock& c, Timers& t, WorkQueue& a, cache::FsCache& f, Nanoseconds p, stats::Counter& n)
      : Rounds(c, t, p / 4), answers(a), cache(f), patience_ns(p), passed(n) {}
  using Rounds::ask_locked, Rounds::ended_locked, Rounds::now_ns;
  void look() override;
  std::vector<Wait*> claim();
  void take_back(Wait& wait);

  WorkQueue& answers;
  cache::FsCache& cache;
  const Nanoseconds patience_ns;
  stats::Counter& passed;
  boost::intrusive::list<Wait> waiting GUARDED_BY(mutex);  // the oldest first
};

void StoreWaits::Core::look() {
  larder::post(answers, [self = shared_from_this(), this] {
    for (Wait* wait : claim()) take_back(*wait);
  });
}

std::vector<StoreWaits::Wait*> StoreWaits::Core::claim() {
  const Nanoseconds until_ns = now_ns() - patience_ns;
  std::vector<Wait*> claimed;
  const MutexLock lock(mutex);
  if (ended_locked()) return claimed;
  while (!waiting.empty() && waiting.front().since_mono_ns <= until_ns) {
    Wait& wait = waiting.front();
    waiting.pop_front();
    wait.state = Wait::State::kClaimed;
    claimed.push_back(&wait);
  }
  if (!waiting.empty()) ask_locked();
  return claimed;
}

void StoreWaits::Core::take_back(Wait& wait) {
  Turn turn = Turn::kTooLate;
  if (cache.cancel(*wait.operation)) {
    passed.add();
  } else {
    const MutexLock lock(mutex);
    // Its turn is just coming: to whoever brings it.
    if (wait.state == Wait::State::kClaimed) {
      wait.state = Wait::State::kOwn;
      return;
    }
    turn = wait.turn;
  }
  wait.go_on(wait, turn);
}

StoreWaits::StoreWaits(const Clock& clock, Timers& timers, WorkQueue& answers,
                       cache::FsCache& cache, Nanoseconds patience_ns, stats::Counter& passed)
    : core_(std::make_shared<Core>(clock, timers, answers, cache, patience_ns, passed)) {}

StoreWaits::~StoreWaits() { end(); }

void StoreWaits::add(Wait& wait) {
  const MutexLock lock(core_->mutex);
  if (core_->ended_locked()) return;
  wait.since_mono_ns = core_->now_ns();
  core_->waiting.push_back(wait);
  core_->ask_locked();
}

bool StoreWaits::came(Wait& wait, Turn turn) {
  const MutexLock lock(core_->mutex);
  if (wait.is_linked()) core_->waiting.erase(core_->waiting.iterator_to(wait));
  if (wait.state == Wait::State::kOwn) return true;
  wait.state = Wait::State::kLeft;
  wait.turn = turn;
  return false;
}

void StoreWaits::end() { core_->end(); }

}  // namespace larder
