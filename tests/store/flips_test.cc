// SPDX-License-Identifier: Apache-2.0
// Bits that flip anywhere, and a journal and superblocks that end or change at any byte: a store
// opens, or is made anew; it never serves a byte that was not put under that key.
#include "model.h"
#include "store/format.h"
#include "store/layout.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {

constexpr std::uint64_t kFiles = 6, kPages = 48;

const Layout& layout() {
  static const Layout kLayout = layout_for(kSmallestStore);
  return kLayout;
}

// As kill -9 leaves it: a checkpoint, and a journal behind it in which content changes.
SimImage used_store() {
  Rig rig;
  const ByteCount size{kPages * kPageSize};
  for (std::uint64_t i = 0; i < kFiles; ++i) {
    const ObjectRef file = rig.make(fmt::format("file{}", i), size);
    REQUIRE(rig.fill(file, 0, kPages, 1));
  }
  rig.reopen();
  for (std::uint64_t i = 0; i < kFiles; i += 2) {
    const ObjectRef file = rig.find(fmt::format("file{}", i));
    rig.store->invalidate(file, bytes("v2"), size);
    REQUIRE(rig.fill(file, 0, kPages, 2));
    rig.store->put_name(rig.store->root(), fmt::format("name{}", i), {});
    REQUIRE(rig.store->sync());
  }
  return rig.engine->image();
}

struct Served {
  std::uint64_t right = 0, wrong = 0;
};

// What every page that can be read is, by the version that the aux data name.
Served serve(Rig& rig) {
  Served served;
  for (std::uint64_t i = 0; i < kFiles; ++i) {
    const ObjectRef file = rig.find(fmt::format("file{}", i));
    if (!file) continue;
    const std::string aux = rig.aux(file);
    if (aux != "v1" && aux != "v2") {
      ++served.wrong;
      continue;
    }
    for (std::uint64_t page = 0; page < kPages; page += 8) {
      const int got = rig.good(file, page, 8, aux == "v1" ? 1 : 2);
      if (got < 0) ++served.wrong;
      if (got > 0) served.right += static_cast<std::uint64_t>(got);
    }
  }
  return served;
}

// No exception and no broken rule, whatever it finds.
Served opened(SimImage image) {
  Rig rig{std::move(image)};
  return serve(rig);
}

}  // namespace

TEST_CASE("random bit flips: not one wrong byte is served") {
  const Seed seed = test_seed(51);
  CAPTURE(seed.value);
  Random random(seed);
  const SimImage image = used_store();
  // Where there is something: half of the flips in metadata, half in pages.
  const std::uint64_t data = layout().data.value(), metadata = std::uint64_t{512} << 10;
  const std::uint64_t all_flips = is_long() ? 1'000'000 : 30'000;
  Served sum;
  for (std::uint64_t flips = 0; flips < all_flips;) {
    SimImage damaged = image;
    for (std::uint64_t left = 1 + random.below(100); left > 0; --left, ++flips) {
      const std::uint64_t at = random.one_in(2)
                                   ? random.below(metadata)
                                   : data + random.below(2 * kFiles * kPages * kPageSize);
      damaged.flip_bit(ByteOffset{at}, static_cast<unsigned>(random.below(8)));
    }
    const Served served = opened(std::move(damaged));
    CAPTURE(flips);
    if (served.wrong != 0) CHECK(served.wrong == 0);
    sum.right += served.right;
  }
  CHECK(sum.wrong == 0);
  CHECK(sum.right > 0);
}

TEST_CASE("a journal that ends or is changed at any byte") {
  const SimImage image = used_store();
  const std::uint64_t length = 3 * 4096;  // its three entries begin the ring
  const std::uint64_t step = is_long() ? 1 : 13;
  const std::vector<std::byte> zeros(length);
  for (std::uint64_t at = 0; at < length; at += step) {
    CAPTURE(at);
    SimImage cut = image;
    cut.write(layout().journal + ByteCount{at}, std::span(zeros).first(length - at));
    const Served after_cut = opened(std::move(cut));
    CHECK(after_cut.wrong == 0);
    CHECK(after_cut.right > 0);  // what the checkpoint has
    SimImage changed = image;
    changed.flip_bit(layout().journal + ByteCount{at}, static_cast<unsigned>(at % 8));
    const Served after_change = opened(std::move(changed));
    CHECK(after_change.wrong == 0);
    CHECK(after_change.right > 0);
  }
}

TEST_CASE("a superblock that ends or is changed at any byte") {
  const SimImage image = used_store();
  const std::uint64_t step = is_long() ? 1 : 7;
  const std::vector<std::byte> zeros(sizeof(SuperblockDisk));
  for (const std::uint64_t place : kSuperblockOffset) {
    for (std::uint64_t at = 0; at < sizeof(SuperblockDisk); at += step) {
      CAPTURE(place, at);
      SimImage cut = image;
      cut.write(ByteOffset{place + at}, std::span(zeros).subspan(at));
      CHECK(opened(std::move(cut)).wrong == 0);
      SimImage changed = image;
      changed.flip_bit(ByteOffset{place + at}, static_cast<unsigned>(at % 8));
      CHECK(opened(std::move(changed)).wrong == 0);
    }
  }
}
