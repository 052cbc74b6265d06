// SPDX-License-Identifier: Apache-2.0
// What a caller of the store sees, one sentence at a time.
#include "rig.h"
#include "store/store_impl.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {
constexpr ByteCount kMiBytes{1u << 20};
PageRange pages(std::uint64_t first, std::uint64_t count) {
  return {PageIndex{first}, PageCount{count}};
}
}  // namespace

TEST_CASE("what was filled is read back, also after closing and opening") {
  Rig rig;
  const ObjectRef file = rig.make("file", kMiBytes);
  CHECK(rig.good(file, 0, 4, 1) == 0);
  REQUIRE(rig.fill(file, 0, 256, 1));
  CHECK(rig.good(file, 0, 256, 1) == 256);
  CHECK(rig.good(file, 100, 3, 1) == 3);
  REQUIRE(rig.store->sync());
  rig.sound();
  rig.reopen();
  rig.sound();
  const ObjectRef again = rig.find("file");
  REQUIRE(again);
  CHECK(rig.aux(again) == "v1");
  CHECK(rig.store->record(again).size == kMiBytes);
  CHECK(rig.good(again, 0, 256, 1) == 256);
}

TEST_CASE("what was committed is there after kill -9, what was not may be forgotten") {
  Rig rig;
  const ObjectRef file = rig.make("file", kMiBytes);
  REQUIRE(rig.fill(file, 0, 64, 1));
  REQUIRE(rig.store->sync());
  REQUIRE(rig.fill(file, 64, 64, 1));
  auto image = rig.engine->image();
  rig.close();
  rig.engine = std::make_unique<SimEngine>(std::move(image));
  rig.open();
  const ObjectRef again = rig.find("file");
  REQUIRE(again);
  CHECK(rig.good(again, 0, 128, 1) == 64);
  CHECK(rig.store->counters().replayed_records.value() > 0);
  rig.sound();
}

TEST_CASE("a commit is one write and one flush") {
  Rig rig;
  const ObjectRef file = rig.make("file", kMiBytes);
  REQUIRE(rig.store->sync());
  const auto operations = rig.engine->operations();
  REQUIRE(rig.fill(file, 0, 16, 1));
  CHECK(rig.engine->operations() == operations + 1);
  REQUIRE(rig.store->sync());
  CHECK(rig.engine->operations() == operations + 3);
  REQUIRE(rig.store->sync());
  CHECK(rig.engine->operations() == operations + 3);
}

TEST_CASE("pages of zeros take no block") {
  Rig rig;
  const ObjectRef file = rig.make("file", kMiBytes);
  const auto used = rig.store->counters().used_bytes.value();
  REQUIRE(rig.fill(file, 0, 32, 0));
  CHECK(rig.store->counters().used_bytes.value() == used);
  CHECK(rig.store->counters().zero_pages.value() == 32);
  CHECK(rig.good(file, 0, 32, 0) == 32);
  rig.reopen();
  CHECK(rig.good(rig.find("file"), 0, 32, 0) == 32);
  rig.sound();
}

TEST_CASE("a fill of an older generation is refused, before and while it is written") {
  Rig rig;
  const ObjectRef file = rig.make("file", kMiBytes);
  TestFill late(file, rig.store->generation(file), 0, 4, kMiBytes, 1);
  rig.store->invalidate(file, bytes("v2"), kMiBytes);
  rig.store->fill(late);
  rig.machine.run_all();
  REQUIRE(late.told);
  CHECK(late.answer.error().code == ErrorCode::kStale);

  rig.engine->hold_writes(ByteOffset{1u << 20});
  TestFill crossed(file, rig.store->generation(file), 0, 4, kMiBytes, 1);
  rig.store->fill(crossed);
  CHECK(rig.engine->held() == 1);
  rig.store->invalidate(file, bytes("v3"), kMiBytes);
  rig.engine->release_all();
  rig.machine.run_all();
  REQUIRE(crossed.told);
  CHECK(crossed.answer.error().code == ErrorCode::kStale);
  CHECK(rig.store->counters().fills_dropped_stale.value() == 2);
  CHECK(rig.good(file, 0, 4, 1) == 0);
}

TEST_CASE("a drop, a truncate and a later fill revoke a fill in flight") {
  const int how = GENERATE(0, 1, 2);
  CAPTURE(how);
  Rig rig;
  const ObjectRef file = rig.make("file", kMiBytes);
  rig.engine->hold_writes(ByteOffset{1u << 20});
  TestFill first(file, rig.store->generation(file), 0, 8, kMiBytes, 1);
  TestFill second(file, rig.store->generation(file), 4, 8, kMiBytes, 2);
  rig.store->fill(first);
  if (how == 0) rig.store->drop(file, pages(7, 1));
  if (how == 1) rig.store->truncate(file, ByteCount{5 * kPageSize});
  if (how == 2) rig.store->fill(second);
  rig.engine->release_all();
  rig.machine.run_all();
  CHECK(first.answer.error().code == ErrorCode::kStale);
  CHECK(rig.good(file, 0, 8, 1) == 0);
  if (how == 2) CHECK(rig.good(file, 4, 8, 2) == 8);
  REQUIRE(rig.store->sync());
  rig.sound();
}

TEST_CASE("a fill replaces the pages it covers and leaves the others") {
  Rig rig;
  const ObjectRef file = rig.make("file", kMiBytes);
  REQUIRE(rig.fill(file, 0, 64, 1));
  REQUIRE(rig.fill(file, 16, 8, 2));
  CHECK(rig.good(file, 0, 16, 1) == 16);
  CHECK(rig.good(file, 16, 8, 2) == 8);
  CHECK(rig.good(file, 24, 40, 1) == 40);
  CHECK(rig.store->cached_pages(file) == PageCount{64});
  REQUIRE(rig.store->sync());
  rig.sound();
  rig.kill();
  const ObjectRef again = rig.find("file");
  CHECK(rig.good(again, 0, 16, 1) == 16);
  CHECK(rig.good(again, 16, 8, 2) == 8);
  CHECK(rig.good(again, 24, 40, 1) == 40);
}

TEST_CASE("missing names the runs that are not cached") {
  Rig rig;
  const ObjectRef file = rig.make("file", kMiBytes);
  REQUIRE(rig.fill(file, 4, 4, 1));
  REQUIRE(rig.fill(file, 12, 4, 1));
  const auto runs = rig.store->missing(file, pages(0, 20));
  REQUIRE(runs.size() == 3);
  CHECK(runs[0] == pages(0, 4));
  CHECK(runs[1] == pages(8, 4));
  CHECK(runs[2] == pages(16, 4));
  CHECK(rig.store->missing(file, pages(5, 2)).empty());
  rig.store->drop(file, pages(5, 1));
  REQUIRE(rig.store->missing(file, pages(4, 4)).size() == 1);
  CHECK(rig.store->missing(file, pages(4, 4))[0] == pages(5, 1));
}

TEST_CASE("a tail page is valid for the size it was filled at") {
  Rig rig;
  const ObjectRef file = rig.make("file", ByteCount{2 * kPageSize + 100});
  REQUIRE(rig.fill(file, 0, 3, 1));
  CHECK(rig.good(file, 0, 3, 1) == 3);
  rig.store->update(file, bytes("v1b"), ByteCount{2 * kPageSize + 100});
  CHECK(rig.good(file, 0, 3, 1) == 3);
  rig.store->update(file, bytes("v2"), ByteCount{9 * kPageSize});
  CHECK(rig.good(file, 0, 3, 1) == 2);
  // A fill of a smaller file brings only what both sizes have.
  REQUIRE(rig.fill(file, 0, 3, 3, ByteCount{2 * kPageSize + 100}));
  CHECK(rig.good(file, 0, 3, 3) == 2);
  CHECK(rig.fill(file, 2, 1, 3, ByteCount{2 * kPageSize + 100}).error().code == ErrorCode::kStale);
}

TEST_CASE("a tail page survives opening anew and goes when the size changes then") {
  Rig rig;
  REQUIRE(rig.fill(rig.make("file", ByteCount{kPageSize + 1}), 0, 2, 1));
  rig.reopen();
  const ObjectRef file = rig.find("file");
  CHECK(rig.good(file, 0, 2, 1) == 2);
  rig.store->update(file, bytes("v2"), ByteCount{kPageSize + 2});
  CHECK(rig.good(file, 0, 2, 1) == 1);
}

TEST_CASE("truncate drops the page in which the file ends and all behind it") {
  Rig rig;
  const ObjectRef file = rig.make("file", kMiBytes);
  REQUIRE(rig.fill(file, 0, 16, 1));
  rig.store->truncate(file, ByteCount{5 * kPageSize + 1});
  CHECK(rig.good(file, 0, 16, 1) == 5);
  CHECK(rig.store->cached_pages(file) == PageCount{5});
  CHECK(rig.store->record(file).size == ByteCount{5 * kPageSize + 1});
}

TEST_CASE("a page that does not match its sum is a miss, and its blocks are not used again") {
  Rig rig;
  const ObjectRef file = rig.make("file", kMiBytes);
  rig.engine->misdirect(1, 64 << 10);
  REQUIRE(rig.fill(file, 0, 4, 1));
  CHECK(rig.good(file, 0, 4, 1) == 0);
  CHECK(rig.store->counters().sum_errors.value() == 1);
  CHECK(rig.store->counters().quarantined_bytes.value() == 4 * kPageSize);
  CHECK(rig.store->cached_pages(file) == PageCount{0});
  REQUIRE(rig.fill(file, 0, 4, 1));
  CHECK(rig.good(file, 0, 4, 1) == 4);
  REQUIRE(rig.store->sync());
  rig.sound();
}

TEST_CASE("the same bytes at another page or of another object do not match") {
  std::vector<std::byte> page(kPageSize, std::byte{1});
  const auto sum = [&](std::uint64_t object, std::uint64_t index) {
    return page_sum(ObjectId{object}, PageIndex{index}, page);
  };
  CHECK(sum(2, 0) == sum(2, 0));
  CHECK(sum(2, 0) != sum(2, 1));
  CHECK(sum(2, 0) != sum(3, 0));
}

TEST_CASE("a plan covers what it can and pins it until it is finished") {
  Rig rig;
  const ObjectRef file = rig.make("file", kMiBytes);
  for (std::uint64_t page = 0; page < 40; ++page) REQUIRE(rig.fill(file, page, 1, 1));
  REQUIRE(rig.store->sync());
  AlignedBuffer into(40 * kPageSize);
  ReadPlan plan;
  rig.store->plan_read(file, pages(0, 40), into.span(), plan);
  CHECK(plan.covered() == PageCount{ReadPlan::kMaxSegments});
  const auto waiting = [&] { return rig.store->counters().waiting_bytes.value(); };
  rig.store->drop(file, pages(0, 40));
  REQUIRE(rig.store->sync());
  REQUIRE(rig.store->sync());
  rig.store->drop(file, pages(0, 1));
  rig.sound();
  // The dropped blocks are not handed out while they are read: other fills go elsewhere.
  const ObjectRef other = rig.make("other", kMiBytes);
  REQUIRE(rig.fill(other, 0, 256, 2));
  for (const ReadSegment& segment : plan.segments()) {
    REQUIRE(rig.engine->read_now(-1, segment.at, segment.into));
  }
  CHECK(rig.store->finish_read(plan, {}));
  CHECK(waiting() != 0);
  REQUIRE(rig.store->sync());
  rig.store->remove_name(rig.store->root(), "none");
  REQUIRE(rig.fill(other, 0, 1, 3));
  REQUIRE(rig.store->sync());
  rig.sound();
}

TEST_CASE("a piece of an extent that is being read waits for the read of the whole") {
  Rig rig;
  const ObjectRef file = rig.make("file", kMiBytes);
  REQUIRE(rig.fill(file, 0, 16, 1));
  AlignedBuffer into(16 * kPageSize);
  ReadPlan plan;
  rig.store->plan_read(file, pages(0, 16), into.span(), plan);
  rig.store->drop(file, pages(8, 1));
  rig.store->drop(file, pages(0, 8));
  REQUIRE(rig.store->sync());
  REQUIRE(rig.store->sync());
  rig.sound();
  CHECK(rig.store->counters().used_bytes.value() == 7 * kPageSize);
  const ObjectRef other = rig.make("other", ByteCount{64u << 20});
  for (std::uint64_t i = 0; i < 32; ++i) {
    (void)rig.fill(other, i * 256, 256, 2);
    REQUIRE(rig.store->sync());
  }
  for (const ReadSegment& segment : plan.segments()) {
    REQUIRE(rig.engine->read_now(-1, segment.at, segment.into));
  }
  CHECK(rig.store->finish_read(plan, {}));
  CHECK(rig.store->counters().sum_errors.value() == 0);
}

TEST_CASE("retire takes all that lies below, and what was held of it keeps nothing") {
  Rig rig;
  const ObjectRef share = rig.make("share", {});
  auto below = rig.store->create(share, ObjectType::kData, bytes("file"), bytes("v1"), kMiBytes);
  REQUIRE(below);
  REQUIRE(rig.fill(*below, 0, 16, 1));
  rig.store->put_name(share, "name", {});
  REQUIRE(rig.store->sync());
  rig.store->retire(share);
  CHECK_FALSE(rig.find("share"));
  CHECK(rig.good(*below, 0, 16, 1) == 0);
  CHECK(rig.fill(*below, 0, 16, 1).error().code == ErrorCode::kStale);
  CHECK(rig.store->create(share, ObjectType::kData, bytes("x"), {}, {}).error().code ==
        ErrorCode::kStale);
  CHECK_FALSE(rig.store->find_name(share, "name"));
  REQUIRE(rig.store->sync());
  REQUIRE(rig.store->sync());
  CHECK(rig.store->counters().objects.value() == 1);
  CHECK(rig.store->counters().names.value() == 0);
  rig.sound();
  rig.kill();
  CHECK_FALSE(rig.find("share"));
  rig.sound();
}

TEST_CASE("rename moves an object with its pages and retires what lay there") {
  Rig rig;
  const ObjectRef a = rig.make("a", kMiBytes);
  const ObjectRef b = rig.make("b", kMiBytes);
  const ObjectRef folder = rig.make("folder", {});
  REQUIRE(rig.fill(a, 0, 4, 1));
  REQUIRE(rig.store->rename(a, rig.store->root(), bytes("b")));
  CHECK(rig.find("b") == a);
  CHECK_FALSE(rig.find("a"));
  CHECK(rig.fill(b, 0, 4, 1).error().code == ErrorCode::kStale);
  REQUIRE(rig.store->rename(a, folder, bytes("c")));
  CHECK(rig.store->rename(folder, a, bytes("loop")).error().code == ErrorCode::kInvalid);
  CHECK(rig.store->rename(b, folder, bytes("d")).error().code == ErrorCode::kStale);
  rig.reopen();
  const ObjectRef again = rig.find("folder");
  REQUIRE(again);
  auto moved = rig.store->find(again, bytes("c"));
  REQUIRE(moved);
  CHECK(rig.good(*moved, 0, 4, 1) == 4);
  rig.sound();
}

TEST_CASE("names are put, moved and removed, and are there after opening anew") {
  Rig rig;
  const ObjectRef one = rig.make("one", {});
  const ObjectRef two = rig.make("two", {});
  NameRecord record;
  record.file = {11, 22, 33};
  record.attributes.mode = 0100644;
  record.attributes.mtime_ns = -5;
  record.attributes.size = 77;
  rig.store->put_name(one, "a", record);
  rig.store->put_name(one, "b", record);
  rig.store->put_name(two, "c", {});
  rig.store->move_name(one, "a", two, "c");
  rig.store->move_name(one, "unknown", two, "d");
  rig.store->remove_name(one, "b");
  rig.store->remove_name(one, "never");
  REQUIRE(rig.store->sync());
  rig.sound();
  rig.kill();
  const ObjectRef first = rig.find("one");
  const ObjectRef second = rig.find("two");
  CHECK_FALSE(rig.store->find_name(first, "a"));
  CHECK_FALSE(rig.store->find_name(first, "b"));
  const auto found = rig.store->find_name(second, "c");
  REQUIRE(found);
  CHECK(found->file == FileId{11, 22, 33});
  CHECK(found->attributes.mode == 0100644);
  CHECK(found->attributes.mtime_ns == -5);
  CHECK(found->attributes.size == 77);
  int names = 0;
  rig.store->for_each_name(second, [&](std::string_view name, const NameRecord&) {
    CHECK(name == "c");
    ++names;
  });
  CHECK(names == 1);
}

TEST_CASE("a name that something unknown was moved to is forgotten") {
  Rig rig;
  const ObjectRef one = rig.make("one", {});
  rig.store->put_name(one, "target", {});
  rig.store->move_name(one, "unknown", one, "target");
  CHECK_FALSE(rig.store->find_name(one, "target"));
}

TEST_CASE("values of names and objects are kept as they are, and survive opening anew") {
  Rig rig;
  const ObjectRef folder = rig.make("folder", {});
  const auto content = bytes("what is known of it");
  const StoredValue value{3, {content.begin(), content.end()}};
  NameRecord negative;
  negative.value = value;
  rig.store->put_name(folder, "none", negative);
  rig.store->put_value(folder, value);
  rig.store->move_name(folder, "none", folder, "nothing");
  REQUIRE(rig.store->sync());
  rig.sound();
  rig.kill();
  ObjectRef again = rig.find("folder");
  CHECK(rig.store->find_value(again) == value);
  REQUIRE(rig.store->find_name(again, "nothing"));
  CHECK(rig.store->find_name(again, "nothing")->value == value);
  rig.reopen();
  again = rig.find("folder");
  CHECK(rig.store->find_value(again) == value);
  // What is too long is not kept, and what was there before is not taken for it.
  const StoredValue longest{0, std::vector<std::byte>(kLongestValue, std::byte{1})};
  StoredValue longer = longest;
  longer.bytes.push_back(std::byte{1});
  rig.store->put_value(again, longest);
  CHECK(rig.store->find_value(again) == longest);
  rig.store->put_value(again, longer);
  CHECK_FALSE(rig.store->find_value(again));
  negative.value = longer;
  rig.store->put_name(again, "nothing", negative);
  CHECK_FALSE(rig.store->find_name(again, "nothing"));
  rig.store->put_value(again, value);
  rig.store->put_value(again, {});
  CHECK_FALSE(rig.store->find_value(again));
  rig.sound();
}

TEST_CASE("keys and aux data have their lengths") {
  Rig rig;
  const ObjectRef root = rig.store->root();
  const std::string longest(255, 'k'), longer(256, 'k');
  CHECK(rig.store->create(root, ObjectType::kData, {}, {}, {}).error().code == ErrorCode::kInvalid);
  CHECK(rig.store->create(root, ObjectType::kData, bytes(longer), {}, {}).error().code ==
        ErrorCode::kInvalid);
  CHECK(rig.store->create(root, ObjectType::kData, bytes("k"), bytes(longer), {}).error().code ==
        ErrorCode::kInvalid);
  CHECK(rig.store->create(root, ObjectType::kData, bytes(longest), bytes(longest), {}));
  CHECK(rig.store->create(root, ObjectType::kData, bytes(longest), {}, {}).error().code ==
        ErrorCode::kStale);
  CHECK(rig.store->find(root, bytes("none")).error().code == ErrorCode::kNotFound);
  rig.reopen();
  CHECK(rig.find(longest));
}

TEST_CASE("a full store goes on taking fills: the oldest extents go") {
  Rig rig;
  const ObjectRef file = rig.make("file", ByteCount{64u << 20});
  int dropped = 0;
  for (std::uint64_t i = 0; i < 160; ++i) {
    if (!rig.fill(file, i * 64, 64, 1)) ++dropped;
    if (i % 4 == 3) REQUIRE(rig.store->sync());
  }
  rig.sound();
  CHECK(dropped == 0);
  CHECK(rig.store->counters().evicted_extents.value() > 0);
  CHECK(rig.good(file, 0, 1, 1) == 0);
  CHECK(rig.good(file, 159 * 64, 64, 1) == 64);
  const auto cached = to_bytes(rig.store->cached_pages(file)).value();
  CHECK(cached > rig.store->capacity().value() * 8 / 10);
  CHECK(cached <= rig.store->capacity().value());
}

TEST_CASE("a store with no room before the next commit drops the fill and has room after it") {
  Rig rig;
  const ObjectRef file = rig.make("file", ByteCount{64u << 20});
  std::uint64_t i = 0;
  Status status;
  for (; status && i < 80; ++i) status = rig.fill(file, i * 64, 64, 1);
  REQUIRE_FALSE(status);
  CHECK(status.error().code == ErrorCode::kStoreFull);
  CHECK(rig.store->counters().fills_dropped_full.value() == 1);
  REQUIRE(rig.store->sync());
  CHECK(rig.fill(file, i * 64, 64, 1));
  rig.sound();
}

TEST_CASE("fills above the limit of bytes in flight are dropped and counted") {
  Options options;
  options.fill_limit = ByteCount{8 * kPageSize};
  Rig rig(kSmallestStore, options);
  const ObjectRef file = rig.make("file", kMiBytes);
  rig.engine->hold_writes(ByteOffset{1u << 20});
  TestFill one(file, 1, 0, 8, kMiBytes, 1), two(file, 1, 8, 1, kMiBytes, 1);
  rig.store->fill(one);
  rig.store->fill(two);
  rig.machine.run_all();
  REQUIRE(two.told);
  CHECK(two.answer.error().code == ErrorCode::kStoreFull);
  CHECK_FALSE(one.told);
  rig.engine->release_all();
  rig.machine.run_all();
  CHECK(one.answer);
  CHECK(rig.store->counters().fill_in_flight_bytes.value() == 0);
}

TEST_CASE(
    "objects and names that no checkpoint could hold are refused, not lost at the next opening") {
  Rig rig;
  const ObjectRef folder = rig.make("folder", {});
  const ObjectRef file = rig.make("file", kMiBytes);
  REQUIRE(rig.fill(file, 0, 256, 1));
  const std::string tail(200, 'n');
  for (int i = 0; i < 4000; ++i) rig.store->put_name(folder, std::to_string(i) + tail, {});
  int made = 0;
  while (rig.store->create(folder, ObjectType::kIndex, bytes(std::to_string(made) + tail), {}, {}))
    ++made;
  CHECK(rig.store->create(folder, ObjectType::kIndex, bytes("x" + tail), {}, {}).error().code ==
        ErrorCode::kStoreFull);
  REQUIRE(rig.store->sync());
  const auto names = rig.store->counters().names.value();
  CHECK(names > 300);
  CHECK(names < 4000);
  rig.sound();
  rig.reopen();
  CHECK(rig.store->counters().names.value() == names);
  rig.sound();
}

TEST_CASE("what a store says of itself") {
  Rig rig;
  CHECK(rig.store->uuid().size() == 36);
  CHECK(rig.store->capacity().value() > kSmallestStore.value() * 9 / 10);
  CHECK(rig.store->to_text().find("state: open") != std::string::npos);
  stats::Registry registry;
  rig.store->counters().register_in(registry);
  CHECK(registry.to_text().find("store.fill_bytes") != std::string::npos);
}

TEST_CASE("the bytes of the example in docs/on-disk-format.md") {
  Rig rig;
  const ObjectRef file = rig.make("f", ByteCount{8192});
  REQUIRE(rig.fill(file, 0, 2, 1));
  REQUIRE(rig.store->sync());
  AlignedBuffer block(kBlockSize);
  rig.engine->image().read(ByteOffset{0x10000}, block.span());
  const auto header = disk_from<EntryDisk>(block.span());
  CHECK(header.sequence.get() == 1);
  CHECK(header.length.get() == 75);
  CHECK(header.records.get() == 2);
  CHECK(header.previous.get() == 0);
  constexpr unsigned char kRecords[] = {
      0x23, 0, 1,    1, 1, 1, 2, 0, 2, 0,   0,   0,   0,    0, 0, 0, 1, 0, 0, 0, 0, 0, 0,
      0,    0, 0x20, 0, 0, 0, 0, 0, 0, 'f', 'v', '1', 0x28, 0, 2, 0, 2, 0, 0, 0, 2, 0, 0,
      0,    0, 0,    0, 0, 0, 0, 0, 0, 0,   0,   0,   0,    0, 0, 0, 0, 0, 0, 0, 0};
  CHECK(std::memcmp(block.data() + sizeof(EntryDisk), kRecords, sizeof kRecords) == 0);
  CHECK(rig.engine->written().front().at == ByteOffset{32u << 10});
}
