// SPDX-License-Identifier: Apache-2.0
// Random operations against the naive model, and crashes at every point of them.
#include "model.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {

// Checkpoints of many steps, with commits in between.
Options small_steps() {
  Options options;
  options.checkpoint_step = ByteCount{kBlockSize};
  return options;
}

void agrees_with_the_model(Seed seed) {
  CAPTURE(seed.value);
  Rig rig;
  Workload workload(rig, seed);
  for (int round = 0; round < 6; ++round) {
    for (int i = 0; i < 150; ++i) {
      workload.step();
      if (i % 10 == 9) workload.read_all();
    }
    REQUIRE(rig.store->sync());
    rig.sound();
    workload.end_all_sessions();
    workload.let_go();
    if (round % 2 == 0) {
      rig.reopen();
    } else {
      REQUIRE(rig.store->sync());
      rig.kill();
    }
    workload.reopened();
    workload.read_all();
    rig.sound();
  }
  CHECK(rig.store->counters().sum_errors.value() == 0);
}

}  // namespace

TEST_CASE("random operations agree with the model, also after closing and opening") {
  for (const Seed seed : test_seeds(1, 3, 3000)) agrees_with_the_model(seed);
}

namespace {

// Runs until the power goes at operation `stop` (false: it never got there), and a while behind it.
bool run_until_crash(Rig& rig, Workload& workload, std::uint64_t stop, int steps) {
  const std::uint64_t before = rig.engine->operations();
  rig.engine->stop_at(stop);
  for (int i = 0; i < steps; ++i) workload.step();
  workload.let_go();
  rig.machine.run_all();
  rig.store->close();
  return rig.engine->operations() - before >= stop;
}

void power_on(Rig& rig, SimImage image) {
  rig.store.reset();
  rig.engine = std::make_unique<SimEngine>(std::move(image));
  rig.open();
}

// Life goes on behind what a crash left, and ends in another one.
void crash_again(Rig& rig, Workload& before, Random& random) {
  before.clear_store();
  if (!rig.store->sync()) return;
  Workload workload(rig, Seed{random.next()}, Workload::Pace::kEager);
  run_until_crash(rig, workload, 1 + random.below(60), 60);
  power_on(rig, rig.engine->crash(random));
  rig.sound();
  workload.read_after_crash();
}

}  // namespace

TEST_CASE("a crash at any write or flush forgets at most what was not synced, and mixes nothing") {
  const Seed seed = test_seed(GENERATE(11u, 12u));
  const auto pace = GENERATE(Workload::Pace::kLazy, Workload::Pace::kEager);
  CAPTURE(seed.value);
  Random random(seed);
  bool reached = true;
  std::uint64_t checkpoints = 0;
  std::uint64_t stop = 1;
  for (; reached; ++stop) {
    CAPTURE(stop);
    Rig rig(kSmallestStore, pace == Workload::Pace::kEager ? small_steps() : Options());
    Workload workload(rig, seed, pace);
    reached = run_until_crash(rig, workload, stop, 160);
    checkpoints = std::max(checkpoints, rig.store->counters().checkpoints.value());
    // The same moment, and what the device made of it three times.
    std::vector<SimImage> images;
    for (int i = 0; i < 3; ++i) images.push_back(rig.engine->crash(random));
    for (SimImage& image : images) {
      power_on(rig, std::move(image));
      rig.sound();
      workload.read_after_crash();
      rig.close();
    }
    if (stop % 4 != 0) continue;
    rig.open();
    crash_again(rig, workload, random);
  }
  // The last of them is the one at closing.
  CHECK(checkpoints >= (pace == Workload::Pace::kEager ? 2 : 1));
  CHECK(stop > 50);
}

TEST_CASE("any write or flush may fail once: what is read is right, and opening anew mends all") {
  const Seed seed = test_seed(21);
  CAPTURE(seed.value);
  const int sys_errno = GENERATE(EIO, ENOSPC);
  bool reached = true;
  for (std::uint64_t n = 1; reached; ++n) {
    CAPTURE(n, sys_errno);
    Rig rig;
    Workload workload(rig, seed);
    const std::uint64_t before = rig.engine->operations();
    rig.engine->fail_operation(n, sys_errno);
    for (int i = 0; i < 80; ++i) workload.step();
    reached = rig.engine->operations() - before >= n;
    workload.read_all();
    if (rig.store->state() == State::kOpen) rig.sound();
    workload.let_go();
    rig.kill();
    CHECK(rig.store->state() == State::kOpen);
    rig.sound();
    workload.read_after_crash();
  }
}

TEST_CASE("any read may fail once: it is a miss") {
  const Seed seed = test_seed(31);
  CAPTURE(seed.value);
  Rig rig;
  Workload workload(rig, seed);
  for (int i = 0; i < 100; ++i) {
    workload.step();
    rig.engine->fail_read(1 + static_cast<std::uint64_t>(i % 7), EIO);
    workload.read_all();
  }
  CHECK(rig.store->counters().read_errors.value() > 0);
  CHECK(rig.store->counters().sum_errors.value() == 0);
  rig.sound();
}

TEST_CASE("after a failed flush nothing is read or kept, and closing writes nothing") {
  Rig rig;
  const ObjectRef file = rig.make("file", ByteCount{1u << 20});
  REQUIRE(rig.fill(file, 0, 16, 1));
  REQUIRE(rig.store->sync());
  REQUIRE(rig.fill(file, 16, 16, 1));
  rig.engine->fail_operation(2, EIO);
  CHECK(rig.store->sync().error().code == ErrorCode::kStoreIo);
  CHECK(rig.store->state() == State::kBypass);
  CHECK(rig.good(file, 0, 16, 1) == 0);
  CHECK(rig.fill(file, 32, 1, 1).error().code == ErrorCode::kStoreIo);
  CHECK(rig.store->find(rig.store->root(), bytes("file")).error().code == ErrorCode::kStoreIo);
  CHECK(rig.store->to_text().find("bypass") != std::string::npos);
  const auto operations = rig.engine->operations();
  rig.kill();
  CHECK(rig.engine->operations() != operations);
  CHECK(rig.good(rig.find("file"), 0, 16, 1) == 16);
}
