// SPDX-License-Identifier: Apache-2.0
// A checkpoint's image is of one moment, and sums that left memory come back from their homes.
#include <algorithm>
#include <cerrno>
#include <optional>

#include "rig.h"
#include "store/index.h"
#include "store/layout.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {

constexpr std::uint64_t kBlocks = 1u << 16;

// An index that changes at random. Blocks are never used twice.
class Changing {
 public:
  explicit Changing(Seed seed) : random_(seed), index_(kBlocks) {
    objects_.emplace_back(&index_.root());
  }
  Index& index() { return index_; }

  void change() {
    switch (random_.below(10)) {
      case 0:
        return retire();
      case 1: {
        const ObjectRef object = any(), parent = any();
        index_.rename(*object, *parent, "r" + std::to_string(random_.below(50)), dead_);
        return forget_retired();
      }
      case 2:
        return index_.put_name(*any(), "n" + std::to_string(random_.below(20)), {});
      case 3:
        index_.remove_name(*any(), "n" + std::to_string(random_.below(20)));
        return;
      case 4:
        index_.set_identity(*any(), "aux" + std::to_string(random_.below(100)),
                            ByteCount{random_.below(1u << 20)});
        return;
      case 5:
        index_.set_value(*any(), 1, view(std::string_view("value").substr(random_.below(5))));
        return;
      case 6:
        index_.drop(*any(), {PageIndex{random_.below(64)}, PageCount{random_.below(20)}}, dead_);
        return;
      case 7:
        return add();
      default:
        return fill();
    }
  }

  std::vector<std::string> records() {
    std::vector<std::string> all;
    index_.for_each_record([&](const Record& record) {
      std::vector<std::byte> bytes;
      encode(record, bytes);
      all.emplace_back(view(bytes));
    });
    std::sort(all.begin(), all.end());
    return all;
  }

 private:
  ObjectRef any() { return objects_[random_.below(objects_.size())]; }
  void add() {
    const ObjectRef parent = any();
    const std::string key = "k" + std::to_string(random_.below(100));
    if (index_.child(*parent, key) != nullptr) return;
    objects_.push_back(index_.add(*parent, ObjectType::kData, key, index_.next_id()));
  }
  void retire() {
    const ObjectRef object = any();
    if (object.get() == &index_.root()) return;
    index_.retire(*object, dead_);
    forget_retired();
  }
  void forget_retired() {
    std::erase_if(objects_, [](const ObjectRef& object) { return object->retired.load(); });
  }
  void fill() {
    const auto pages = static_cast<std::uint32_t>(1 + random_.below(8));
    if (next_block_ + pages > kBlocks) return;
    std::vector<std::uint32_t> sums(pages);
    for (std::uint32_t& sum : sums) sum = static_cast<std::uint32_t>(random_.next());
    index_.insert(*any(), {PageIndex{random_.below(64)}, pages, next_block_, sums, 0, {}}, dead_);
    next_block_ += pages;
  }

  Random random_;
  Index index_;
  std::vector<ObjectRef> objects_;
  DeadList dead_;
  std::uint64_t next_block_ = 0;
};

void restore(Index& into, Index& from, Bytes records) {
  while (!records.empty()) {
    const std::size_t length = record_length(records);
    REQUIRE(length != 0);
    Bytes record = records.first(length);
    records = records.subspan(length);
    const auto kind = static_cast<RecordKind>(disk_from<RecordHeader>(record).kind);
    DeadList dead;
    if (kind >= RecordKind::kImageStart) {
      REQUIRE(into.restore(kind, record, kBlocks));
    } else {
      REQUIRE(into.apply(*decode_next(record), kBlocks, dead));
    }
  }
  CHECK(into.end_restore() == 0);
  // Sums are no part of the image.
  for (std::uint64_t block = 0; block < kBlocks; block += SumTable::kChunk) {
    SumTable::Sums sums;
    REQUIRE(from.sums().get(block, sums));
    into.sums().set(block, sums);
  }
}

}  // namespace

TEST_CASE("the image is of the moment at which it was begun, whatever changes meanwhile") {
  const Seed seed = test_seed(GENERATE(range(1u, 30u)));
  CAPTURE(seed.value);
  Random random(seed);
  Changing changing(seed);
  for (int i = 0; i < 2000; ++i) changing.change();
  const auto then = changing.records();
  changing.index().begin_image();
  std::vector<std::byte> image;
  for (bool more = true; more;) {
    for (std::uint64_t i = random.below(60); i > 0; --i) changing.change();
    more = changing.index().image_step();
    const auto part = changing.index().take_image();
    image.insert(image.end(), part.begin(), part.end());
  }
  changing.index().end_image();
  CHECK(changing.records() != then);

  Index restored(kBlocks);
  restore(restored, changing.index(), image);
  std::vector<std::string> now;
  restored.for_each_record([&](const Record& record) {
    std::vector<std::byte> bytes;
    encode(record, bytes);
    now.emplace_back(view(bytes));
  });
  std::sort(now.begin(), now.end());
  CHECK(now == then);
}

TEST_CASE("a restored index evicts in the same order") {
  Changing changing(Seed{7});
  for (int i = 0; i < 3000; ++i) changing.change();
  changing.index().begin_image();
  while (changing.index().image_step()) {
  }
  const auto image = changing.index().take_image();
  changing.index().end_image();
  Index restored(kBlocks);
  restore(restored, changing.index(), image);
  const auto order_of = [](Index& index) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> order;
    index.for_each_extent([&](Object& object, const Extent& extent) {
      order.emplace_back(object.id.value(), extent.first().value());
    });
    return order;
  };
  CHECK(order_of(restored) == order_of(changing.index()));
}

namespace {

struct TestRead : StoreRead {
  TestRead(ObjectRef an_object, std::uint64_t first, std::uint64_t pages)
      : buffer(pages * kPageSize) {
    object = std::move(an_object);
    range = {PageIndex{first}, PageCount{pages}};
    into = buffer.span();
    done = [](StoreRead& self, PageCount count) {
      auto& read = static_cast<TestRead&>(self);
      check(!read.served, "a read is answered once");
      read.served = count.value();
    };
  }
  bool good(std::uint64_t version) const {
    AlignedBuffer expected(kPageSize);
    for (std::uint64_t i = 0; i < range.count.value(); ++i) {
      paint(expected.span(), 0, range.first.value() + i, version);
      if (!std::ranges::equal(buffer.span().subspan(i * kPageSize, kPageSize), expected.span()))
        return false;
    }
    return true;
  }

  AlignedBuffer buffer;
  std::optional<std::uint64_t> served;
};

}  // namespace

TEST_CASE("sums come back from their homes, once, and pages whose sums cannot be read are misses") {
  constexpr std::uint64_t kPages = 4096;
  Rig rig(ByteCount{64u << 20});
  const ByteCount size{kPages * kPageSize};
  const ObjectRef file = rig.make("file", size);
  rig.fill_runs(file, kPages, 1);
  CHECK(rig.good(file, 0, 16, 1) == 16);
  CHECK(rig.store->counters().sum_reads.value() == 0);
  rig.reopen();
  const auto reads = rig.engine->reads();
  CHECK(rig.good(rig.find("file"), 0, 1, 1) == 1);
  CHECK(rig.engine->reads() == reads + 2);
  CHECK(rig.good(rig.find("file"), 1, 1, 1) == 1);
  CHECK(rig.engine->reads() == reads + 3);
  CHECK(rig.store->counters().sum_reads.value() == 1);
  rig.sound();

  // For as long as they cannot: nothing is dropped.
  rig.reopen();
  rig.engine->fail_read(1, EIO);
  CHECK(rig.good(rig.find("file"), 0, 1, 1) == 0);
  CHECK(rig.store->counters().read_errors.value() == 1);
  CHECK(rig.store->counters().misses.value() == 1);
  CHECK(rig.good(rig.find("file"), 0, 16, 1) == 16);
  CHECK(rig.store->counters().quarantined_bytes.value() == 0);
  rig.sound();

  // Sums that were read and are wrong are lost, and their pages are.
  rig.reopen();
  const Layout layout = layout_for(ByteCount{64u << 20});
  for (unsigned place : {1u, 2u}) rig.engine->image().flip_bit(layout.home_of_sums(0, place), 3);
  CHECK(rig.good(rig.find("file"), 0, 1, 1) == 0);
  CHECK(rig.store->counters().sum_errors.value() == 1);
  CHECK(rig.store->cached_pages(rig.find("file")).value() == kPages - 256);
  CHECK(rig.good(rig.find("file"), 2048, 16, 1) == 16);
}

TEST_CASE("sums that cannot be read, again and again, are a device that fails") {
  const bool waits = GENERATE(true, false);
  CAPTURE(waits);
  constexpr std::uint64_t kPages = 256;
  const ByteCount size{kPages * kPageSize};
  Rig rig(ByteCount{64u << 20});
  REQUIRE(rig.fill(rig.make("file", size), 0, kPages, 1, size));
  rig.reopen();
  const Layout layout = layout_for(ByteCount{64u << 20});
  rig.engine->bad_area(layout.sums, ByteCount{layout.sum_chunks * 2 * kBlockSize});
  for (std::uint64_t i = 0; i < 8; ++i) {
    CHECK(rig.store->state() == State::kOpen);
    TestRead read(rig.find("file"), i, 1);
    if (waits) {
      CHECK(rig.good(read.object, i, 1, 1) == 0);
    } else {
      rig.store->start_read(read);
      CHECK(read.served == 0);
    }
  }
  CHECK(rig.store->state() == State::kBypass);
  CHECK(rig.store->counters().read_errors.value() == 8);
  rig.engine->bad_area({}, {});
  rig.clock.advance(2 * kSecond);
  REQUIRE(rig.store->sync());
  CHECK(rig.store->state() == State::kOpen);
  CHECK(rig.good(rig.find("file"), 0, kPages, 1) == static_cast<int>(kPages));
  rig.sound();
}

namespace {

// A chunk of sums is needed by the next checkpoint, and cannot be read.
struct Unreadable {
  static constexpr std::uint64_t kPages = 1536;
  Rig rig{ByteCount{64u << 20}};

  Unreadable() {
    const ByteCount size{2 * kPages * kPageSize};
    const ObjectRef file = rig.make("file", size);
    rig.fill_runs(file, kPages, 1);
    rig.reopen();
    // In the second chunk, most of which is at home.
    REQUIRE(rig.fill(rig.find("file"), kPages, 16, 1, size));
    REQUIRE(rig.store->sync());
    const Layout layout = layout_for(ByteCount{64u << 20});
    rig.engine->bad_area(layout.sums, ByteCount{layout.sum_chunks * 2 * kBlockSize});
  }
  // What was in memory is as good as it was, and so is what lies in the other chunk.
  void look(bool healed) {
    const ObjectRef at = rig.find("file");
    CHECK(rig.good(at, 0, 1024, 1) == 1024);
    CHECK(rig.good(at, kPages, 16, 1) == 16);
    CHECK(rig.good(at, 1024, 512, 1) == (healed ? 512 : 0));
  }
};

}  // namespace

TEST_CASE("sums that a checkpoint needs and cannot read: the store is bypassed, and comes back") {
  const bool healed = GENERATE(true, false);
  CAPTURE(healed);
  Unreadable at;
  Rig& rig = at.rig;
  const std::uint64_t checkpoints = rig.store->counters().checkpoints.value();
  const ObjectRef other = rig.make("other", {});
  for (int i = 0; i < 10'000 && rig.store->state() == State::kOpen; ++i) {
    rig.store->update(other, bytes("x"), {});
    static_cast<void>(rig.store->sync());
  }
  REQUIRE(rig.store->state() == State::kBypass);
  CHECK(rig.store->counters().checkpoints.value() == checkpoints);
  if (healed) rig.engine->bad_area({}, {});
  rig.clock.advance(2 * kSecond);
  REQUIRE(rig.store->sync());
  CHECK(rig.store->state() == State::kOpen);
  CHECK(rig.store->counters().checkpoints.value() == checkpoints + 1);
  rig.engine->bad_area({}, {});
  at.look(healed);
  rig.sound();
  rig.kill();
  at.look(healed);
}

TEST_CASE("sums that cannot be read do not keep a store from being closed") {
  Unreadable at;
  at.rig.make("last", {});
  at.rig.reopen();
  CHECK(at.rig.store->counters().replayed_records.value() == 0);
  CHECK(at.rig.find("last"));
  at.look(false);
  at.rig.sound();
}

TEST_CASE("who must not wait for sums is told so, and a read that is started waits for them") {
  constexpr std::uint64_t kPages = 2048;
  Rig rig(ByteCount{64u << 20});
  const ByteCount size{kPages * kPageSize};
  {
    const ObjectRef file = rig.make("file", size);
    rig.fill_runs(file, kPages, 1);
  }
  rig.reopen();
  // The sums of these lie in two chunks.
  TestRead read(rig.find("file"), 1000, 64);
  const auto at_once = [&] {
    return rig.store->read_at_once(read.object, read.range, read.into, ReadMode::kBuffered);
  };
  const std::uint64_t reads = rig.engine->reads();
  CHECK(at_once().would_wait);
  CHECK(at_once().served == PageCount{0});
  CHECK(rig.engine->reads() == reads);

  rig.engine->delay_reads(1, SimEngine::Reader::kRing);
  SECTION("they come, a chunk at a time") {
    rig.store->start_read(read);
    std::uint64_t waited = 0;
    while (!read.served && rig.engine->release_one()) ++waited;
    CHECK(waited >= 3);
    CHECK(rig.store->counters().sum_reads.value() == 2);
    CHECK(read.served == 64);
    CHECK(read.good(1));
    rig.engine->delay_reads(0, SimEngine::Reader::kThread);
    CHECK(at_once().served == PageCount{64});
  }
  SECTION("two reads wait for the same ones") {
    TestRead other(rig.find("file"), 1010, 32);
    rig.store->start_read(read);
    rig.store->start_read(other);
    while (rig.engine->release_one()) {
    }
    CHECK(read.served == 64);
    CHECK(other.served == 32);
    CHECK(read.good(1));
    CHECK(other.good(1));
  }
  SECTION("they cannot be read: a miss") {
    rig.engine->fail_read(1, EIO);
    rig.store->start_read(read);
    while (rig.engine->release_one()) {
    }
    CHECK(read.served == 0);
    CHECK(rig.store->counters().read_errors.value() == 1);
    read.served.reset();
    rig.store->start_read(read);
    while (rig.engine->release_one()) {
    }
    CHECK(read.served == 64);
    CHECK(read.good(1));
  }
  SECTION("the file is dropped meanwhile") {
    rig.store->start_read(read);
    rig.store->drop(read.object, read.range);
    while (rig.engine->release_one()) {
    }
    CHECK(read.served == 0);
  }
  rig.engine->delay_reads(0, SimEngine::Reader::kThread);
  read.object.reset();
  rig.sound();
}

TEST_CASE("a read whose sums lie in many chunks gets all that is there") {
  constexpr std::uint64_t kParts = 20, kFiller = 1024;
  Rig rig(ByteCount{128u << 20});
  {
    const ObjectRef file = rig.make("file", ByteCount{kParts * kPageSize});
    const ByteCount size{kParts * kFiller * kPageSize};
    const ObjectRef filler = rig.make("filler", size);
    for (std::uint64_t part = 0; part < kParts; ++part) {
      REQUIRE(rig.fill(file, part, 1, 1));
      for (std::uint64_t page = 0; page < kFiller; page += 256)
        REQUIRE(rig.fill(filler, part * kFiller + page, 256, 1, size));
    }
  }
  rig.reopen();
  SECTION("where it is started") {
    TestRead read(rig.find("file"), 0, kParts);
    rig.store->start_read(read);
    CHECK(read.served == kParts);
    CHECK(read.good(1));
  }
  SECTION("where it is waited for") { CHECK(rig.good(rig.find("file"), 0, kParts, 1) == kParts); }
  CHECK(rig.store->counters().sum_reads.value() == kParts);
  CHECK(rig.store->counters().misses.value() == 0);
}

TEST_CASE("a device that hangs as sums are read is seen") {
  Options options;
  options.deadline_ns = kSecond;
  Rig rig(ByteCount{64u << 20}, options);
  const ByteCount size{256 * kPageSize};
  REQUIRE(rig.fill(rig.make("file", size), 0, 256, 1, size));
  rig.reopen();
  rig.engine->delay_reads(1, SimEngine::Reader::kRing);
  TestRead read(rig.find("file"), 0, 16);
  rig.store->start_read(read);
  rig.clock.advance(2 * kSecond);
  CHECK(rig.store->to_text().find("state: hung") != std::string::npos);
  CHECK(rig.store->missing(read.object, read.range) == std::vector{read.range});
  TestRead next(rig.find("file"), 16, 16);
  rig.store->start_read(next);
  CHECK(next.served == 0);
  CHECK(rig.store->counters().hangs.value() == 1);
  while (rig.engine->release_one()) {
  }
  CHECK(read.served.has_value());
}

TEST_CASE("with little memory for the index, sums leave it and everything can still be read") {
  Options options;
  options.index_memory = ByteCount{128u << 10};
  Rig rig(ByteCount{256u << 20}, options);
  constexpr std::uint64_t kFiles = 40, kPages = 1024;
  const ByteCount size{kPages * kPageSize};
  for (std::uint64_t i = 0; i < kFiles; ++i) {
    const ObjectRef file = rig.make(std::to_string(i), size);
    rig.fill_runs(file, kPages, i + 1);
    REQUIRE(rig.store->sync());
  }
  CHECK(rig.store->counters().checkpoints.value() > 0);
  for (int pass = 0; pass < 2; ++pass) {
    for (std::uint64_t i = 0; i < kFiles; ++i)
      CHECK(rig.good(rig.find(std::to_string(i)), 7 * i, 64, i + 1) == 64);
  }
  CHECK(rig.store->counters().sum_reads.value() > 0);
  CHECK(rig.store->counters().sum_errors.value() == 0);
  rig.sound();
}
