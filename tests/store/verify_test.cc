// SPDX-License-Identifier: Apache-2.0
// A store that is verified while it is open: what is wrong is found, dropped and quarantined.
#include <fmt/format.h>

#include "rig.h"
#include "store/layout.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {

constexpr std::uint64_t kPages = 600;

// How many bytes it said it had read.
std::uint64_t verify(Rig& rig) {
  std::uint64_t read = 0;
  read_all_pages(*rig.store, [&](ByteCount done, ByteCount all) {
    CHECK(done <= all);
    read = done.value();
    return true;
  });
  return read;
}

}  // namespace

TEST_CASE("a sound store is read whole, and nothing is wrong") {
  Rig rig;
  for (int i = 0; i < 3; ++i) {
    const ObjectRef file = rig.make(fmt::format("file{}", i), ByteCount{kPages * kPageSize});
    REQUIRE(rig.fill(file, 0, kPages, 1));
    REQUIRE(rig.fill(file, 10, 5, 0));  // zeros have no blocks
  }
  CHECK(verify(rig) == 3 * (kPages - 5) * kPageSize);
  CHECK(rig.store->counters().sum_errors.value() == 0);
  CHECK(rig.store->counters().reads.value() == 0);
  CHECK(rig.store->to_text().find("quarantined") == std::string::npos);
  rig.sound();
}

TEST_CASE("wrong pages are dropped with their extent, and its blocks are seen as quarantined") {
  Rig rig;
  const ObjectRef file = rig.make("file", ByteCount{kPages * kPageSize});
  REQUIRE(rig.fill(file, 0, kPages, 1));
  const ByteOffset data = layout_for(kSmallestStore).data;
  rig.engine->image().flip_bit(data + ByteCount{300 * kPageSize + 5}, 2);
  verify(rig);
  CHECK(rig.store->counters().sum_errors.value() == 1);
  CHECK(rig.store->cached_pages(file).value() == kPages - 256);
  const std::string line =
      fmt::format("quarantined: {} bytes at {}\n", 256 * kPageSize, data.value() + 256 * kPageSize);
  CHECK(rig.store->to_text().find(line) != std::string::npos);
  // It is fetched again, to other blocks.
  REQUIRE(rig.fill(file, 256, 256, 1));
  CHECK(rig.good(file, 0, kPages, 1) == kPages);
  verify(rig);
  CHECK(rig.store->counters().sum_errors.value() == 1);
  rig.sound();
}

TEST_CASE("a read that fails is as good as a wrong page") {
  Rig rig;
  const ObjectRef file = rig.make("file", ByteCount{kPages * kPageSize});
  REQUIRE(rig.fill(file, 0, kPages, 1));
  rig.engine->fail_read(2, EIO);
  verify(rig);
  CHECK(rig.store->counters().read_errors.value() == 1);
  CHECK(rig.store->cached_pages(file).value() < kPages);
  rig.sound();
}

TEST_CASE("it stops where it is told to") {
  Rig rig;
  const ObjectRef file = rig.make("file", ByteCount{kPages * kPageSize});
  REQUIRE(rig.fill(file, 0, kPages, 1));
  int calls = 0;
  read_all_pages(*rig.store, [&](ByteCount, ByteCount) { return ++calls < 2; });
  CHECK(calls == 2);
}

TEST_CASE("sums that are read to verify a store are not forgotten by one that shrinks beside it") {
  constexpr ByteCount kBig{64u << 20}, kLess{24u << 20};
  Rig rig(kBig, kBig);
  for (int i = 0; i < 20; ++i) {
    const ObjectRef file = rig.make(fmt::format("file{}", i), ByteCount{kPages * kPageSize});
    REQUIRE(rig.fill(file, 0, kPages, 1));
  }
  rig.reopen();
  const Layout before = layout_for(kBig);
  const std::uint64_t end = resized(before, kLess)->data_blocks;
  std::string line;
  rig.engine->before_read = [&](ByteOffset at) {
    if (!line.empty() || at < before.sums || at >= before.data) return;
    const std::uint64_t chunk = (at - before.sums).value() / kBlockSize % before.sum_chunks;
    if (chunk * 1024 < end) return;
    line = "asked";
    const auto done = rig.store->resize(kLess);
    line = done ? *done : done.error().line;
  };
  verify(rig);
  CHECK(line.find("did not let go") != std::string::npos);
  CHECK(rig.store->size() == kBig);
  CHECK(rig.store->counters().sum_errors.value() == 0);
  rig.sound();
  CHECK(rig.store->resize(kLess));
  verify(rig);
  CHECK(rig.store->counters().sum_errors.value() == 0);
  rig.sound();
}
