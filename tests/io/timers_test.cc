// SPDX-License-Identifier: Apache-2.0
#include <larder/timers.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <functional>
#include <limits>
#include <thread>

#include "io/scratch.h"
#include "support/sim_clock.h"

using namespace larder;
using namespace larder::test;

namespace {

constexpr Nanoseconds kNever = std::numeric_limits<Nanoseconds>::max();

struct Called : Timer {
  explicit Called(std::function<void()> f) : call(std::move(f)) {
    fire = [](Timer& self) { static_cast<Called&>(self).call(); };
  }
  std::function<void()> call;
};

}  // namespace

TEST_CASE("timers fire when they are due, in order of time and then of adding") {
  SimClock clock;
  Timers timers(clock);
  const Nanoseconds start = clock.mono_ns();
  std::vector<int> fired;
  Called a([&] { fired.push_back(1); }), b([&] { fired.push_back(2); }),
      c([&] { fired.push_back(3); });
  CHECK(timers.run_due() == kNever);
  timers.add(c, start + 20);
  timers.add(b, start + 10);
  timers.add(a, start + 20);
  CHECK(timers.run_due() == start + 10);
  CHECK(fired.empty());
  clock.advance(10);
  CHECK(timers.run_due() == start + 20);
  CHECK(fired == std::vector<int>{2});
  clock.advance(100);
  CHECK(timers.run_due() == kNever);
  CHECK(fired == std::vector<int>{2, 3, 1});
}

TEST_CASE("a cancelled timer does not fire, and one that fired cannot be cancelled") {
  SimClock clock;
  Timers timers(clock);
  int fired = 0;
  Called timer([&] { ++fired; });
  CHECK_FALSE(timers.cancel(timer));
  timers.add(timer, clock.mono_ns() + 5);
  CHECK(timers.cancel(timer));
  CHECK_FALSE(timers.cancel(timer));
  clock.advance(10);
  CHECK(timers.run_due() == kNever);
  CHECK(fired == 0);
  timers.add(timer, clock.mono_ns());
  timers.run_due();
  CHECK_FALSE(timers.cancel(timer));
  CHECK(fired == 1);
}

TEST_CASE("a callback may add its own timer again, add others, and cancel one that is due too") {
  SimClock clock;
  Timers timers(clock);
  const Nanoseconds start = clock.mono_ns();
  int periods = 0, others = 0;
  bool cancelled = false;
  Called other([&] { ++others; });
  Called victim([] { FAIL("it was cancelled"); });
  Called periodic([&] {
    ++periods;
    if (periods == 1) {
      cancelled = timers.cancel(victim);
      timers.add(other, start);  // due already: fires in the same call
    }
    if (periods < 3) timers.add(periodic, clock.mono_ns() + 10);
  });
  timers.add(periodic, start);
  timers.add(victim, start);
  CHECK(timers.run_due() == start + 10);
  CHECK(cancelled);
  CHECK(others == 1);
  clock.advance(10);
  timers.run_due();
  clock.advance(10);
  CHECK(timers.run_due() == kNever);
  CHECK(periods == 3);
}

TEST_CASE("timers behave as a sorted list does") {
  const Seed seed = seed_of_run();
  INFO("LARDER_SEED=" << seed.value);
  Random random(seed);
  SimClock clock;
  Timers timers(clock);
  struct Waiting {
    Nanoseconds due_mono_ns;
    int order;
    int which;
    auto operator<=>(const Waiting&) const = default;
  };
  std::vector<Waiting> model;
  std::vector<int> fired, expected;
  std::deque<Called> all;
  for (int i = 0; i < 40; ++i) all.emplace_back([&fired, i] { fired.push_back(i); });
  for (int step = 0; step < 20000; ++step) {
    const int which = static_cast<int>(random.below(all.size()));
    Called& timer = all[static_cast<std::size_t>(which)];
    const auto at = std::find_if(model.begin(), model.end(),
                                 [&](const Waiting& w) { return w.which == which; });
    if (at != model.end()) {
      REQUIRE(timers.cancel(timer));
      model.erase(at);
    } else {
      const Nanoseconds due = clock.mono_ns() + static_cast<Nanoseconds>(random.below(50)) - 5;
      timers.add(timer, due);
      model.push_back({due, step, which});
    }
    if (!random.one_in(4)) continue;
    clock.advance(static_cast<Nanoseconds>(random.below(20)));
    std::sort(model.begin(), model.end());
    while (!model.empty() && model.front().due_mono_ns <= clock.mono_ns()) {
      expected.push_back(model.front().which);
      model.erase(model.begin());
    }
    REQUIRE(timers.run_due() == (model.empty() ? kNever : model.front().due_mono_ns));
    REQUIRE((fired == expected));  // in brackets: not to be printed
  }
  CHECK(fired.size() > 1000);
  for (Called& timer : all) timers.cancel(timer);
}

TEST_CASE("the thread fires what comes due, also what is earlier than what it sleeps for") {
  Timers timers(system_clock());
  timers.start();
  Tally fired;
  std::atomic<bool> hour_passed{false};
  Called far([&] { hour_passed = true; });
  timers.add(far, system_clock().mono_ns() + 3600 * kSecond);
  Called soon([&] { fired.add(); });
  timers.add(soon, system_clock().mono_ns() + kMillisecond);
  fired.wait_for(1);
  CHECK(timers.cancel(far));
  CHECK_FALSE(hour_passed);
  timers.stop();
}

TEST_CASE("of cancelling and firing exactly one wins, under many threads") {
  constexpr int kThreads = 4, kEach = 500;
  Timers timers(system_clock());
  timers.start();
  Tally ended;
  std::atomic<int> fired{0}, cancelled{0};
  std::deque<Called> all;
  for (int i = 0; i < kThreads * kEach; ++i) {
    all.emplace_back([&] {
      ++fired;
      ended.add();
    });
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        Called& timer = all[static_cast<std::size_t>(t * kEach + i)];
        timers.add(timer, system_clock().mono_ns() + (i % 3) * 1000);
        if (i % 2 == 0 && timers.cancel(timer)) {
          ++cancelled;
          ended.add();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ended.wait_for(all.size());
  timers.stop();
  CHECK(fired + cancelled == kThreads * kEach);
}
