// SPDX-License-Identifier: Apache-2.0
// Metadata that time, a disk or a stranger has changed: an older store or an empty one, never a
// wrong byte.
#include "model.h"
#include "store/entry.h"
#include "store/layout.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {

const Layout& layout() {
  static const Layout kLayout = layout_for(kSmallestStore);
  return kLayout;
}

// A store with a checkpoint and a journal behind it, as kill -9 leaves it.
SimImage used_store() {
  Rig rig;
  for (int i = 0; i < 8; ++i) {
    const ObjectRef file = rig.make(fmt::format("old{}", i), ByteCount{64 * kPageSize});
    REQUIRE(rig.fill(file, 0, 64, 1));
    rig.store->put_name(rig.store->root(), fmt::format("name{}", i), {});
  }
  rig.reopen();
  for (int i = 0; i < 8; ++i) {
    const ObjectRef file = rig.make(fmt::format("new{}", i), ByteCount{64 * kPageSize});
    REQUIRE(rig.fill(file, 0, 64, 1));
    rig.store->invalidate(rig.find(fmt::format("old{}", i)), bytes("v2"),
                          ByteCount{64 * kPageSize});
    REQUIRE(rig.fill(rig.find(fmt::format("old{}", i)), 0, 64, 2));
    REQUIRE(rig.store->sync());
  }
  return rig.engine->image();
}

// Nothing that can be read is wrong; and the store works.
void works(Rig& rig) {
  rig.sound();
  for (int i = 0; i < 8; ++i) {
    for (const char* name : {"old", "new"}) {
      const ObjectRef file = rig.find(fmt::format("{}{}", name, i));
      if (!file) continue;
      const std::string aux = rig.aux(file);
      CAPTURE(name, i, aux);
      CHECK((aux == "v1" || aux == "v2"));
      CHECK(rig.good(file, 0, 64, aux == "v1" ? 1 : 2) >= 0);
    }
  }
  auto made = rig.store->create(rig.store->root(), ObjectType::kData, bytes("after"), {},
                                ByteCount{kPageSize});
  REQUIRE(made);
  CHECK(rig.fill(*made, 0, 1, 9));
  CHECK(rig.store->sync());
  CHECK(rig.good(*made, 0, 1, 9) == 1);
}

}  // namespace

TEST_CASE("zeros, noise or a flipped bit in any block of the metadata") {
  const SimImage image = used_store();
  Random random(test_seed(41));
  AlignedBuffer noise(kBlockSize), zeros(kBlockSize);
  for (std::uint64_t block = 0; block < layout().data.value() / kBlockSize; ++block) {
    const ByteOffset at{block * kBlockSize};
    AlignedBuffer was(kBlockSize);
    image.read(at, was.span());
    const bool empty = std::memcmp(was.data(), zeros.data(), kBlockSize) == 0;
    for (int how = 0; how < 3; ++how) {
      if (empty && how == 0) continue;
      CAPTURE(block, how);
      SimImage damaged = image;
      for (std::byte& byte : noise.span()) byte = static_cast<std::byte>(random.below(256));
      if (how == 0) damaged.write(at, zeros.span());
      if (how == 1) damaged.write(at, noise.span());
      if (how == 2)
        damaged.flip_bit(at + ByteCount{random.below(kBlockSize)},
                         static_cast<unsigned>(random.below(8)));
      Rig rig{std::move(damaged)};
      works(rig);
      if (empty) CHECK(rig.find("new0"));
    }
  }
}

TEST_CASE("one damaged superblock costs nothing that the journal still has") {
  const SimImage image = used_store();
  AlignedBuffer zeros(kBlockSize);
  for (const std::uint64_t place : kSuperblockOffset) {
    SimImage damaged = image;
    damaged.write(ByteOffset{place}, zeros.span());
    Rig rig{std::move(damaged)};
    works(rig);
    // The superblock that nobody looked at is replaced at once.
    CHECK(rig.store->counters().checkpoints.value() <= 1);
  }
}

TEST_CASE("random bits of the metadata flip together") {
  const SimImage image = used_store();
  const Seed seed = test_seed(42);
  CAPTURE(seed.value);
  Random random(seed);
  for (int round = 0; round < 300; ++round) {
    CAPTURE(round);
    SimImage damaged = image;
    const std::uint64_t flips = 1 + random.below(40);
    const std::uint64_t start = random.one_in(2) ? 0 : layout().journal.value();
    for (std::uint64_t i = 0; i < flips; ++i) {
      const std::uint64_t within = random.one_in(2) ? (128u << 10) : layout().data.value() - start;
      damaged.flip_bit(ByteOffset{start + random.below(within)},
                       static_cast<unsigned>(random.below(8)));
    }
    Rig rig{std::move(damaged)};
    works(rig);
  }
}

TEST_CASE("damaged pages are misses, all others are read") {
  SimImage image = used_store();
  Random random(test_seed(43));
  for (int i = 0; i < 200; ++i) {
    image.flip_bit(layout().data + ByteCount{random.below(8u << 20)},
                   static_cast<unsigned>(random.below(8)));
  }
  Rig rig{std::move(image)};
  works(rig);
  CHECK(rig.store->counters().sum_errors.value() > 0);
}

TEST_CASE("a store of another format number is created anew, with its uuid another") {
  SimImage image = used_store();
  std::string uuid;
  {
    Rig rig{image};
    uuid = rig.store->uuid();
  }
  for (const std::uint64_t place : kSuperblockOffset) {
    const std::array<std::byte, 1> format{std::byte{7}};
    image.write(ByteOffset{place + offsetof(SuperblockDisk, format)}, format);
  }
  Rig rig{std::move(image)};
  CHECK_FALSE(rig.find("old0"));
  CHECK(rig.store->uuid() != uuid);
  works(rig);
}

TEST_CASE("what is not a store is left alone") {
  const std::uint64_t place = GENERATE(std::uint64_t{0}, std::uint64_t{5000}, std::uint64_t{100000},
                                       kSmallestStore.value() / 4096 / 2 * 4096);
  CAPTURE(place);
  SimImage image(kSmallestStore);
  std::vector<std::byte> something(kBlockSize, std::byte{'x'});
  for (std::uint64_t at = place; at + kBlockSize <= kSmallestStore.value(); at += kBlockSize) {
    image.write(ByteOffset{at}, something);
  }
  SimEngine engine(image);
  StepQueue machine;
  SimClock clock;
  Device device;
  device.size = kSmallestStore;
  device.path = "somebody's file";
  auto opened = Store::open(std::move(device), {}, engine, machine, clock, Seed{1});
  REQUIRE_FALSE(opened);
  CHECK(opened.error().error.code == ErrorCode::kStoreFormat);
  CHECK(opened.error().line.find("somebody's file") != std::string::npos);
  CHECK(engine.operations() == 0);
}

TEST_CASE("records that make no sense are discarded, whatever their sums say") {
  // Entries with right sums and wrong records, as only a fault of our own would write them.
  const Seed seed = test_seed(44);
  CAPTURE(seed.value);
  Random random(seed);
  for (int round = 0; round < 300; ++round) {
    CAPTURE(round);
    Rig rig;
    const ObjectRef file = rig.make("old0", ByteCount{64 * kPageSize});
    REQUIRE(rig.fill(file, 0, 64, 1));
    REQUIRE(rig.store->sync());
    SimImage image = rig.engine->image();
    AlignedBuffer block(2 * kBlockSize);
    image.read(layout().journal, block.span());
    const auto header = disk_from<EntryDisk>(block.span());
    const std::size_t length = header.length.get();
    REQUIRE(length > 100);
    REQUIRE(length < 2 * kBlockSize - sizeof(EntryDisk));
    for (std::uint64_t i = 1 + random.below(4); i > 0; --i) {
      block.span()[sizeof(EntryDisk) + random.below(length)] =
          static_cast<std::byte>(random.below(256));
    }
    const EntryName name{header.uuid,      header.generation.get(), header.sequence.get(),
                         layout().journal, EntryKind::kJournal,     header.previous.get()};
    seal_entry(name, length, header.records.get(), block.span());
    image.write(layout().journal, block.span().first(entry_blocks(length) * kBlockSize));
    Rig other{std::move(image)};
    other.sound();
  }
}

TEST_CASE("what lies behind a damaged entry does not continue what is written in its place") {
  Rig rig;
  const auto commit = [&](std::string_view key) {
    rig.make(key, {});
    REQUIRE(rig.store->sync());
  };
  commit("first");
  commit("damaged");
  commit("behind");
  SimImage image = rig.engine->image();
  image.flip_bit(layout().journal + ByteCount{kBlockSize + 70}, 1);
  Rig other{std::move(image)};
  CHECK(other.find("first"));
  CHECK_FALSE(other.find("damaged"));
  CHECK_FALSE(other.find("behind"));
  // One block, where the damaged one lay: the old third entry has the right place and sequence.
  other.make("instead", {});
  REQUIRE(other.store->sync());
  Rig last{other.engine->image()};
  CHECK(last.find("first"));
  CHECK(last.find("instead"));
  CHECK_FALSE(last.find("behind"));
  last.sound();
}

TEST_CASE("an older superblock is not believed where a later journal shows that it is overtaken") {
  Rig rig;
  rig.make("old", {});
  REQUIRE(rig.store->sync());
  rig.reopen();
  // Retired, and the journal of the new checkpoint says so.
  rig.store->retire(rig.find("old"));
  REQUIRE(rig.store->sync());
  SimImage image = rig.engine->image();
  // After closing once, slot 1 holds the newer superblock.
  image.flip_bit(ByteOffset{kSuperblockOffset[1] + 40}, 0);
  Rig other{std::move(image)};
  CHECK_FALSE(other.find("old"));
  CHECK(other.store->counters().objects.value() == 1);
}
