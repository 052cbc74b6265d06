// SPDX-License-Identifier: Apache-2.0
// Write sessions: nothing of them is durable before their end, and a crash inside leaves no doubt.
#include "rig.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {

constexpr ByteCount kSize{64 * kPageSize};

ObjectRef recorded(Rig& rig) {
  const ObjectRef file = rig.make("file", kSize);
  REQUIRE(rig.fill(file, 0, 64, 1));
  REQUIRE(rig.store->sync());
  return file;
}

void write_pages(Rig& rig, const ObjectRef& file, std::uint64_t first, std::uint64_t count) {
  rig.store->drop(file, {PageIndex{first}, PageCount{count}});
  REQUIRE(rig.fill(file, first, count, 2));
}

}  // namespace

TEST_CASE("the end of a session makes its identity and pages durable, and keeps the other pages") {
  Rig rig;
  const ObjectRef file = recorded(rig);
  rig.store->begin_session(file);
  write_pages(rig, file, 8, 4);
  CHECK(rig.good(file, 8, 4, 2) == 4);
  CHECK(rig.aux(file) == "v1");
  rig.store->end_session(file, bytes("v2"), kSize);
  REQUIRE(rig.store->sync());
  rig.sound();
  rig.kill();
  const ObjectRef again = rig.find("file");
  CHECK(rig.aux(again) == "v2");
  CHECK(rig.good(again, 0, 8, 1) == 8);
  CHECK(rig.good(again, 8, 4, 2) == 4);
  CHECK(rig.good(again, 12, 52, 1) == 52);
  rig.sound();
}

TEST_CASE("the end of a session records what changed in it and no more") {
  Rig rig;
  constexpr std::uint64_t kPages = 2048;
  const ByteCount size{kPages * kPageSize};
  const ObjectRef file = rig.make("file", size);
  rig.fill_runs(file, kPages, 1);
  REQUIRE(rig.store->sync());
  const auto before = rig.store->counters().journal_bytes.value();
  rig.store->begin_session(file);
  write_pages(rig, file, 300, 4);
  rig.store->end_session(file, bytes("v2"), size);
  REQUIRE(rig.store->sync());
  CHECK(rig.store->counters().journal_bytes.value() == before + kBlockSize);
  rig.sound();
  rig.kill();
  const ObjectRef again = rig.find("file");
  CHECK(rig.aux(again) == "v2");
  CHECK(rig.good(again, 0, 256, 1) == 256);
  CHECK(rig.good(again, 300, 4, 2) == 4);
  CHECK(rig.good(again, 304, 256, 1) == 256);
}

TEST_CASE(
    "however scattered the writes of a session, its end records little of what they are not") {
  Rig rig(ByteCount{64u << 20});
  constexpr std::uint64_t kPages = 4096, kNear = 300;
  const ByteCount size{kPages * kPageSize};
  const ObjectRef file = rig.make("file", size);
  rig.fill_runs(file, kPages, 1);
  REQUIRE(rig.store->sync());
  const auto before = rig.store->counters().journal_bytes.value();
  rig.store->begin_session(file);
  // Many at the start of the file, and a few far from them.
  std::vector<std::uint64_t> pages{kPages - 1, kPages / 2};
  for (std::uint64_t page = 0; page < kNear; page += 3) pages.push_back(page);
  for (const std::uint64_t page : pages) write_pages(rig, file, page, 1);
  rig.store->end_session(file, bytes("v2"), size);
  REQUIRE(rig.store->sync());
  // All of the file would be 16 KiB of sums.
  CHECK(rig.store->counters().journal_bytes.value() <= before + 3 * kBlockSize);
  rig.sound();
  rig.kill();
  const ObjectRef again = rig.find("file");
  CHECK(rig.store->cached_pages(again) == PageCount{kPages});
  for (const std::uint64_t page : pages) CHECK(rig.good(again, page, 1, 2) == 1);
  CHECK(rig.good(again, kNear, 64, 1) == 64);
  CHECK(rig.good(again, kPages / 2 + 1, 64, 1) == 64);
  for (std::uint64_t page = 1; page < kNear; page += 3) CHECK(rig.good(again, page, 2, 1) == 2);
}

TEST_CASE("the end of a session does not read the disk: what it has no sums of goes") {
  constexpr std::uint64_t kPages = 8192, kStride = 40;
  const ByteCount size{kPages * kPageSize};
  Rig rig(ByteCount{64u << 20});
  {
    const ObjectRef file = rig.make("file", size);
    rig.fill_runs(file, kPages, 1);
  }
  rig.reopen();
  const ObjectRef file = rig.find("file");
  rig.store->begin_session(file);
  for (std::uint64_t page = 0; page < kPages; page += kStride) write_pages(rig, file, page, 1);
  const std::uint64_t reads = rig.engine->reads();
  rig.store->end_session(file, bytes("v2"), size);
  CHECK(rig.engine->reads() == reads);
  REQUIRE(rig.store->sync());
  rig.sound();
  // What was written is there, and of the rest what lies in no range that was recorded.
  const auto look = [&](const ObjectRef& at) {
    std::uint64_t old = 0;
    for (std::uint64_t page = 0; page < kPages; page += kStride) {
      CHECK(rig.good(at, page, 1, 2) == 1);
      const int got = rig.good(at, page + 1, std::min(kStride, kPages - page) - 1, 1);
      REQUIRE(got >= 0);
      old += static_cast<std::uint64_t>(got);
    }
    CHECK(rig.store->counters().sum_errors.value() == 0);
    return old;
  };
  const std::uint64_t old = look(file);
  CHECK(old > 0);
  CHECK(old < kPages - kPages / kStride - 1);
  // The blocks of the others are free.
  const ObjectRef other = rig.make("other", size);
  REQUIRE(rig.fill(other, 0, 256, 3, size));
  rig.kill();
  CHECK(rig.aux(rig.find("file")) == "v2");
  CHECK(look(rig.find("file")) == old);
  rig.sound();
}

TEST_CASE("pages of a session that never ended do not come back with the next one") {
  Rig rig;
  const ObjectRef file = recorded(rig);
  rig.store->begin_session(file);
  REQUIRE(rig.store->sync());
  write_pages(rig, file, 0, 4);
  rig.kill();
  ObjectRef again = rig.find("file");
  CHECK(rig.store->cached_pages(again).value() == 0);
  REQUIRE(rig.fill(again, 16, 4, 3));
  REQUIRE(rig.store->sync());
  rig.store->begin_session(again);
  REQUIRE(rig.fill(again, 20, 4, 4));
  rig.store->end_session(again, bytes("v3"), kSize);
  REQUIRE(rig.store->sync());
  rig.sound();
  rig.kill();
  again = rig.find("file");
  CHECK(rig.store->cached_pages(again).value() == 8);
  CHECK(rig.good(again, 16, 4, 3) == 4);
  CHECK(rig.good(again, 20, 4, 4) == 4);
}

TEST_CASE("a crash before the session's mark is durable finds the old version whole") {
  Rig rig;
  const ObjectRef file = recorded(rig);
  rig.store->begin_session(file);
  write_pages(rig, file, 0, 64);
  auto image = rig.engine->image();
  rig.close();
  rig.engine = std::make_unique<SimEngine>(std::move(image));
  rig.open();
  const ObjectRef again = rig.find("file");
  CHECK(rig.aux(again) == "v1");
  CHECK(rig.good(again, 0, 64, 1) == 64);
}

TEST_CASE("a crash behind the session's mark finds the object without pages") {
  const bool checkpoint = GENERATE(false, true);
  CAPTURE(checkpoint);
  Rig rig;
  const ObjectRef file = recorded(rig);
  rig.store->begin_session(file);
  write_pages(rig, file, 0, 4);
  REQUIRE(rig.store->sync());
  rig.sound();
  if (checkpoint) {
    const auto before = rig.store->counters().checkpoints.value();
    const ObjectRef other = rig.make("other", {});
    while (rig.store->counters().checkpoints.value() == before) {
      rig.store->update(other, bytes("x"), {});
      REQUIRE(rig.store->sync());
    }
    rig.sound();
  }
  auto image = rig.engine->image();
  rig.close();
  rig.engine = std::make_unique<SimEngine>(std::move(image));
  rig.open();
  const ObjectRef again = rig.find("file");
  REQUIRE(again);
  CHECK(rig.store->cached_pages(again) == PageCount{0});
  CHECK(rig.good(again, 0, 64, 1) == 0);
  rig.sound();
}

TEST_CASE("a store that is closed inside a session opens without its pages") {
  Rig rig;
  const ObjectRef file = recorded(rig);
  rig.store->begin_session(file);
  write_pages(rig, file, 0, 4);
  rig.reopen();
  REQUIRE(rig.find("file"));
  CHECK(rig.store->cached_pages(rig.find("file")) == PageCount{0});
  rig.sound();
}

TEST_CASE("the blocks that a session replaced are not reused before its mark is durable") {
  Rig rig;
  const ObjectRef file = recorded(rig);
  rig.store->begin_session(file);
  rig.store->drop(file, {PageIndex{0}, PageCount{64}});
  const auto waiting = rig.store->counters().waiting_bytes.value();
  CHECK(waiting == 64 * kPageSize);
  const ObjectRef other = rig.make("other", ByteCount{64u << 20});
  for (std::uint64_t i = 0; rig.fill(other, i * 64, 64, 3); ++i) {
  }
  auto image = rig.engine->image();
  rig.close();
  rig.engine = std::make_unique<SimEngine>(std::move(image));
  rig.open();
  CHECK(rig.good(rig.find("file"), 0, 64, 1) == 64);
}

TEST_CASE("invalidate, update, truncate and retire are legal inside a session") {
  const int how = GENERATE(0, 1, 2, 3);
  CAPTURE(how);
  Rig rig;
  const ObjectRef file = recorded(rig);
  rig.store->begin_session(file);
  rig.store->begin_session(file);
  write_pages(rig, file, 0, 4);
  if (how == 0) rig.store->invalidate(file, bytes("v3"), kSize);
  if (how == 1) rig.store->update(file, bytes("v3"), kSize);
  if (how == 2) rig.store->truncate(file, ByteCount{2 * kPageSize});
  if (how == 3) rig.store->retire(file);
  rig.store->end_session(file, bytes("v4"), how == 2 ? ByteCount{2 * kPageSize} : kSize);
  REQUIRE(rig.store->sync());
  rig.sound();
  rig.kill();
  const ObjectRef again = rig.find("file");
  CHECK(static_cast<bool>(again) == (how != 3));
  if (!again) return;
  CHECK(rig.aux(again) == "v4");
  CHECK(rig.store->cached_pages(again) == PageCount{how == 0 ? 0u : how == 1 ? 64u : 2u});
  CHECK(rig.good(again, 0, 2, 2) == (how == 0 ? 0 : 2));
}

TEST_CASE("a file that grows in a session keeps its pages, and its tail for the size at the end") {
  Rig rig;
  const ObjectRef file = rig.make("log", ByteCount{100});
  REQUIRE(rig.fill(file, 0, 1, 1));
  rig.store->begin_session(file);
  REQUIRE(rig.fill(file, 0, 3, 2, ByteCount{2 * kPageSize + 50}));
  CHECK(rig.good(file, 0, 3, 2) == 3);
  rig.store->end_session(file, bytes("v2"), ByteCount{2 * kPageSize + 60});
  CHECK(rig.good(file, 0, 3, 2) == 2);
  CHECK(rig.store->cached_pages(file) == PageCount{2});
}
