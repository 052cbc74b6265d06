// SPDX-License-Identifier: Apache-2.0
// expire=: what was not used for that long is gone, by a clock that the test sets; and pins, and
// the scan in the order of the file.
#include <fmt/format.h>

#include "rig.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {

constexpr ByteCount kSize{64 * kPageSize};
constexpr Nanoseconds kHour = 3600 * kSecond;

Options expiring(Nanoseconds after = kHour) {
  Options options;
  options.expire_ns = after;
  return options;
}

}  // namespace

TEST_CASE("what was not used for so long reads as absent at once, and is purged by a step") {
  Rig rig(kSmallestStore, expiring());
  const ObjectRef used = rig.make("used", kSize), idle = rig.make("idle", kSize);
  REQUIRE(rig.fill(used, 0, 64, 1));
  REQUIRE(rig.fill(idle, 0, 64, 2));
  REQUIRE(rig.store->sync());
  rig.clock.advance(kHour * 2 / 3);
  CHECK(rig.good(used, 0, 64, 1) == 64);
  rig.clock.advance(kHour * 2 / 3);
  CHECK(rig.good(used, 0, 64, 1) == 64);
  CHECK(rig.good(idle, 0, 64, 2) == 0);
  CHECK(rig.store->cached_pages(idle).value() == 64);
  CHECK(rig.store->purge() == kSize);
  CHECK(rig.store->cached_pages(idle).value() == 0);
  CHECK(rig.store->cached_pages(used).value() == 64);
  CHECK(rig.store->counters().expired_extents.value() == 1);
  CHECK(rig.store->counters().expired_bytes.value() == kSize.value());
  rig.sound();
}

TEST_CASE("whoever commits purges by itself, a stretch at a time") {
  Rig rig(kSmallestStore, expiring());
  std::vector<ObjectRef> files;
  for (int i = 0; i < 3000; ++i) {
    files.push_back(rig.make(fmt::format("file{}", i), ByteCount{kPageSize}));
    if (i % 8 == 0) REQUIRE(rig.fill(files.back(), 0, 1, 1));
  }
  REQUIRE(rig.store->sync());
  rig.clock.advance(2 * kHour);
  for (int i = 0; i < 8; ++i) {
    rig.store->put_name(rig.store->root(), fmt::format("name{}", i), {});
    REQUIRE(rig.store->sync());
  }
  CHECK(rig.store->counters().expired_extents.value() == 375);
  CHECK(rig.store->counters().extents.value() == 0);
  rig.sound();
}

TEST_CASE("time passes while nothing is mounted, and uses are remembered") {
  Rig rig(kSmallestStore, expiring());
  const ObjectRef old = rig.make("old", kSize), used = rig.make("used", kSize);
  REQUIRE(rig.fill(old, 0, 64, 1));
  REQUIRE(rig.fill(used, 0, 64, 2));
  rig.clock.advance(kHour / 2);
  REQUIRE(rig.good(used, 0, 64, 2) == 64);
  rig.close();
  rig.clock.advance(kHour * 3 / 4);
  rig.engine = std::make_unique<SimEngine>(rig.engine->image());
  rig.open();
  CHECK(rig.good(rig.find("old"), 0, 64, 1) == 0);
  CHECK(rig.good(rig.find("used"), 0, 64, 2) == 64);
  // And for much longer than the ticks go round.
  rig.close();
  rig.clock.advance(1000 * kHour);
  rig.engine = std::make_unique<SimEngine>(rig.engine->image());
  rig.open();
  CHECK(rig.good(rig.find("used"), 0, 64, 2) == 0);
  rig.sound();
}

TEST_CASE("another length of expire, or none before: what is there counts as used now") {
  Rig rig;
  const ObjectRef file = rig.make("file", kSize);
  REQUIRE(rig.fill(file, 0, 64, 1));
  rig.clock.advance(100 * kHour);
  rig.options.expire_ns = kHour;
  rig.reopen();
  CHECK(rig.good(rig.find("file"), 0, 64, 1) == 64);
  rig.clock.advance(kHour / 2);
  rig.options.expire_ns = 3 * kHour;
  rig.reopen();
  rig.clock.advance(2 * kHour);
  CHECK(rig.good(rig.find("file"), 0, 64, 1) == 64);
  rig.clock.advance(4 * kHour);
  CHECK(rig.good(rig.find("file"), 0, 64, 1) == 0);
}

TEST_CASE("what the journal brought back, and a clock that was set back, cost nothing") {
  Rig rig(kSmallestStore, expiring());
  const ObjectRef file = rig.make("file", kSize);
  REQUIRE(rig.fill(file, 0, 64, 1));
  REQUIRE(rig.store->sync());
  rig.clock.advance(kHour * 3 / 4);
  rig.kill();
  rig.clock.advance(kHour * 3 / 4);
  CHECK(rig.good(rig.find("file"), 0, 64, 1) == 64);
  rig.clock.advance(-kHour / 2);
  CHECK(rig.good(rig.find("file"), 0, 64, 1) == 64);
  CHECK(rig.store->purge().value() == 0);
}

TEST_CASE(
    "what is pinned does not expire and is not evicted, across restarts, until it is let go") {
  Rig rig(kSmallestStore, expiring());
  const ObjectRef file = rig.make("file", kSize);
  REQUIRE(rig.fill(file, 0, 64, 1));
  rig.store->set_pinning(file, Store::Pinning::kPinned);
  CHECK(rig.store->counters().pinned_objects.value() == 1);
  REQUIRE(rig.store->sync());
  const auto flood = [&](std::string_view name) {
    for (int i = 0; i < 24; ++i) {
      const ObjectRef more = rig.make(fmt::format("{}{}", name, i), ByteCount{256 * kPageSize});
      static_cast<void>(rig.fill(more, 0, 256, 1));
      REQUIRE(rig.store->sync());
    }
  };
  flood("more");
  rig.clock.advance(2 * kHour);
  CHECK(rig.good(file, 0, 64, 1) == 64);
  rig.kill();  // by the journal
  CHECK(rig.store->pinning(rig.find("file")) == Store::Pinning::kPinned);
  CHECK(rig.good(rig.find("file"), 0, 64, 1) == 64);
  rig.reopen();  // by the checkpoint
  const ObjectRef again = rig.find("file");
  CHECK(rig.store->pinning(again) == Store::Pinning::kPinned);
  CHECK(rig.store->counters().pinned_objects.value() == 1);
  flood("others");
  CHECK(rig.good(again, 0, 64, 1) == 64);
  rig.store->set_pinning(again, Store::Pinning::kFree);
  CHECK(rig.store->counters().pinned_objects.value() == 0);
  rig.clock.advance(2 * kHour);
  CHECK(rig.good(again, 0, 64, 1) == 0);
  rig.sound();
}

TEST_CASE("a retired object that was pinned is counted no more") {
  Rig rig;
  const ObjectRef file = rig.make("file", kSize);
  rig.store->set_pinning(file, Store::Pinning::kPinned);
  rig.store->retire(file);
  CHECK(rig.store->counters().pinned_objects.value() == 0);
}

TEST_CASE("a scan goes in the order of the file, takes a filter, and can be stopped") {
  Rig rig;
  std::vector<ObjectRef> files;
  for (int i = 0; i < 6; ++i) files.push_back(rig.make(fmt::format("file{}", i), kSize));
  for (const int i : {3, 0, 5, 1, 4, 2}) {
    REQUIRE(rig.fill(files[static_cast<std::size_t>(i)], 0, 32, 1));
    REQUIRE(rig.fill(files[static_cast<std::size_t>(5 - i)], 32, 32, 1));
  }
  rig.store->retire(files[2]);
  std::vector<Store::Scanned> all;
  rig.store->scan(nullptr, [&](const Store::Scanned& one) {
    all.push_back(one);
    return true;
  });
  CHECK(all.size() == 10);
  CHECK(std::is_sorted(all.begin(), all.end(),
                       [](const auto& a, const auto& b) { return a.at < b.at; }));
  std::uint64_t of_one = 0, seen = 0;
  rig.store->scan([&](const ObjectRef& object) { return object == files[4]; },
                  [&](const Store::Scanned& one) {
                    CHECK(one.object == files[4]);
                    return ++of_one < 10;
                  });
  CHECK(of_one == 2);
  rig.store->scan(nullptr, [&](const Store::Scanned&) { return ++seen < 3; });
  CHECK(seen == 3);
}
