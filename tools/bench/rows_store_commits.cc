// SPDX-License-Identifier: Apache-2.0
// `larder-bench store`, commits: N requests at once, each of which waits until what it put is
// durable, against as many commits one after the other.
//
//   interval  0, 50, 100, 200, 500 ms that a lazy request may wait for others (`commit=`); an eager
//             one goes at once and takes along who waits
//   in one    all is put first, then one commit: as good as it can get
//
// The device is the store's file with a flush that takes 2 ms and does nothing else, so that the
// rows say what the scheduler does and not what a disk does; the last row has the disk's own flush.
//
// Each request changes a record: one that changes nothing is durable already, and its commit waits
// for nothing. A yardstick that is faster than its flushes is refused.
#include <fmt/format.h>

#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "bench/rows_store.h"
#include "bench/store_rig.h"

namespace larder::bench {
namespace {

constexpr Nanoseconds kFlushNs = 2 * kMillisecond;
constexpr unsigned kAtOnce = 1000;
constexpr int kOneByOne = 50;  // commits of one round of the yardstick

class SlowFlush final : public IoEngine {
 public:
  explicit SlowFlush(std::unique_ptr<IoEngine> real) : real_(std::move(real)) {}
  void submit(IoRequest& request) override {
    if (request.kind != IoRequest::Kind::kFlush) return real_->submit(request);
    std::this_thread::sleep_for(std::chrono::nanoseconds(kFlushNs));
    request.done(request, {});
  }
  Status read_now(int fd, ByteOffset offset, std::span<std::byte> into, ReadMode mode) override {
    return real_->read_now(fd, offset, into, mode);
  }
  std::string name() const override { return "flush of 2 ms"; }

 private:
  std::unique_ptr<IoEngine> real_;
};

enum class Flush { kSlow, kReal };

SetUp<OpenStore> open(const Plan& plan, Flush flush, Nanoseconds interval_ns) {
  StoreShape shape{ByteCount{64u << 20}};
  shape.options.commit_ns = interval_ns;
  if (flush == Flush::kSlow) {
    shape.wrap = [](std::unique_ptr<IoEngine> real, ByteCount) {
      return std::make_unique<SlowFlush>(std::move(real));
    };
  }
  return OpenStore::open(fmt::format("{}/commit-{}", plan.directory, interval_ns), shape);
}

void put(store::Store& store, unsigned number) {
  static std::atomic<std::uint64_t> changes{0};
  NameRecord record;
  record.file.inode = changes.fetch_add(1) + 1;
  store.put_name(store.root(), fmt::format("name{}", number), record);
}

// Requests each second, all of them begun at one moment.
SetUp<double> at_once(store::Store& store, store::Urgency urgency) {
  std::atomic<unsigned> ready{0}, failed{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> threads;
  for (unsigned number = 0; number < kAtOnce; ++number) {
    threads.emplace_back([&, number] {
      ready.fetch_add(1);
      go.wait(false);
      put(store, number);
      if (!store.sync(urgency)) failed.fetch_add(1);
    });
  }
  while (ready.load() < kAtOnce) std::this_thread::yield();
  const Nanoseconds start_ns = system_clock().mono_ns();
  go.store(true);
  go.notify_all();
  for (std::thread& thread : threads) thread.join();
  const Nanoseconds passed_ns = system_clock().mono_ns() - start_ns;
  if (failed.load() != 0) return complain(ErrorCode::kStoreIo, "a commit failed");
  return kAtOnce * 1e9 / static_cast<double>(passed_ns);
}

SetUp<double> one_by_one(store::Store& store, Flush flush) {
  const std::uint64_t before = store.counters().flushes.value();
  const Nanoseconds start_ns = system_clock().mono_ns();
  for (int number = 0; number < kOneByOne; ++number) {
    put(store, static_cast<unsigned>(number));
    if (!store.sync()) return complain(ErrorCode::kStoreIo, "a commit failed");
  }
  const Nanoseconds passed_ns = system_clock().mono_ns() - start_ns;
  const bool waited = flush == Flush::kReal || passed_ns >= kOneByOne * kFlushNs;
  if (!waited || store.counters().flushes.value() - before < kOneByOne)
    return complain(ErrorCode::kInvalid, "the yardstick did not wait for its flushes");
  return kOneByOne * 1e9 / static_cast<double>(passed_ns);
}

SetUp<double> in_one(store::Store& store) {
  const Nanoseconds start_ns = system_clock().mono_ns();
  for (unsigned number = 0; number < kAtOnce; ++number) put(store, number);
  if (!store.sync()) return complain(ErrorCode::kStoreIo, "a commit failed");
  return kAtOnce * 1e9 / static_cast<double>(system_clock().mono_ns() - start_ns);
}

using Requests = SetUp<double> (*)(store::Store& store);

SetUp<Comparison> against_one_by_one(const Plan& plan, Flush flush, Nanoseconds interval_ns,
                                     Requests requests) {
  TRY(OpenStore opened, open(plan, flush, interval_ns));
  return compare(
      plan.rounds, [&](unsigned) { return requests(opened.store()); },
      [&](unsigned) { return one_by_one(opened.store(), flush); });
}

SetUp<double> eager(store::Store& store) { return at_once(store, store::Urgency::kEager); }
SetUp<double> lazy(store::Store& store) { return at_once(store, store::Urgency::kLazy); }

}  // namespace

SetUp<Outcome> measure_store_commits(const Plan& plan) {
  Outcome outcome;
  const auto add = [&](const std::string& name, Flush flush, Nanoseconds interval_ns,
                       Requests requests) -> SetUp<double> {
    TRY(const Comparison rates, against_one_by_one(plan, flush, interval_ns, requests));
    outcome.rows.push_back({name, "/s", "one commit each", 1, rates, {}});
    return rates.ratio.median;
  };
  for (const int ms : {0, 50, 100, 200, 500}) {
    TRY(const double ratio,
        add(fmt::format("commit {} eager", ms), Flush::kSlow, ms * kMillisecond, eager));
    if (ms == 500) outcome.marks.push_back({"commit_1000_eager", ratio, Mark::Bound::kAtLeast, 20});
    TRY_OK(add(fmt::format("commit {} lazy", ms), Flush::kSlow, ms * kMillisecond, lazy));
  }
  TRY_OK(add("commit in one", Flush::kSlow, 500 * kMillisecond, in_one));
  TRY_OK(add("commit disk eager", Flush::kReal, 500 * kMillisecond, eager));
  return outcome;
}

}  // namespace larder::bench
