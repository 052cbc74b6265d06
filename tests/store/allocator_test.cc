// SPDX-License-Identifier: Apache-2.0
// The allocator against a naive model: one letter for each block.
#include "store/allocator.h"

#include <larder/result.h>

#include <string>

#include "base/random.h"
#include "rig.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {

ExtentRef extent_of(BlockRun run) {
  ExtentRef extent(new Extent);
  extent->block = run.block;
  extent->range = {PageIndex{0}, PageCount{run.count}};
  return extent;
}

Dead dead(BlockRun run) { return {extent_of(run), run.block, run.count}; }

// '.' free, 'x' taken, 'w' waiting, 'q' quarantined
std::string picture(const Allocator& allocator, std::uint64_t blocks) {
  std::string all(blocks, 'x');
  for (const BlockRun& run : allocator.waiting_runs())
    all.replace(run.block, run.count, run.count, 'w');
  for (const BlockRun& run : allocator.free_runs())
    all.replace(run.block, run.count, run.count, '.');
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
  const auto nine = allocator.allocate(9, 256);
  REQUIRE(nine);
  CHECK(nine->at(0) == BlockRun{0, 9});
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
  const Dead first = dead({0, 16}), second = dead({16, 16});
  allocator.release_after({first}, 5);
  allocator.release_after({second}, 6);
  CHECK_FALSE(allocator.sweep(4));
  CHECK(allocator.totals().free == 0);
  CHECK_FALSE(allocator.sweep(5));
  CHECK(allocator.totals().free == 16);
  second.extent->pins = 1;
  CHECK_FALSE(allocator.sweep(9));
  CHECK(allocator.totals().waiting == 16);
  second.extent->pins = 0;
  CHECK(allocator.sweep(9));
  CHECK(allocator.totals().free == 32);
  CHECK(allocator.free_runs() == std::vector<BlockRun>{{0, 32}});
}

TEST_CASE("a piece waits for the reads of the whole that it was cut from") {
  Allocator allocator(64);
  REQUIRE(allocator.claim({0, 32}));
  const Dead whole = dead({0, 16}), piece = dead({16, 16});
  piece.extent->parent = whole.extent;
  whole.extent->pins = 1;
  allocator.release_after({piece}, 0);
  CHECK_FALSE(allocator.sweep(0));
  whole.extent->pins = 0;
  CHECK(allocator.sweep(0));
}

TEST_CASE("random allocations and releases agree with a picture of the blocks") {
  const Seed seed = test_seed(GENERATE(51u, 52u, 53u));
  CAPTURE(seed.value);
  constexpr std::uint64_t kBlocks = 2000;
  Random random(seed);
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
        allocator.release_after({dead(run)}, ++number);
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
      CHECK(allocator.sweep(durable) == waiting.empty());
    }
    if (i % 50 == 0) REQUIRE(picture(allocator, kBlocks) == model);
    // Neighbours are merged: no two free runs touch.
    const auto free = allocator.free_runs();
    for (std::size_t k = 1; i % 50 == 0 && k < free.size(); ++k) {
      REQUIRE(free[k - 1].block + free[k - 1].count < free[k].block);
    }
  }
}
