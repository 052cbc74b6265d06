// SPDX-License-Identifier: Apache-2.0
#include "courtesy.h"

#include <sched.h>

#include <thread>

#include "support/catch.h"

using namespace larder;
using namespace larder::fuse;

namespace {

// A thread that runs a hundred times in 4 ms, and waits as long each time.
struct Story {
  Patience patience;
  Nanoseconds now_ns = kSecond;
  ProcessorWaits waits{};

  bool after(Nanoseconds wait_ns, std::uint64_t runs = 100) {
    now_ns += 4 * kMillisecond;
    waits.waited_ns += wait_ns * static_cast<Nanoseconds>(runs);
    waits.runs += runs;
    return patience.stands_back(now_ns, waits);
  }
  // How long it takes until it stands back again where nothing disturbs it.
  Nanoseconds rest() {
    const Nanoseconds from_ns = now_ns;
    while (!after(1000)) {
    }
    return now_ns - from_ns;
  }
};

}  // namespace

TEST_CASE(
    "what a thread waited is the second number of its schedstat, how often it ran the third") {
  const auto waits = parse_schedstat("14675262 1385638 516\n");
  REQUIRE(waits);
  CHECK(waits->waited_ns == 1'385'638);
  CHECK(waits->runs == 516);
  for (const char* text : {"", "\n", "1 2", "1 x 3", "-1 2 3", "1 99999999999999999999 3"})
    CHECK_FALSE(parse_schedstat(text));
}

TEST_CASE("what a thread waited before it was a ring's does not count") {
  Patience patience(ProcessorWaits{5 * kSecond, 1});
  CHECK(patience.stands_back(kSecond, {5 * kSecond + 1000, 2}));
}

TEST_CASE("a ring stands back until it is kept waiting, and then rests") {
  Story story;
  for (int i = 0; i < 1000; ++i) CHECK(story.after(30'000));
  CHECK(story.after(0, 0));
  CHECK_FALSE(story.after(3 * kMillisecond, 1));
  CHECK_FALSE(story.after(0));
  // As long as it goes on being kept waiting, it does not try.
  for (int i = 0; i < 1000; ++i) CHECK_FALSE(story.after(3 * kMillisecond, 1));
  CHECK(story.rest() == Patience::kRestLeast_ns);
}

TEST_CASE("one that is kept waiting each time that it stands back rests longer and longer") {
  Story story;
  Nanoseconds expected_ns = Patience::kRestLeast_ns;
  for (int i = 0; i < 12; ++i) {
    CHECK_FALSE(story.after(3 * kMillisecond, 1));
    const Nanoseconds rested_ns = story.rest();
    CHECK(rested_ns >= expected_ns);
    CHECK(rested_ns < expected_ns + 4 * kMillisecond);
    expected_ns = std::min(2 * expected_ns, Patience::kRestMost_ns);
  }
  // A long time without any, and it begins anew.
  for (int i = 0; i < 3000; ++i) CHECK(story.after(1000));
  CHECK_FALSE(story.after(3 * kMillisecond, 1));
  CHECK(story.rest() == Patience::kRestLeast_ns);
}

TEST_CASE("a thread's policy is its own, and what it starts can be ordinary again") {
  const cpu_set_t before = allowed_processors();
  TransportStats stats;
  int while_it_lives = -1, of_its_child = -1;
  cpu_set_t where{};
  std::thread([&] {
    Courtesy courtesy(stats);
    courtesy.look();
    while_it_lives = ::sched_getscheduler(0);
    std::thread([&] {
      be_ordinary();
      of_its_child = ::sched_getscheduler(0);
      ::sched_getaffinity(0, sizeof where, &where);
    }).join();
    CHECK(stats.standing_back.value() == (while_it_lives == SCHED_IDLE ? 1 : 0));
  }).join();
  CHECK((while_it_lives == SCHED_IDLE || while_it_lives == SCHED_OTHER));  // where it may not
  CHECK(of_its_child == SCHED_OTHER);
  CHECK(CPU_EQUAL(&where, &before));
  CHECK(stats.standing_back.value() == 0);
  CHECK(::sched_getscheduler(0) == SCHED_OTHER);

  // One without any is ordinary.
  std::thread([&] { CHECK(::sched_getscheduler(0) == SCHED_OTHER); }).join();
}
