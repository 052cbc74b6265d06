// SPDX-License-Identifier: Apache-2.0
// Threads that may hang: a table of their own, no hindrance to others, and an end in any case.
#include "netfs/share_pool.h"

#include <fcntl.h>
#include <larder/share_calls.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "io/thread_pool.h"
#include "support/catch.h"
#include "support/sim_clock.h"
#include "support/sim_netfs.h"

namespace larder::netfs {
namespace {

constexpr Nanoseconds kLong = 60 * kSecond;

// A pipe that a share thread can hang on, until the test writes.
struct Pipe {
  Pipe() { REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0); }
  ~Pipe() {
    ::close(ends[0]);
    ::close(ends[1]);
  }
  // How a share thread, whose table is another, opens the reading end.
  std::string name() const {
    return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(ends[0]);
  }
  std::array<int, 2> ends{};
};

TEST_CASE("share threads have none of our descriptors, and we none of theirs") {
  const Pipe pipe;
  SharePool pool({.threads = 2});
  if (!pool.figures().own_table) {
    WARN("skipped: the system refuses unshare(CLONE_FILES)");
    return;
  }
  const auto there = pool.run_and_wait<int>([&] { return ::fcntl(pipe.ends[0], F_GETFD); }, kLong);
  CHECK(there == -1);
  // Not one above standard error, unless it is theirs.
  const auto others = pool.run_and_wait<int>(
      [] {
        int found = 0;
        for (int fd = 3; fd < 1024; ++fd) found += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
        return found;
      },
      kLong);
  CHECK(others == 0);
  const auto theirs = pool.run_and_wait<int>([] { return ::open("/", O_PATH | O_CLOEXEC); }, kLong);
  REQUIRE(theirs);
  REQUIRE(*theirs >= 0);
  struct stat here {
  }, root{};
  ::stat("/", &root);
  const bool is_ours =
      ::fstat(*theirs, &here) == 0 && here.st_ino == root.st_ino && here.st_dev == root.st_dev;
  CHECK_FALSE(is_ours);
  CHECK(pool.run_and_wait<int>([fd = *theirs] { return ::close(fd); }, kLong) == 0);
}

TEST_CASE("share threads have a umask of their own") {
  const mode_t before = ::umask(077);
  SharePool pool({.threads = 1});
  const bool own = pool.figures().own_table;
  CHECK((!own || pool.run_and_wait<mode_t>([] { return ::umask(0); }, kLong) == mode_t{0}));
  CHECK(::umask(before) == 077);
}

TEST_CASE("a thread that hangs does not hinder others, up to the limit of threads") {
  const Pipe pipe;
  SharePool pool({.threads = 3, .stop_grace_ns = kLong});
  std::atomic<int> hanging{0}, freed{0};
  const auto hang = [&] {
    post(pool, [&hanging, &freed, name = pipe.name()] {
      const Fd fd(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
      ++hanging;
      char byte = 0;
      freed += ::read(fd.get(), &byte, 1) == 1 ? 1 : 0;
    });
  };
  hang();
  hang();
  for (int i = 0; i < 100; ++i) CHECK(pool.run_and_wait<int>([i] { return i; }, kLong) == i);
  while (hanging < 2) ::sched_yield();
  CHECK(pool.run_and_wait<int>([] { return 1; }, kLong) == 1);
  CHECK(pool.figures().threads == 3);
  CHECK(freed == 0);
  // The third hangs too: nothing runs any more until the share answers.
  hang();
  while (hanging < 3) ::sched_yield();
  CHECK_FALSE(pool.run_and_wait<int>([] { return 1; }, kMillisecond));
  CHECK(pool.figures().busy == 3);
  CHECK(::write(pipe.ends[1], "abc", 3) == 3);
  CHECK(pool.run_and_wait<int>([] { return 1; }, kLong) == 1);
  CHECK(pool.stop() == 0);
  CHECK(freed == 3);
}

TEST_CASE(
    "work that waits when the pool is stopped still runs, by a thread that is started for it") {
  std::atomic<int> ran{0};
  {
    SharePool pool({.threads = 4, .stop_grace_ns = kLong});
    for (int i = 0; i < 50; ++i) post(pool, [&] { ++ran; });
    CHECK(pool.stop() == 0);
  }
  CHECK(ran == 50);
}

TEST_CASE("what the pool keeps is destroyed on its threads, wherever the last reference goes") {
  struct Tells {
    explicit Tells(std::atomic<pid_t>& t) : tid(t) {}
    ~Tells() { tid = ::gettid(); }
    std::atomic<pid_t>& tid;
  };
  std::atomic<pid_t> tid{0};
  SharePool pool({.threads = 1, .stop_grace_ns = kLong});
  auto kept = pool.keeper().adopt(std::make_unique<Tells>(tid));
  kept.reset();
  const auto thread = pool.run_and_wait<pid_t>([] { return ::gettid(); }, kLong);
  CHECK(tid == thread);
  // On a share thread it goes at once.
  kept = pool.keeper().adopt(std::make_unique<Tells>(tid));
  tid = 0;
  CHECK(pool.run_and_wait<bool>(
            [&] {
              kept.reset();
              return tid == ::gettid();
            },
            kLong) == true);
}

TEST_CASE("a pool may end while a thread of it hangs, and the thread may end after it") {
  const Pipe pipe;
  const auto reached = std::make_shared<std::atomic<int>>(0);
  {
    SharePool pool({.threads = 1, .stop_grace_ns = kMillisecond});
    post(pool, [reached, name = pipe.name()] {
      const Fd fd(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
      *reached = 1;
      char byte = 0;
      const bool ended = ::read(fd.get(), &byte, 1) == 1;
      *reached = ended ? 2 : 3;
    });
    while (*reached == 0) ::sched_yield();
    CHECK(pool.stop() == 1);
  }
  CHECK(*reached == 1);
  CHECK(::write(pipe.ends[1], "x", 1) == 1);
  while (*reached == 1) ::sched_yield();
  CHECK(*reached == 2);
}

TEST_CASE(
    "calls from many threads, with deadlines that race with answers, are answered once each") {
  constexpr int kThreads = 3, kCalls = 400;
  test::SimClock clock;
  const auto netfs = std::make_shared<test::SimNetfs>(test::SimProfile::kNfs, clock);
  netfs->put("f", "content");
  std::array<std::atomic<int>, kThreads * kCalls> told{};
  SharePool pool({.threads = 8, .stop_grace_ns = kLong});
  ThreadPool answers({.name = "answer", .threads = 2});
  Timers timers(system_clock());
  timers.start();
  {
    ShareCalls calls(netfs, pool, answers, timers, system_clock(),
                     {.deadline_ns = 50'000, .slow_ns = 20'000, .queue_limit = 64});
    ThreadPool askers({.name = "ask", .threads = kThreads});
    for (int t = 0; t < kThreads; ++t) {
      post(askers, [&, t] {
        for (int i = 0; i < kCalls; ++i) {
          const auto n = static_cast<std::size_t>(t * kCalls + i);
          calls.call<Attributes>(
              CallKind::kNames, {},
              [](Netfs& share) { return share.stat("f", Freshness::kServer); },
              [&told, n](Result<Attributes>) { ++told[n]; });
          if (t == 0 && i == kCalls / 2) calls.drain();
        }
      });
    }
    askers.stop();
    calls.drain();
    answers.stop();
  }
  timers.stop();
  CHECK(pool.stop() == 0);
  int wrong = 0;
  for (const auto& times : told) wrong += times == 1 ? 0 : 1;
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace larder::netfs
