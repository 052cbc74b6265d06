// SPDX-License-Identifier: Apache-2.0
// The table of sums by itself: how its homes move, and what becomes of what cannot be read.
#include "store/sum_table.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "base/crc32c.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::store;

namespace {

std::uint32_t sum_of(const SumTable::Sums& sums) { return crc32c(std::as_bytes(std::span{sums})); }

}  // namespace

// A walk from each chunk to the next one that has changed would be 1.8e11 steps here, and no commit
// goes on meanwhile: this test would not end before its time is over.
TEST_CASE("homes that move are looked at once each, however many are cold") {
  constexpr std::uint64_t kChunks = 600'000;  // the sums of 2.3 TiB
  SumTable table(kChunks * SumTable::kChunk);
  SumTable::Sums at_home;
  at_home.fill(7);
  std::uint64_t reads = 0;
  table.set_source({0, kChunks}, [&](std::uint64_t, SumTable::Sums& into) {
    ++reads;
    into = at_home;
    return Status{};
  });
  const SumTable::Home home{sum_of(at_home), 1};
  for (std::uint64_t chunk = 0; chunk < kChunks; ++chunk) table.set_home(chunk, home);
  table.set((kChunks - 1) * SumTable::kChunk, std::array<std::uint32_t, 1>{9});

  table.begin_move({1u << 20, kChunks});
  std::vector<SumTable::Written> written;
  SumTable::Sums sums;
  for (std::uint64_t chunk = 0; chunk < kChunks; ++chunk) {
    const auto one = table.begin_copy(chunk, sums);
    if (one) written.push_back(*one);
  }
  table.settle(written);
  table.end_move(true);
  CHECK(written.size() == kChunks);
  CHECK(reads == kChunks);
  CHECK(table.lost() == 0);
  CHECK(table.next_dirty(0) == kChunks);
  CHECK(table.home(0).sum == home.sum);
  CHECK(table.home(kChunks - 1).sum != home.sum);
  CHECK(sums[0] == 9);
  CHECK(sums[1] == 7);
}
