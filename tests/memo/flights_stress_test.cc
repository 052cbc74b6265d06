// SPDX-License-Identifier: Apache-2.0
// Flights under threads: readers join, other threads land, a writer changes the share and
// invalidates. The promise that is checked: whoever asks after a change was announced is told that
// change or a later one.
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "memo/flights.h"
#include "memo/run_seed.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::memo;
using namespace larder::test;

namespace {

using Versions = Flights<TreeKey, std::uint64_t>;

constexpr std::uint64_t kKeys = 3;

TreeKey key_of(std::uint64_t which) { return TreeKey::of(which, "attributes"); }

// The share's threads: they take tickets, ask the share, keep the answer where they may, and land.
class Landers {
 public:
  struct Job {
    std::uint64_t which;
    Versions::Ticket ticket;
  };
  void put(Job job) {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    changed_.notify_one();
  }
  void end() {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }
  // Nothing when all is done.
  std::optional<Job> take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_ || !jobs_.empty(); });
    if (jobs_.empty()) return std::nullopt;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    return job;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  bool ended_ = false;
};

struct Share {
  std::atomic<std::uint64_t> version{1}, announced{0};
};

}  // namespace

TEST_CASE(
    "whoever asks after a change is told of it, and everyone is told once, under many threads") {
  constexpr int kReaders = 3, kLanders = 2, kReads = 3000, kChanges = 2000;
  SequenceGuard guard;
  Versions flights(guard);
  Landers landers;
  std::vector<Share> shares(kKeys);
  std::atomic<int> told{0}, stale{0}, failed{0}, led{0};

  const auto read = [&](std::uint64_t which) {
    const std::uint64_t least = shares[which].announced;
    auto ticket = flights.join(key_of(which), [&, least](const Result<std::uint64_t>& version) {
      ++told;
      if (!version) {
        ++failed;
      } else if (*version < least) {
        ++stale;
      }
    });
    if (!ticket) return;
    ++led;
    landers.put({which, std::move(*ticket)});
  };
  const auto land = [&](Random& random) {
    while (auto job = landers.take()) {
      if (random.one_in(10)) continue;  // dropped
      const std::uint64_t version = shares[job->which].version;
      flights.land(std::move(job->ticket), version);
    }
  };

  std::vector<std::thread> asking, landing;
  for (std::uint64_t t = 0; t < kReaders; ++t) {
    asking.emplace_back([&, t] {
      Random random(Seed{t + 1});
      for (int i = 0; i < kReads; ++i) read(random.below(kKeys));
    });
  }
  asking.emplace_back([&] {
    Random random(Seed{100});
    for (int i = 0; i < kChanges; ++i) {
      const std::uint64_t which = random.below(kKeys);
      const std::uint64_t version = ++shares[which].version;
      guard.invalidate(random.one_in(2) ? key_of(which) : TreeKey::of(which));
      shares[which].announced = version;
    }
  });
  for (std::uint64_t t = 0; t < kLanders; ++t) {
    landing.emplace_back([&, t] {
      Random random(Seed{t + 200});
      land(random);
    });
  }
  for (std::thread& thread : asking) thread.join();
  landers.end();
  for (std::thread& thread : landing) thread.join();

  CHECK(told == kReaders * kReads);
  CHECK(stale == 0);
  CHECK(failed < told);
  const FlightCounts counts = flights.counts();
  CHECK(counts.begun == static_cast<std::uint64_t>(led));
  CHECK(counts.begun + counts.joined == static_cast<std::uint64_t>(told));
  CHECK(counts.in_flight == 0);
  CHECK(guard.nodes() == 0);
}
