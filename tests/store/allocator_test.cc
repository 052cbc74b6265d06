// SPDX-License-Identifier: Apache-2.0
// The allocator against a naive model: one letter for each block.
#include "store/allocator.h"

#include <larder/result.h>

#include <algorithm>
#include <string>

#include "base/random.h"
#include "rig.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {

// '.' free, 'x' taken, 'w' waiting, 'q' quarantined
std::string picture(const Allocator& allocator, std::uint64_t blocks) {
  std::string all(blocks, 'x');
  const Allocator::Runs runs = allocator.runs();
  for (const BlockRun& run : runs.waiting) all.replace(run.block, run.count, run.count, 'w');
  for (const BlockRun& run : runs.free) all.replace(run.block, run.count, run.count, '.');
  return all;
}

}  // namespace

TEST_CASE("the best fit is the smallest run that is large enough, then the first") {
  Allocator allocator(100);
  REQUIRE(allocator.claim({10, 1}));
  REQUIRE(allocator.claim({15, 1}));
  REQUIRE(allocator.claim({20, 1}));
  // Free: 0-9, 11-14, 16-19, 21-99.
  const auto four = allocator.allocate(4, 256);
  REQUIRE(four);
  CHECK(four->at(0) == BlockRun{11, 4});
  const auto three = allocator.allocate(3, 256);
  REQUIRE(three);
  CHECK(three->at(0) == BlockRun{16, 3});
  const auto seven = allocator.allocate(7, 256);
  REQUIRE(seven);
  CHECK(seven->at(0) == BlockRun{0, 7});
}

TEST_CASE("a claim of what is not all free is refused and changes nothing") {
  Allocator allocator(64);
  REQUIRE(allocator.claim({8, 8}));
  CHECK_FALSE(allocator.claim({15, 2}));
  CHECK_FALSE(allocator.claim({0, 0}));
  CHECK_FALSE(allocator.claim({60, 5}));
  CHECK_FALSE(allocator.claim({~std::uint64_t{0} - 1, 4}));
  CHECK(picture(allocator, 64) == std::string(8, '.') + std::string(8, 'x') + std::string(48, '.'));
}

TEST_CASE("a fill is not torn into more than a run for each 64 KiB and one") {
  Allocator allocator(512);
  // Free runs of 4 blocks each.
  for (std::uint64_t at = 4; at < 512; at += 8) REQUIRE(allocator.claim({at, 4}));
  CHECK_FALSE(allocator.allocate(16, 256));
  CHECK(allocator.totals().free == 256);
  const auto small = allocator.allocate(8, 256);
  REQUIRE(small);
  CHECK(small->size() == 2);
}

TEST_CASE("runs are cut to whole 64 KiB but for the last, and to the longest") {
  Allocator allocator(1000);
  const auto all = allocator.allocate(600, 256);
  REQUIRE(all);
  REQUIRE(all->size() == 3);
  CHECK(all->at(0).count == 256);
  CHECK(all->at(2).count == 88);
  Allocator torn(300);
  REQUIRE(torn.claim({100, 1}));
  REQUIRE(torn.claim({200, 1}));
  const auto runs = torn.allocate(256, 256);
  REQUIRE(runs);
  for (std::size_t i = 0; i + 1 < runs->size(); ++i)
    CHECK(runs->at(i).count % Allocator::kGrain == 0);
}

TEST_CASE("a block waits until its record is durable and nobody reads it (invariant 3)") {
  Allocator allocator(64);
  REQUIRE(allocator.claim({0, 64}));
  Pins pins;
  const Pins::Pin read = pins.pin({20, 2}, 1);
  allocator.release_after({{0, 16}}, 5);
  allocator.release_after({{16, 16}}, 6);
  CHECK_FALSE(allocator.sweep(4, pins));
  CHECK(allocator.totals().free == 0);
  CHECK_FALSE(allocator.sweep(5, pins));
  CHECK(allocator.totals().free == 16);
  CHECK_FALSE(allocator.sweep(9, pins));
  CHECK(allocator.totals().waiting == 16);
  pins.unpin(read);
  CHECK(allocator.sweep(9, pins));
  CHECK(allocator.totals().free == 32);
  CHECK(allocator.runs().free == std::vector<BlockRun>{{0, 32}});
}

TEST_CASE("pins overlap what they share a block with, and no more") {
  Pins pins;
  const Nanoseconds kLate = 9, kEarly = 4;
  const Pins::Pin one = pins.pin({100, 256}, kLate);
  const Pins::Pin two = pins.pin({300, 10}, kEarly);
  CHECK(pins.oldest_ns() == kEarly);
  const auto pinned = pins.pinned();
  CHECK(overlaps(pinned, {90, 11}));
  CHECK_FALSE(overlaps(pinned, {90, 10}));
  CHECK(overlaps(pinned, {355, 1}));
  CHECK_FALSE(overlaps(pinned, {356, 4}));
  CHECK(overlaps(pinned, {0, 1000}));
  pins.unpin(one);
  pins.unpin(two);
  CHECK(pins.pinned().empty());
  CHECK(pins.oldest_ns() == 0);
}

TEST_CASE("a need below 64 KiB does not leave a crumb where another run would do") {
  Allocator allocator(100);
  REQUIRE(allocator.claim({5, 1}));
  REQUIRE(allocator.claim({15, 1}));
  REQUIRE(allocator.claim({36, 64}));
  // Free: 0-4, 6-14, 16-35. Four of five blocks would leave one.
  const auto four = allocator.allocate(4, 256);
  REQUIRE(four);
  CHECK(four->at(0) == BlockRun{6, 4});
  // Where nothing else fits, it is split all the same.
  REQUIRE(allocator.claim({10, 5}));
  REQUIRE(allocator.claim({16, 20}));
  const auto last = allocator.allocate(4, 256);
  REQUIRE(last);
  CHECK(last->at(0) == BlockRun{0, 4});
}

TEST_CASE("many runs at once: what is not in use is free") {
  const Seed seed = test_seed(GENERATE(61u, 62u));
  CAPTURE(seed.value);
  constexpr std::uint64_t kBlocks = 1000;
  Random random(seed);
  BlockSet used(kBlocks);
  std::string model(kBlocks, '.');
  for (int i = 0; i < 60; ++i) {
    const BlockRun run{random.below(kBlocks + 20), random.below(90)};
    const bool free =
        run.count != 0 && run.end() <= kBlocks && model.find('x', run.block) >= run.end();
    CHECK(used.add(run) == free);
    if (free) model.replace(run.block, run.count, run.count, 'x');
  }
  Allocator allocator(kBlocks);
  allocator.free_all_but(used);
  CHECK(picture(allocator, kBlocks) == model);
  CHECK(allocator.totals().free ==
        static_cast<std::uint64_t>(std::count(model.begin(), model.end(), '.')));
}

namespace {

void agrees_with_a_picture(Seed seed) {
  CAPTURE(seed.value);
  constexpr std::uint64_t kBlocks = 2000;
  Random random(seed);
  Pins pins;
  Allocator allocator(kBlocks);
  std::string model(kBlocks, '.');
  std::vector<BlockRun> held;
  std::vector<std::pair<BlockRun, std::uint64_t>> waiting;
  std::uint64_t number = 0;
  for (int i = 0; i < 3000; ++i) {
    if (random.one_in(2)) {
      const std::uint64_t want = 1 + random.below(random.one_in(4) ? 400 : 40);
      const auto runs = allocator.allocate(want, 256);
      std::uint64_t got = 0;
      for (const BlockRun& run : runs.value_or(std::vector<BlockRun>{})) {
        CHECK(model.substr(run.block, run.count) == std::string(run.count, '.'));
        CHECK(run.count <= 256);
        model.replace(run.block, run.count, run.count, 'x');
        held.push_back(run);
        got += run.count;
      }
      CHECK(got == (runs ? want : 0));
    } else if (!held.empty()) {
      const std::size_t at = random.below(held.size());
      const BlockRun run = held[at];
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(at));
      if (random.one_in(3)) {
        allocator.release(run);
        model.replace(run.block, run.count, run.count, '.');
      } else {
        allocator.release_after({run}, ++number);
        waiting.emplace_back(run, number);
        model.replace(run.block, run.count, run.count, 'w');
      }
    }
    if (random.one_in(10)) {
      const std::uint64_t durable = number == 0 ? 0 : random.below(number + 1);
      for (const auto& [run, needs] : waiting) {
        if (needs <= durable) model.replace(run.block, run.count, run.count, '.');
      }
      std::erase_if(waiting, [&](const auto& one) { return one.second <= durable; });
      CHECK(allocator.sweep(durable, pins) == waiting.empty());
    }
    if (i % 50 == 0) REQUIRE(picture(allocator, kBlocks) == model);
    // Neighbours are merged: no two free runs touch.
    const auto free = allocator.runs().free;
    for (std::size_t k = 1; i % 50 == 0 && k < free.size(); ++k) {
      REQUIRE(free[k - 1].block + free[k - 1].count < free[k].block);
    }
  }
}

}  // namespace

TEST_CASE("random allocations and releases agree with a picture of the blocks") {
  for (const Seed seed : test_seeds(51, 5, 3000)) agrees_with_a_picture(seed);
}
