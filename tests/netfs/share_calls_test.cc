// SPDX-License-Identifier: Apache-2.0
// Every call is answered exactly once, whoever is first: the share, the deadline or the unmount.
#include <fmt/format.h>
#include <larder/log.h>
#include <larder/share_calls.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <memory>
#include <vector>

#include "base/random.h"
#include "support/catch.h"
#include "support/sim_clock.h"
#include "support/sim_netfs.h"
#include "support/step_queue.h"

namespace larder {
namespace {

using test::SimClock;
using test::SimNetfs;
using test::SimProfile;
using test::StepQueue;

// Random shares come and go by the hundred; nobody wants to read that.
void log_quietly() { log_to(LogTarget::kStderr, LogLevel::kError); }

// A share, a pool and an answer queue that the test drives by hand.
struct Bench {
  explicit Bench(ShareCallsOptions options = {})
      : netfs(std::make_shared<SimNetfs>(SimProfile::kNfs, clock)),
        timers(clock),
        calls(std::make_unique<ShareCalls>(netfs, pool, answers, timers, clock, options)) {}
  ~Bench() {
    if (calls) calls->drain();
    answers.run_all();
    pool.run_all();
  }
  void advance(Nanoseconds by_ns) {
    clock.advance(by_ns);
    timers.run_due();
  }
  // A call that takes `took_ns` on the share and brings `answer`.
  void call(std::vector<Result<int>>& told, Nanoseconds took_ns, Result<int> answer = 1,
            CallOptions options = {}) {
    calls->call<int>(
        CallKind::kNames, options,
        [this, took_ns, answer](Netfs&) -> Result<int> {
          advance(took_ns);
          return answer;
        },
        [&told](Result<int> result) { told.push_back(result); });
  }

  SimClock clock;
  StepQueue pool, answers;
  std::shared_ptr<SimNetfs> netfs;
  Timers timers;
  std::unique_ptr<ShareCalls> calls;
};

TEST_CASE("a call runs on the pool and its answer on the answer queue, neither before that") {
  std::vector<Result<int>> told;
  Bench bench;
  bench.call(told, kMillisecond, 7);
  CHECK(bench.netfs->calls() == 0);
  CHECK(bench.answers.size() == 0);
  REQUIRE(bench.pool.run_one());
  CHECK(told.empty());
  REQUIRE(bench.answers.run_one());
  REQUIRE(told.size() == 1);
  CHECK(told[0] == 7);
  CHECK(bench.calls->counters().calls.value() == 1);
  CHECK(bench.calls->counters().latency_ns.count() == 1);
  CHECK(bench.timers.run_due() == INT64_MAX);
}

TEST_CASE(
    "a call that the share does not answer in time is told so, and its late answer is dropped") {
  std::vector<Result<int>> told;
  Bench bench({.deadline_ns = 5 * kSecond, .slow_ns = kSecond});
  bench.call(told, 6 * kSecond);
  bench.pool.run_one();
  bench.answers.run_all();
  REQUIRE(told.size() == 1);
  CHECK(told[0].error().code == ErrorCode::kShareDeadline);
  CHECK(bench.calls->counters().deadlines.value() == 1);
  CHECK(bench.calls->counters().abandoned_answers.value() == 1);
  CHECK(bench.calls->counters().in_flight.value() == 0);
}

TEST_CASE("who knows an older answer waits no longer than it takes to call the share slow") {
  std::vector<Result<int>> first, known, patient;
  Bench bench({.deadline_ns = 30 * kSecond, .slow_ns = 2 * kSecond});
  bench.call(first, 0);
  bench.advance(3 * kSecond / 2);
  bench.call(known, 0, 1, {.deadline_ns = 2 * kSecond, .fallback = Fallback::kKnown});
  bench.call(patient, 0);
  bench.advance(kSecond / 2);  // the first has been out for two seconds, the others for half a one
  bench.answers.run_all();
  REQUIRE(known.size() == 1);
  CHECK(known[0].error().code == ErrorCode::kShareDeadline);
  CHECK(first.empty());
  CHECK(patient.empty());
  CHECK(bench.calls->state() == ShareState::kSlow);
  bench.pool.run_all();
  bench.answers.run_all();
  CHECK(first.size() == 1);
  CHECK(patient.size() == 1);
  CHECK(known.size() == 1);
}

TEST_CASE("what a call owns goes on the share thread, also when it was told before it began") {
  std::vector<Result<int>> told;
  Bench bench({.deadline_ns = 5 * kSecond});
  const auto owned = std::make_shared<int>(1);
  bench.calls->call<int>(
      CallKind::kNames, {}, [owned](Netfs&) -> Result<int> { return *owned; },
      [&](Result<int> result) { told.push_back(result); });
  bench.advance(5 * kSecond);
  bench.answers.run_all();
  REQUIRE(told.size() == 1);
  CHECK(owned.use_count() == 2);
  bench.pool.run_all();
  CHECK(owned.use_count() == 1);
  CHECK(told.size() == 1);
  CHECK(bench.calls->counters().calls.value() == 0);  // it never reached the share
}

TEST_CASE("the callback and what it holds go with the answer, while the share still hangs") {
  const auto held = std::make_shared<int>(1);
  Bench bench({.deadline_ns = 5 * kSecond});
  bench.calls->call<int>(
      CallKind::kNames, {},
      [&](Netfs&) -> Result<int> {
        bench.advance(6 * kSecond);
        bench.answers.run_all();
        CHECK(held.use_count() == 1);
        return 1;
      },
      [held](Result<int>) {});
  CHECK(held.use_count() == 2);
  bench.pool.run_all();
}

TEST_CASE("a call without a deadline waits for its share for ever") {
  std::vector<Result<int>> told;
  Bench bench({.deadline_ns = 5 * kSecond, .slow_ns = kSecond});
  bench.call(told, 1000 * kSecond, 3, {.deadline_ns = CallOptions::kNone});
  bench.pool.run_one();
  bench.answers.run_all();
  REQUIRE(told.size() == 1);
  CHECK(told[0] == 3);
  CHECK(bench.calls->counters().slow_trips.value() == 1);
}

TEST_CASE("a call's own deadline takes the place of the share's") {
  std::vector<Result<int>> told;
  Bench bench({.deadline_ns = 5 * kSecond, .slow_ns = kSecond});
  bench.call(told, 0, 1, {.deadline_ns = kMillisecond});
  bench.advance(kMillisecond);
  bench.answers.run_all();
  REQUIRE(told.size() == 1);
  CHECK(told[0].error().code == ErrorCode::kShareDeadline);
}

TEST_CASE("calls above the limit of those that wait are refused at once") {
  std::vector<Result<int>> told;
  Bench bench({.queue_limit = 2});
  for (int i = 0; i < 3; ++i) bench.call(told, 0);
  CHECK(told.empty());  // never on the caller's stack
  bench.answers.run_all();
  REQUIRE(told.size() == 1);
  CHECK(told[0].error().code == ErrorCode::kShareBusy);
  bench.pool.run_one();
  bench.call(told, 0);
  bench.answers.run_all();
  REQUIRE(told.size() == 2);
  CHECK(told[1] == 1);
  CHECK(bench.calls->counters().refused.value() == 1);
}

TEST_CASE("calls that were told while they waited for a thread still count against the limit") {
  std::vector<Result<int>> told;
  Bench bench({.deadline_ns = kSecond, .queue_limit = 2});
  for (int i = 0; i < 2; ++i) bench.call(told, 0);
  bench.advance(kSecond);
  bench.answers.run_all();
  CHECK(told.size() == 2);
  bench.call(told, 0);
  bench.answers.run_all();
  REQUIRE(told.size() == 3);
  CHECK(told[2].error().code == ErrorCode::kShareBusy);
}

TEST_CASE("one call over share_slow makes the share slow, a fast one makes it well again") {
  std::vector<Result<int>> told;
  Bench bench({.deadline_ns = 30 * kSecond, .slow_ns = 2 * kSecond});
  bench.call(told, 0);
  bench.advance(2 * kSecond - 1);
  CHECK(bench.calls->state() == ShareState::kOk);
  bench.advance(1);  // it still waits for a thread: all threads are out
  CHECK(bench.calls->state() == ShareState::kSlow);
  bench.pool.run_one();
  CHECK(bench.calls->state() == ShareState::kSlow);  // it came back, but not fast
  bench.call(told, 0);
  bench.pool.run_one();
  CHECK(bench.calls->state() == ShareState::kOk);
  CHECK(bench.calls->counters().slow_trips.value() == 1);
}

TEST_CASE("a fast answer does not make the share well while another call is over the limit") {
  std::vector<Result<int>> told;
  ShareState seen = ShareState::kOk;
  Bench bench({.deadline_ns = 30 * kSecond, .slow_ns = 2 * kSecond});
  bench.calls->call<int>(
      CallKind::kNames, {},
      [&](Netfs&) -> Result<int> {
        bench.advance(3 * kSecond);
        bench.call(told, 0);
        bench.pool.run_one();
        seen = bench.calls->state();
        // At the deadline it is abandoned; from then on it holds nothing up.
        bench.advance(27 * kSecond);
        bench.call(told, 0);
        bench.pool.run_one();
        return 1;
      },
      [](Result<int>) {});
  bench.pool.run_one();
  CHECK(seen == ShareState::kSlow);
  CHECK(bench.calls->state() == ShareState::kOk);
}

TEST_CASE("a share that is not there is away until a call is answered otherwise") {
  std::vector<Result<int>> told;
  Bench bench;
  bench.call(told, 0, fail(ErrorCode::kShareAway));
  bench.call(told, 0, fail(ErrorCode::kShareAway));
  bench.pool.run_all();
  CHECK(bench.calls->state() == ShareState::kAway);
  CHECK(bench.calls->counters().away_trips.value() == 1);
  bench.call(told, 0, fail(ErrorCode::kShareAnswer, 2));
  bench.pool.run_all();
  CHECK(bench.calls->state() == ShareState::kOk);
}

TEST_CASE("unmounting tells every call, and a share that answers later touches nothing of ours") {
  auto pool = std::make_unique<StepQueue>();
  std::vector<ErrorCode> told;
  const auto owned = std::make_shared<int>(1);
  std::weak_ptr<SimNetfs> netfs;
  {
    SimClock clock;
    StepQueue answers;
    Timers timers(clock);
    auto share = std::make_shared<SimNetfs>(SimProfile::kNfs, clock);
    netfs = share;
    ShareCalls calls(share, *pool, answers, timers, clock, {});
    const auto done = [&](Result<int> result) { told.push_back(result.error().code); };
    for (int i = 0; i < 2; ++i) {
      calls.call<int>(
          CallKind::kData, {}, [owned](Netfs&) -> Result<int> { return *owned; }, done);
    }
    calls.drain();
    calls.drain();
    calls.call<int>(
        CallKind::kNames, {}, [](Netfs&) -> Result<int> { return 1; }, done);
    answers.run_all();
    CHECK(told == std::vector<ErrorCode>(3, ErrorCode::kShutdown));
  }
  CHECK_FALSE(netfs.expired());  // what waits in the pool keeps it
  pool->run_all();
  CHECK(netfs.expired());
  CHECK(owned.use_count() == 1);
  CHECK(told.size() == 3);
}

// Random calls, deadlines, nested progress and an unmount at a random moment.
struct Model {
  explicit Model(std::uint64_t seed)
      : random(Seed{seed}),
        netfs(std::make_shared<SimNetfs>(SimProfile::kNfs, clock)),
        timers(clock),
        calls(std::make_unique<ShareCalls>(
            netfs, pool, answers, timers, clock,
            ShareCallsOptions{.deadline_ns = 30, .slow_ns = 5, .queue_limit = 8})) {}

  void submit() {
    const std::size_t n = told.size();
    told.push_back(0);
    const std::array deadlines = {CallOptions::kDefault, CallOptions::kNone, Nanoseconds{1},
                                  Nanoseconds{7}};
    const CallOptions options{.deadline_ns = deadlines[random.below(deadlines.size())]};
    calls->call<int>(
        random.one_in(2) ? CallKind::kData : CallKind::kNames, options,
        [this](Netfs&) -> Result<int> {
          // Anything may happen while a call is out, also that another one begins and ends.
          const std::uint64_t steps = depth < 4 ? random.below(4) : 0;
          ++depth;
          for (std::uint64_t i = 0; i < steps; ++i) step();
          --depth;
          if (random.one_in(5)) return fail(ErrorCode::kShareAway);
          return 1;
        },
        [this, n](Result<int>) { ++told[n]; });
  }

  void step() {
    switch (random.below(8)) {
      case 0:
      case 1:
        if (told.size() < 60) submit();
        break;
      case 2:
      case 3:
        if (stuck < 3 && random.one_in(10)) {
          ++stuck;  // a thread begins and never comes back: what it took is simply left in the pool
          break;
        }
        pool.run_one(random);
        break;
      case 4:
      case 5:
        answers.run_one(random);
        break;
      case 6:
        clock.advance(static_cast<Nanoseconds>(random.below(12)));
        timers.run_due();
        break;
      case 7:
        if (random.one_in(60)) calls->drain();
        break;
    }
    CHECK(std::all_of(told.begin(), told.end(), [](int times) { return times <= 1; }));
  }

  Random random;
  SimClock clock;
  StepQueue pool, answers;
  std::shared_ptr<SimNetfs> netfs;
  Timers timers;
  std::unique_ptr<ShareCalls> calls;
  std::vector<int> told;
  int depth = 0;
  int stuck = 0;
};

TEST_CASE("in every order of share, deadline and unmount each call is answered exactly once") {
  log_quietly();
  const char* const given = std::getenv("LARDER_SEED");
  const std::uint64_t first = given != nullptr ? std::strtoull(given, nullptr, 0) : 1;
  const std::uint64_t count = given != nullptr ? 1 : 300;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    INFO("LARDER_SEED=" << seed);
    Model model(seed);
    for (int i = 0; i < 400; ++i) model.step();
    model.calls->drain();
    model.answers.run_all();
    REQUIRE(model.told == std::vector<int>(model.told.size(), 1));
    CHECK(model.timers.run_due() == INT64_MAX);
    model.calls.reset();
    // Shares that answer after all find nobody.
    model.pool.run_all();
    CHECK(model.answers.size() == 0);
    REQUIRE(model.told == std::vector<int>(model.told.size(), 1));
  }
}

}  // namespace
}  // namespace larder
