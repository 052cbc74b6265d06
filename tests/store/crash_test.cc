// SPDX-License-Identifier: Apache-2.0
// The crash matrix: a workload is recorded, and the power goes behind each of its writes and
// flushes. Whatever became of the writes that were not flushed yet, the store that is found opens,
// keeps its invariants, serves only what was put there, and has all that was reported durable.
//
// LARDER_SEED repeats a run; LARDER_LONG makes twenty.
#include <cstdio>

#include "model.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kFates = 1;
#else
constexpr int kFates = 3;
#endif
constexpr std::size_t kPoints = 1050;  // of each workload

struct Point {
  larder::test::SimMoment moment;
  Workload::Reported reported;
};

// Runs until there are enough points, and closes the store; closing has points too.
std::vector<Point> record(Rig& rig, Workload& workload) {
  std::vector<Point> points;
  rig.engine->on_operation = [&] { points.push_back({rig.engine->moment(), workload.reported()}); };
  while (points.size() < kPoints) workload.step();
  workload.let_go();
  rig.machine.run_all();
  rig.store->close();
  rig.engine->on_operation = nullptr;
  return points;
}

void power_on(Rig& rig, SimImage image) {
  rig.store.reset();
  rig.engine = std::make_unique<SimEngine>(std::move(image));
  rig.open();
}

struct Sum {
  std::size_t points = 0, images = 0, discarded = 0;
  std::uint64_t pages = 0, syncs = 0;
};

void crash_everywhere(Seed seed, Workload::Pace pace, Sum& sum) {
  CAPTURE(seed.value);
  Options options;
  // Checkpoints of many steps, with commits in between.
  if (pace == Workload::Pace::kEager) options.checkpoint_step = ByteCount{kBlockSize};
  Rig rig(kSmallestStore, options);
  Workload workload(rig, seed, pace);
  const std::vector<Point> points = record(rig, workload);
  Random random(seed);
  for (std::size_t at = 0; at < points.size(); ++at) {
    CAPTURE(at);
    for (int fate = 0; fate < kFates; ++fate) {
      power_on(rig, points[at].moment.crash(random));
      rig.sound();
      workload.read_after_crash(points[at].reported);
      sum.discarded += rig.store->counters().discarded_records.value();
      rig.close();
      ++sum.images;
    }
  }
  sum.points += points.size();
  sum.pages += workload.pages_read();
  sum.syncs += workload.syncs();
}

}  // namespace

TEST_CASE("a crash at every write and flush, and three fates of what was not flushed") {
  Sum sum;
  for (const Seed seed : test_seeds(61, 1, 20)) {
    crash_everywhere(seed, Workload::Pace::kLazy, sum);
    crash_everywhere(Seed{seed.value + 1000}, Workload::Pace::kEager, sum);
  }
  std::printf("crash matrix: %zu points, %zu images, %llu pages read, %llu commits waited for\n",
              sum.points, sum.images, static_cast<unsigned long long>(sum.pages),
              static_cast<unsigned long long>(sum.syncs));
  CHECK(sum.points >= 2000);
  CHECK(sum.images == sum.points * kFates);
  CHECK(sum.discarded == 0);
  CHECK(sum.pages > sum.images);
  CHECK(sum.syncs > 100);
}

namespace {

// One fault of the device, and life goes on.
enum class FaultKind { kShortWrite, kNoRoom, kShortRead, kMisdirected, kDelayed };

void cause(SimEngine& engine, FaultKind kind, Random& random) {
  const std::uint64_t n = 1 + random.below(12);
  switch (kind) {
    case FaultKind::kShortWrite:
      return engine.short_write(n, random.below(16), EIO);
    case FaultKind::kNoRoom:
      return engine.short_write(n, random.below(16), ENOSPC);
    case FaultKind::kShortRead:
      return engine.short_read(n, random.below(16));
    case FaultKind::kMisdirected: {
      const auto blocks = static_cast<std::int64_t>(1 + random.below(64));
      return engine.misdirect(n, blocks * static_cast<std::int64_t>(kBlockSize));
    }
    case FaultKind::kDelayed:
      return engine.hold_writes(ByteOffset{2u << 20});
  }
}

}  // namespace

TEST_CASE("short, misdirected and delayed transfers, again and again: never a wrong byte") {
  const auto kind = GENERATE(FaultKind::kShortWrite, FaultKind::kNoRoom, FaultKind::kShortRead,
                             FaultKind::kMisdirected, FaultKind::kDelayed);
  for (const Seed seed : test_seeds(71, 4, 400)) {
    CAPTURE(static_cast<int>(kind), seed.value);
    Random random(seed);
    Rig rig;
    Workload workload(rig, seed);
    for (int i = 0; i < 240; ++i) {
      if (i % 12 == 0) cause(*rig.engine, kind, random);
      workload.step();
      workload.read_all();
      rig.clock.advance(kSecond);
    }
    workload.let_go();
    rig.kill();
    rig.sound();
    // A device that lies about where it writes loses what it said was durable; a read that failed
    // once has cost its extent.
    const bool keeps = kind != FaultKind::kMisdirected && kind != FaultKind::kShortRead;
    workload.read_after_crash(keeps ? workload.reported() : Workload::Reported{});
  }
}
