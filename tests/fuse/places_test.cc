// SPDX-License-Identifier: Apache-2.0
#include "places.h"

#include <atomic>
#include <thread>
#include <vector>

#include "support/catch.h"

using namespace larder::fuse;

TEST_CASE("who has a place keeps it, and one that is left is another's") {
  Places places(1);
  Places::Held first;
  CHECK(first.enter(places));
  CHECK(first.enter(places));
  std::atomic<bool> entered{false};
  std::thread other([&] {
    Places::Held second;
    entered.store(second.enter(places));
  });
  CHECK_FALSE(entered.load());
  first.leave();
  first.leave();
  other.join();
  CHECK(entered.load());
  CHECK(first.enter(places));
}

TEST_CASE("never more hold a place than there are, and each comes in in the end") {
  Places places(2);
  std::atomic<int> inside{0}, most{0}, turns{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      Places::Held mine;
      for (int turn = 0; turn < 200; ++turn) {
        if (!mine.enter(places)) return;
        const int now = inside.fetch_add(1) + 1;
        for (int before = most.load(); before < now && !most.compare_exchange_weak(before, now);) {
        }
        inside.fetch_sub(1);
        mine.leave();
        turns.fetch_add(1);
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(turns.load() == 8 * 200);
  CHECK(most.load() <= 2);
}

TEST_CASE("the last who reads does not leave") {
  Places places(1);
  Places::Held first;
  CHECK_FALSE(first.leave_to_another());
  CHECK(first.enter(places));
  CHECK_FALSE(first.leave_to_another());
  std::atomic<bool> entered{false};
  std::thread other([&] {
    Places::Held second;
    entered.store(second.enter(places));
  });
  while (!first.leave_to_another()) std::this_thread::yield();  // until the other waits
  CHECK_FALSE(first.leave_to_another());
  other.join();
  CHECK(entered.load());
  CHECK(first.enter(places));
}

TEST_CASE("behind the end nobody gets a place, and who waits for one is told") {
  Places places(1);
  Places::Held first;
  CHECK(first.enter(places));
  std::atomic<bool> entered{true};
  std::thread other([&] {
    Places::Held second;
    entered.store(second.enter(places));
  });
  places.close();
  other.join();
  CHECK_FALSE(entered.load());
  first.leave();
  CHECK_FALSE(first.enter(places));
}
