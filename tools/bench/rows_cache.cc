// SPDX-License-Identifier: Apache-2.0
// `larder-bench cache`: what the cache floor itself costs, without a device and without a kernel.
// One thread, a store that keeps nothing, queues that the thread runs itself.
//
//   submit   a MYTHREAD shareable operation on an active object, from submit to completion. Its
//            yardstick is the least that could count, time and guard it: two clock readings and
//            three uncontended mutexes, each locked and unlocked.
//   objects  a data cookie is acquired, its object looked up, created and made available, and both
//            are let go. Its yardstick is an entry of the same key put into a std::map and erased.
//   memory   what the allocator has given for cookies that are idle, each with its object, beyond
//            their keys.
#include <larder/backend.h>
#include <larder/cookie.h>

#include <fmt/format.h>
#include <malloc.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bench/allocations.h"
#include "bench/rows.h"

namespace larder::bench {
namespace {

class OwnQueue final : public WorkQueue {
 public:
  void post(larder::Work& work) override { waiting_.push_back(&work); }
  void run_all() {
    while (!waiting_.empty()) {
      larder::Work* const work = waiting_.front();
      waiting_.pop_front();
      work->run(*work);
    }
  }

 private:
  std::deque<larder::Work*> waiting_;
};

// Finds nothing, takes everything.
class EmptyBackend final : public cache::Backend {
 public:
  store::ObjectRef root() override { return nullptr; }
  Result<store::ObjectRef> find(const store::ObjectRef&, cache::Bytes) override {
    return fail(ErrorCode::kNotFound);
  }
  ObjectRecord record(const store::ObjectRef&) override { return {}; }
  Result<store::ObjectRef> create(const store::ObjectRef&, ObjectType, cache::Bytes, cache::Bytes,
                                  ByteCount) override {
    return store::ObjectRef();
  }
  void update(const store::ObjectRef&, cache::Bytes, ByteCount) override {}
  void invalidate(const store::ObjectRef&, cache::Bytes, ByteCount) override {}
  Status attr_changed(const store::ObjectRef&, ByteCount) override { return {}; }
  void retire(const store::ObjectRef&) override {}
  Status rename(const store::ObjectRef&, const store::ObjectRef&, cache::Bytes) override {
    return {};
  }
  Pages pages() const override { return {}; }
  store::Store* store() override { return nullptr; }
};

struct Floor {
  Floor() : fs(machine, answer, system_clock(), {}) {
    check(fs.add_backend(std::make_unique<EmptyBackend>()).has_value(), "the only cache");
    static const cache::CookieDefinition definition{"bench.share", ObjectType::kIndex, nullptr};
    const std::string_view key = "share";
    share = fs.acquire(*fs.register_netfs("bench", 1), definition, std::as_bytes(std::span(key)),
                       {}, ByteCount{0}, nullptr, 1);
  }
  ~Floor() {
    machine.run_all();
    fs.withdraw();
    machine.run_all();
    answer.run_all();
  }
  cache::CookieRef acquire(std::uint64_t number) {
    static const cache::CookieDefinition definition{"bench.file", ObjectType::kData, nullptr};
    return fs.acquire(share, definition, std::as_bytes(std::span(&number, 1)), {}, ByteCount{1},
                      nullptr, number);
  }

  OwnQueue machine, answer;
  cache::FsCache fs;
  cache::CookieRef share;
};

// Times of one in `seconds`, by rounds of `batch`.
template <class Once>
double rate_of(double seconds, unsigned batch, Once once) {
  const Nanoseconds start_ns = system_clock().mono_ns();
  const auto length_ns = static_cast<Nanoseconds>(seconds * 1e9);
  std::uint64_t done = 0;
  Nanoseconds passed_ns = 0;
  while (passed_ns < length_ns) {
    for (unsigned i = 0; i < batch; ++i) once(done + i);
    done += batch;
    passed_ns = system_clock().mono_ns() - start_ns;
  }
  return static_cast<double>(done) * 1e9 / static_cast<double>(passed_ns);
}

std::uint64_t allocated() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

double submits(Floor& floor, const cache::CookieRef& file, double seconds) {
  return rate_of(seconds, 1000, [&](std::uint64_t) {
    cache::Operation operation;
    operation.kind = cache::OperationKind::kRead;
    check(floor.fs.submit(file, operation) == cache::Submitted::kNow, "it is up and idle");
    floor.fs.complete(operation);
  });
}

double guarded_clocks(double seconds) {
  std::array<pthread_mutex_t, 3> mutexes;
  for (pthread_mutex_t& mutex : mutexes) pthread_mutex_init(&mutex, nullptr);
  std::atomic<std::uint64_t> sum{0};
  return rate_of(seconds, 1000, [&](std::uint64_t) {
    for (pthread_mutex_t& mutex : mutexes) {
      pthread_mutex_lock(&mutex);
      sum.store(sum.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      pthread_mutex_unlock(&mutex);
    }
    const auto now = system_clock().mono_ns() + system_clock().mono_ns();
    sum.store(static_cast<std::uint64_t>(now), std::memory_order_relaxed);
  });
}

double lives(Floor& floor, double seconds) {
  return rate_of(seconds, 100, [&](std::uint64_t number) {
    cache::CookieRef file = floor.acquire(number);
    floor.machine.run_all();
    floor.fs.relinquish(std::move(file), cache::Retire::kNo);
    floor.machine.run_all();
  });
}

double map_entries(double seconds) {
  std::map<std::uint64_t, std::string> map;
  return rate_of(seconds, 100, [&](std::uint64_t number) {
    map.emplace(number, std::string(40, 'x'));
    map.erase(number);
  });
}

// Bytes for each of `count` idle cookies and its object.
double bytes_of_idle(std::uint64_t count) {
  Floor floor;
  std::vector<cache::CookieRef> files;
  files.reserve(count);
  floor.acquire(count);  // what there is one of
  floor.machine.run_all();
  const std::uint64_t before = allocated();
  for (std::uint64_t i = 0; i < count; ++i) {
    files.push_back(floor.acquire(i));
    if (i % 1024 == 0) floor.machine.run_all();
  }
  floor.machine.run_all();
  const std::uint64_t after = allocated();
  for (cache::CookieRef& file : files) floor.fs.relinquish(std::move(file), cache::Retire::kNo);
  // A key of 8 bytes and its length lie in a block of 24.
  return static_cast<double>(after - before) / static_cast<double>(count) - 8;
}

}  // namespace

SetUp<Outcome> measure_cache(const Plan& plan) {
  Floor floor;
  const cache::CookieRef file = floor.acquire(~0ull);
  floor.machine.run_all();
  const double seconds = plan.seconds / 4;
  TRY(const Comparison submit,
      compare(
          plan.rounds, [&](unsigned) -> SetUp<double> { return submits(floor, file, seconds); },
          [&](unsigned) -> SetUp<double> { return guarded_clocks(seconds); }));
  const Allocations allocations;
  submits(floor, file, seconds);
  const std::uint64_t asked = allocations.count();
  TRY(const Comparison objects,
      compare(
          plan.rounds, [&](unsigned) -> SetUp<double> { return lives(floor, seconds); },
          [&](unsigned) -> SetUp<double> { return map_entries(seconds); }));
  Outcome outcome;
  outcome.rows = {{"submit", "M/s", "clocks, mutexes", 1e6, submit, {}},
                  {"objects", "k/s", "map entries", 1e3, objects, {}}};
  outcome.marks = {
      {"submit_to_completion_ns", 1e9 / submit.larder.median, Mark::Bound::kAtMost, 200},
      {"submit_allocations", static_cast<double>(asked), Mark::Bound::kAtMost, 0},
      {"objects_per_second", objects.larder.median, Mark::Bound::kAtLeast, 100'000},
      {"idle_cookie_and_object_bytes", bytes_of_idle(1'000'000), Mark::Bound::kAtMost, 256}};
  floor.fs.relinquish(file, cache::Retire::kNo);
  return outcome;
}

}  // namespace larder::bench
