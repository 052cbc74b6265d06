// SPDX-License-Identifier: Apache-2.0
// min_free=: the disk below keeps its room, whoever fills it. A real file: device_test.cc.
#include <fmt/format.h>

#include "rig.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {

constexpr std::uint64_t kPages = 256;
constexpr ByteCount kFile{kPages * kPageSize};

void fill_files(Rig& rig, int from, int to) {
  for (int i = from; i < to; ++i) {
    const ObjectRef file = rig.make(fmt::format("file{}", i), kFile);
    static_cast<void>(rig.fill(file, 0, kPages, 1));
    REQUIRE(rig.store->sync());
  }
}

struct World {
  World() : rig(ByteCount{64u << 20}) {
    rig.close();
    rig.engine = std::make_unique<SimEngine>(ByteCount{64u << 20});
    rig.disk_free = [this] { return ByteCount{free()}; };
    rig.options.min_free = ByteCount{100u << 20};
    rig.open();
  }
  void turn() {
    rig.clock.advance(kSecond);
    rig.store->put_name(rig.store->root(), fmt::format("name{}", ++turns_), {});
    REQUIRE(rig.store->sync());
  }

  // What others leave, but for what the store has: it gives back what is free.
  std::uint64_t free() const {
    if (!rig.store) return others_leave;
    const Counters& counters = rig.store->counters();
    const std::uint64_t has = counters.used_bytes.value() + counters.waiting_bytes.value();
    return others_leave - std::min(has, others_leave);
  }

  std::uint64_t others_leave = 1u << 30;
  Rig rig;

 private:
  int turns_ = 0;
};

}  // namespace

TEST_CASE("a fill does not take what the disk below is to keep free") {
  World world;
  world.others_leave = 105u << 20;
  fill_files(world.rig, 0, 12);
  CHECK(world.free() >= 100u << 20);
  CHECK(world.rig.store->counters().fills.value() >= 5);
  CHECK(world.rig.store->counters().fills_dropped_disk.value() > 0);
  world.rig.sound();
}

TEST_CASE("others fill the disk: the cache gives way, and takes room again when there is some") {
  World world;
  fill_files(world.rig, 0, 40);
  const std::uint64_t used = world.rig.store->counters().used_bytes.value();
  REQUIRE(used == 40 * kFile.value());
  world.others_leave = (90u << 20) + used;
  for (int i = 0; i < 6; ++i) world.turn();
  const std::uint64_t left = world.rig.store->counters().used_bytes.value();
  CHECK(world.free() >= 100u << 20);
  CHECK(left + (10u << 20) <= used);
  CHECK(left > used / 2);
  // Enough is enough.
  for (int i = 0; i < 6; ++i) world.turn();
  CHECK(world.rig.store->counters().used_bytes.value() == left);
  CHECK(world.rig.store->counters().disk_free_bytes.value() >= 100u << 20);
  // And it fills again.
  world.others_leave = 1u << 30;
  const std::uint64_t before = world.rig.store->counters().fills.value();
  fill_files(world.rig, 50, 52);
  CHECK(world.rig.store->counters().fills.value() == before + 2);
  // A disk that others fill whatever is given back takes all.
  world.others_leave = 0;
  for (int i = 0; i < 10; ++i) world.turn();
  CHECK(world.rig.store->counters().used_bytes.value() == 0);
  world.rig.sound();
}
