// SPDX-License-Identifier: Apache-2.0
#include "io/thread_pool.h"

#include <signal.h>
#include <sys/prctl.h>

#include <atomic>
#include <deque>
#include <latch>
#include <set>
#include <thread>

#include "io/scratch.h"

using namespace larder;
using namespace larder::test;

namespace {

struct Counted : Work {
  Counted(std::atomic<int>& c, WorkQueue* q, int n) : counter(&c), queue(q), again(n) {
    run = [](Work& self) {
      Counted& counted = static_cast<Counted&>(self);
      ++counted.runs;
      counted.counter->fetch_add(1);
      // A Work may be posted again as soon as it runs.
      if (counted.again-- > 0) counted.queue->post(counted);
    };
  }
  std::atomic<int>* counter;
  WorkQueue* queue;
  int again;
  int runs = 0;
};

}  // namespace

TEST_CASE("a pool runs everything once, however many threads post") {
  constexpr int kThreads = 4, kEach = 2000, kAgain = 3;
  std::atomic<int> ran{0};
  std::deque<Counted> work;
  {
    ThreadPool pool({.name = "stress", .threads = 3});
    for (int i = 0; i < kThreads * kEach; ++i) work.emplace_back(ran, &pool, kAgain);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kEach; ++i) pool.post(work[static_cast<std::size_t>(t * kEach + i)]);
      });
    }
    for (std::thread& thread : threads) thread.join();
    // What still waits, and what that posts again, runs before stop() returns.
    pool.stop();
    CHECK(ran == kThreads * kEach * (kAgain + 1));
    CHECK(pool.waiting() == 0);
    CHECK(pool.running() == 0);
    pool.stop();
  }
  for (const Counted& counted : work) REQUIRE(counted.runs == kAgain + 1);
}

TEST_CASE("one thread runs its work in the order of posting") {
  std::vector<int> order;
  ThreadPool pool({.name = "order", .threads = 1});
  for (int i = 0; i < 500; ++i) post(pool, [&order, i] { order.push_back(i); });
  pool.stop();
  REQUIRE(order.size() == 500);
  CHECK(std::is_sorted(order.begin(), order.end()));
}

TEST_CASE("work never runs inside post, even if a thread of the pool posts it") {
  ThreadPool pool({.name = "later", .threads = 1});
  bool inside = false, ran_inside = false;
  post(pool, [&] {
    inside = true;
    post(pool, [&] { ran_inside = inside; });
    inside = false;
  });
  pool.stop();
  CHECK_FALSE(ran_inside);
}

TEST_CASE("all threads of a pool work at once, named, with signals blocked") {
  constexpr unsigned kThreads = 5;
  ThreadPool pool({.name = "a-rather-long-name", .threads = kThreads});
  std::latch together(kThreads + 1), seen(kThreads + 1);
  std::mutex mutex;
  std::set<std::string> names;
  int signals_open = 0;
  for (unsigned i = 0; i < kThreads; ++i) {
    post(pool, [&] {
      together.arrive_and_wait();  // ends only if each has a thread of its own
      char name[17] = {};
      ::prctl(PR_GET_NAME, name);
      sigset_t blocked;
      ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
      const std::lock_guard lock(mutex);
      names.insert(name);
      for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGUSR1}) {
        if (::sigismember(&blocked, signal) != 1) ++signals_open;
      }
      seen.count_down();
    });
  }
  together.arrive_and_wait();
  seen.arrive_and_wait();
  pool.stop();
  CHECK(names == std::set<std::string>{"a-rather-long-n"});
  CHECK(signals_open == 0);
  sigset_t mine;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mine);
  CHECK(::sigismember(&mine, SIGTERM) == 0);
}

TEST_CASE("a pool tells what waits and what runs") {
  ThreadPool pool({.name = "gauge", .threads = 1});
  std::latch begun(1), go_on(1);
  post(pool, [&] {
    begun.count_down();
    go_on.wait();
  });
  begun.wait();
  post(pool, [] {});
  post(pool, [] {});
  CHECK(pool.running() == 1);
  CHECK(pool.waiting() == 2);
  go_on.count_down();
  pool.stop();
  CHECK(pool.waiting() == 0);
}
