// SPDX-License-Identifier: Apache-2.0
// A device that fails, fills up or hangs: what the store does meanwhile, and that it comes back.
#include <fmt/format.h>

#include <cerrno>

#include "rig.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {

constexpr ByteCount kMiBytes{1u << 20};

struct Failing {
  Rig rig;
  ObjectRef file = rig.make("file", kMiBytes);
  ObjectRef other = rig.make("other", kMiBytes);

  Failing() {
    REQUIRE(rig.fill(file, 0, 16, 1));
    REQUIRE(rig.fill(other, 0, 16, 1));
    REQUIRE(rig.store->sync());
  }
  void fail_a_commit(int sys_errno) {
    rig.make("late", {});
    rig.engine->fail_operation(1, sys_errno);
    REQUIRE_FALSE(rig.store->sync());
    REQUIRE(rig.store->state() == State::kBypass);
  }
};

}  // namespace

TEST_CASE("after a failed commit all is a miss, and after a back-off the store is back") {
  const int sys_errno = GENERATE(EIO, ENOSPC);
  Failing at;
  Rig& rig = at.rig;
  at.fail_a_commit(sys_errno);
  CHECK(rig.good(at.file, 0, 16, 1) == 0);
  CHECK_FALSE(rig.fill(at.file, 16, 4, 1));
  CHECK(rig.store->to_text().find("bypass") != std::string::npos);
  REQUIRE_FALSE(rig.store->sync());
  CHECK(rig.store->state() == State::kBypass);
  rig.clock.advance(2 * kSecond);
  REQUIRE(rig.store->sync());
  CHECK(rig.store->state() == State::kOpen);
  CHECK(rig.store->counters().bypasses.value() == 1);
  CHECK(rig.store->counters().returns.value() == 1);
  CHECK(rig.good(at.file, 0, 16, 1) == 16);
  CHECK(rig.find("late"));
  REQUIRE(rig.fill(at.file, 16, 4, 1));
  REQUIRE(rig.store->sync());
  rig.sound();
  rig.kill();
  CHECK(rig.good(rig.find("file"), 0, 20, 1) == 20);
  CHECK(rig.find("late"));
  rig.sound();
}

TEST_CASE(
    "what happens while the store is bypassed is true when it comes back, and after a crash") {
  Failing at;
  Rig& rig = at.rig;
  rig.store->put_name(rig.store->root(), "name", {});
  at.fail_a_commit(EIO);
  rig.store->drop(at.file, {PageIndex{4}, PageCount{4}});
  rig.store->invalidate(at.other, bytes("v2"), kMiBytes);
  rig.store->retire(at.other);
  rig.store->remove_name(rig.store->root(), "name");
  rig.clock.advance(2 * kSecond);
  REQUIRE(rig.store->sync());
  rig.sound();
  CHECK(rig.good(at.file, 0, 16, 1) == 4);
  CHECK(rig.good(at.file, 8, 8, 1) == 8);
  CHECK_FALSE(rig.find("other"));
  CHECK_FALSE(rig.store->find_name(rig.store->root(), "name"));
  // The blocks that went meanwhile are used again.
  const ObjectRef big = rig.make("big", ByteCount{64u << 20});
  for (std::uint64_t i = 0; i < 70; ++i) {
    REQUIRE(rig.fill(big, i * 64, 64, 2));
    REQUIRE(rig.store->sync());
  }
  rig.sound();
  rig.kill();
  CHECK_FALSE(rig.find("other"));
  rig.sound();
}

TEST_CASE("changes that keep coming do not keep the store from coming back") {
  const bool fails_first = GENERATE(false, true);
  CAPTURE(fails_first);
  Failing at;
  Rig& rig = at.rig;
  at.fail_a_commit(EIO);
  rig.clock.advance(2 * kSecond);
  // With each write and flush of the checkpoint, something changes.
  int changes = 0;
  rig.engine->on_operation = [&] {
    rig.store->put_name(rig.store->root(), fmt::format("name{}", ++changes), {});
    if (changes == 2) rig.store->drop(at.file, {PageIndex{4}, PageCount{4}});
    if (changes == 3) rig.store->retire(at.other);
  };
  if (fails_first) {
    rig.engine->fail_operation(4, EIO);
    REQUIRE_FALSE(rig.store->sync());
    CHECK(rig.store->state() == State::kBypass);
    CHECK(changes >= 3);
    rig.clock.advance(4 * kSecond);
  }
  const std::uint64_t before = rig.store->counters().checkpoints.value();
  REQUIRE(rig.store->sync());
  rig.engine->on_operation = nullptr;
  CHECK(rig.store->state() == State::kOpen);
  CHECK(rig.store->counters().checkpoints.value() == before + 1);
  CHECK(rig.store->counters().returns.value() == 1);
  REQUIRE(rig.store->sync());
  rig.sound();
  rig.kill();
  for (int name = 1; name <= changes; ++name)
    CHECK(rig.store->find_name(rig.store->root(), fmt::format("name{}", name)));
  CHECK(rig.good(rig.find("file"), 0, 16, 1) == 4);
  CHECK(rig.good(rig.find("file"), 8, 8, 1) == 8);
  CHECK_FALSE(rig.find("other"));
  rig.sound();
}

TEST_CASE("who fails again waits longer") {
  Failing at;
  Rig& rig = at.rig;
  at.fail_a_commit(EIO);
  for (int i = 0; i < 3; ++i) {
    rig.clock.advance(kSecond << i);
    rig.engine->fail_operation(1, EIO);
    REQUIRE_FALSE(rig.store->sync());
    const auto operations = rig.engine->operations();
    REQUIRE_FALSE(rig.store->sync());
    CHECK(rig.engine->operations() == operations);
  }
  rig.clock.advance(8 * kSecond);
  REQUIRE(rig.store->sync());
  CHECK(rig.store->state() == State::kOpen);
  rig.sound();
}

TEST_CASE("a crash between the tries finds a sound store") {
  Failing at;
  Rig& rig = at.rig;
  at.fail_a_commit(EIO);
  rig.clock.advance(2 * kSecond);
  // The superblock is written, its flush fails: the next try may not take up where this one ended.
  rig.engine->fail_operation(4, EIO);
  REQUIRE_FALSE(rig.store->sync());
  rig.store->drop(at.file, {PageIndex{0}, PageCount{16}});
  Rig between{rig.engine->image()};
  between.sound();
  CHECK(between.good(between.find("other"), 0, 16, 1) == 16);
  rig.clock.advance(4 * kSecond);
  rig.engine->fail_operation(2, EIO);
  REQUIRE_FALSE(rig.store->sync());
  Rig later{rig.engine->image()};
  later.sound();
  CHECK(later.good(later.find("other"), 0, 16, 1) == 16);
}

TEST_CASE("no room below: fills pause, reads go on, and it ends by itself") {
  Failing at;
  Rig& rig = at.rig;
  rig.engine->fail_operation(1, ENOSPC);
  CHECK_FALSE(rig.fill(at.file, 16, 4, 1));
  CHECK(rig.store->state() == State::kOpen);
  CHECK(rig.store->to_text().find("no room") != std::string::npos);
  CHECK(rig.fill(at.file, 16, 4, 1).error().code == ErrorCode::kStoreFull);
  CHECK(rig.good(at.file, 0, 16, 1) == 16);
  rig.clock.advance(2 * kSecond);
  CHECK(rig.fill(at.file, 16, 4, 1));
  CHECK(rig.store->to_text().find("state: open") != std::string::npos);
  CHECK(rig.store->counters().quarantined_bytes.value() == 0);
  REQUIRE(rig.store->sync());
  rig.sound();
}

TEST_CASE("pages that cannot be read are fetched into other blocks; many in a row end in bypass") {
  Failing at;
  Rig& rig = at.rig;
  rig.engine->fail_read(1, EIO);
  CHECK(rig.good(at.file, 0, 16, 1) == 0);
  CHECK(rig.store->cached_pages(at.file).value() == 0);
  CHECK(rig.store->counters().quarantined_bytes.value() == 16 * kPageSize);
  CHECK(rig.store->state() == State::kOpen);
  for (int i = 0; i < 7; ++i) {
    REQUIRE(rig.store->state() == State::kOpen);
    REQUIRE(rig.fill(at.file, 0, 1, 1));
    rig.engine->fail_read(1, EIO);
    CHECK(rig.good(at.file, 0, 1, 1) == 0);
  }
  CHECK(rig.store->state() == State::kBypass);
}

TEST_CASE("while a read hangs new ones go past the store") {
  Failing at;
  Rig& rig = at.rig;
  rig.clock.advance(kSecond);
  CHECK(rig.good(at.file, 0, 16, 1) == 16);
  AlignedBuffer into(kPageSize);
  {
    ReadPlan stuck;
    rig.store->plan_read(at.file, {PageIndex{0}, PageCount{1}}, into.span(), stuck);
    REQUIRE(stuck.covered() == PageCount{1});
    rig.clock.advance(5 * kSecond);
    CHECK(rig.good(at.file, 0, 16, 1) == 16);
    rig.clock.advance(20 * kSecond);
    CHECK(rig.good(at.file, 0, 16, 1) == 0);
    CHECK(rig.store->to_text().find("hung") != std::string::npos);
    CHECK(rig.fill(at.file, 16, 1, 1).error().code == ErrorCode::kStoreFull);
    CHECK(rig.store->sync());
    for (const ReadSegment& segment : stuck.segments())
      REQUIRE(rig.engine->read_now(-1, segment.at, segment.into));
    CHECK(rig.store->finish_read(stuck, {}));
  }
  rig.clock.advance(2 * kSecond);
  CHECK(rig.good(at.file, 0, 16, 1) == 16);
  CHECK(rig.store->counters().hangs.value() == 1);
}
