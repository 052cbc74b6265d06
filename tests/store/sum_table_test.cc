// SPDX-License-Identifier: Apache-2.0
// The table of sums by itself: how its homes move, and what becomes of what cannot be read.
#include "store/sum_table.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "base/crc32c.h"
#include "store/format.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::store;

namespace {

std::uint32_t sum_of(const SumTable::Sums& sums) { return crc32c(std::as_bytes(std::span{sums})); }

// Three chunks, all at home, where some cannot be read.
struct Homes {
  SumTable table{3 * SumTable::kChunk};
  std::array<bool, 3> bad{};
  SumTable::Sums at_home{};

  Homes() {
    at_home.fill(7);
    table.set_source({0, 3}, [this](std::uint64_t at, SumTable::Sums& into) -> Status {
      if (bad.at(at / kBlockSize % 3)) return fail(ErrorCode::kStoreIo, EIO);
      into = at_home;
      return {};
    });
    for (std::uint64_t chunk = 0; chunk < 3; ++chunk) table.set_home(chunk, {sum_of(at_home), 1});
  }
  std::uint32_t sum(std::uint64_t chunk, std::uint64_t at) {
    std::array<std::uint32_t, 1> one{};
    REQUIRE(table.get(chunk * SumTable::kChunk + at, one));
    return one[0];
  }
  void change(std::uint64_t chunk) {
    table.set(chunk * SumTable::kChunk, std::array<std::uint32_t, 1>{9});
  }
};

}  // namespace

TEST_CASE("sums that could not be read are read again when they are asked for again") {
  Homes homes;
  homes.bad[1] = true;
  std::array<std::uint32_t, 2> sums{};
  const auto failed = homes.table.get(2 * SumTable::kChunk - 1, sums);
  REQUIRE_FALSE(failed);
  CHECK(failed.error().sys_errno == EIO);
  CHECK(homes.table.lost() == 0);
  homes.bad[1] = false;
  REQUIRE(homes.table.get(2 * SumTable::kChunk - 1, sums));
  CHECK(sums == std::array<std::uint32_t, 2>{7, 7});
}

TEST_CASE("sums that were read and are wrong are lost") {
  Homes homes;
  homes.at_home[5] = 8;
  CHECK(homes.sum(0, 0) == 0);
  CHECK(homes.table.lost() == 1);
}

TEST_CASE("what a checkpoint cannot read fails it, and at the next one is lost") {
  Homes homes;
  SumTable& table = homes.table;
  SumTable::Sums sums;
  homes.change(0);
  homes.change(1);
  homes.bad = {true, true, true};
  CHECK_FALSE(table.begin_write(0, sums));
  CHECK(table.next_dirty(0) == 0);
  CHECK(table.lost() == 0);
  SECTION("where it still cannot be read, with all else that cannot") {
    const auto first = table.begin_write(0, sums);
    REQUIRE(first);
    CHECK(sums[0] == 9);
    CHECK(sums[1] == 0);
    const auto second = table.begin_write(1, sums);
    REQUIRE(second);
    table.settle({*first, *second});
    CHECK(table.lost() == 2);
    homes.bad = {false, false, true};
    CHECK(homes.sum(1, 0) == 9);
    CHECK(homes.sum(1, 1) == 0);
    homes.change(2);
    CHECK_FALSE(table.begin_write(2, sums));
  }
  SECTION("where it can be read, nothing is") {
    homes.bad = {};
    const auto first = table.begin_write(0, sums);
    REQUIRE(first);
    table.settle({*first});
    CHECK(homes.sum(0, 0) == 9);
    CHECK(homes.sum(0, 1) == 7);
    CHECK(table.lost() == 0);
    homes.bad = {true, true, true};
    CHECK_FALSE(table.begin_write(1, sums));
  }
  SECTION("homes that move, too") {
    table.begin_move({1u << 20, 3});
    CHECK(table.begin_copy(2, sums));
    CHECK(sums[0] == 0);
    CHECK(table.lost() == 1);
    table.end_move(false);
  }
}

TEST_CASE("homes move only if they can be read") {
  Homes homes;
  SumTable::Sums sums;
  homes.bad[2] = true;
  homes.table.begin_move({1u << 20, 3});
  CHECK(homes.table.begin_copy(0, sums));
  CHECK_FALSE(homes.table.begin_copy(2, sums));
  homes.table.end_move(false);
  CHECK(homes.table.lost() == 0);
  homes.bad = {};
  CHECK(homes.sum(2, 3) == 7);
}

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
    if (one && *one) written.push_back(**one);
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
