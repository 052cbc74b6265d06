// SPDX-License-Identifier: Apache-2.0
// A store that grows and shrinks while it is used: nothing wrong is served, what has room stays,
// and a crash at any write leaves it with one size or the other.
#include <larder/device.h>
#include <larder/fd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "model.h"
#include "store/layout.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {

constexpr ByteCount mib(std::uint64_t n) { return ByteCount{n << 20}; }
constexpr std::uint64_t kPages = 256;

// Files of 1 MiB.
std::vector<ObjectRef> fill_files(Rig& rig, std::uint64_t count) {
  std::vector<ObjectRef> files;
  for (std::uint64_t i = 0; i < count; ++i) {
    files.push_back(rig.make(fmt::format("file{}", i), to_bytes(PageCount{kPages})));
    REQUIRE(rig.fill(files.back(), 0, kPages, i + 1));
  }
  REQUIRE(rig.store->sync());
  return files;
}

// How many of them are there as a whole; none has a wrong byte.
std::uint64_t whole_files(Rig& rig, std::uint64_t count) {
  std::uint64_t whole = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const ObjectRef file = rig.find(fmt::format("file{}", i));
    REQUIRE(file);
    const int got = rig.good(file, 0, kPages, i + 1);
    CHECK(got >= 0);
    if (got == static_cast<int>(kPages)) ++whole;
  }
  return whole;
}

}  // namespace

TEST_CASE("a layout at any size: nothing overlaps, the sums suffice, it is found again") {
  Random random(test_seed(3));
  Layout layout = layout_for(mib(8192));
  std::uint64_t moves = 0, refused = 0;
  for (int i = 0; i < 4000; ++i) {
    if (i % 200 == 0) layout = layout_for(mib(16 + random.below(1u << 20)));
    const ByteCount size{(16 + random.below(1u << random.below(16))) << 20};
    const auto next = resized(layout, size);
    CAPTURE(layout.size.value(), size.value());
    if (!next) {
      ++refused;
      CHECK(size < least_size(layout));
      continue;
    }
    CHECK(next->data == layout.data);
    CHECK(next->file_bytes() <= next->size);
    CHECK(next->metadata_end().value() <= next->file_bytes().value());
    CHECK(next->data_blocks <= next->sum_chunks * 1024);
    CHECK((next->metadata_end() <= next->data || next->journal >= next->data));
    if (next->journal != layout.journal) {
      ++moves;
      const bool apart =
          next->metadata_end() <= layout.journal || layout.metadata_end() <= next->journal;
      CHECK(apart);
    }
    const auto again = layout_of({next->size, next->basis, next->journal, next->data});
    REQUIRE(again);
    CHECK(*again == *next);
    layout = *next;
  }
  CHECK(moves > 20);
  CHECK(refused > 0);
}

TEST_CASE("a store that grows has what it had, and room for more") {
  Rig rig(mib(16), mib(80));
  fill_files(rig, 12);
  const std::uint64_t before = whole_files(rig, 12);
  const ByteCount capacity = rig.store->capacity();
  const auto line = rig.store->resize(mib(80));
  REQUIRE(line);
  CHECK(line->find("80 MiB now, and had 16 MiB") != std::string::npos);
  CHECK(rig.store->size() == mib(80));
  CHECK(rig.store->capacity() > ByteCount{capacity.value() * 4});
  rig.sound();
  CHECK(whole_files(rig, 12) == before);
  for (std::uint64_t i = 0; i < 50; ++i) {
    const ObjectRef file = rig.make(fmt::format("more{}", i), to_bytes(PageCount{kPages}));
    REQUIRE(rig.fill(file, 0, kPages, i + 1));
    REQUIRE(rig.store->sync());
  }
  rig.sound();
  CHECK(rig.store->counters().used_bytes.value() > 50u << 20);
  rig.kill();
  rig.sound();
  CHECK(rig.store->size() == mib(80));
  CHECK(whole_files(rig, 12) == before);
  rig.reopen();
  rig.sound();
  CHECK(whole_files(rig, 12) == before);
}

TEST_CASE("a store that shrinks moves what has room, and lets go of the rest") {
  Rig rig(mib(64), mib(64));
  fill_files(rig, 40);
  REQUIRE(whole_files(rig, 40) == 40);
  REQUIRE(rig.store->resize(mib(48)));
  rig.sound();
  // What is behind its new end has moved: all of it has room.
  CHECK(whole_files(rig, 40) == 40);
  REQUIRE(rig.store->resize(mib(24)));
  rig.sound();
  CHECK(rig.store->counters().moved_bytes.value() > 0);
  const std::uint64_t left = whole_files(rig, 40);
  CHECK(left >= 14);
  CHECK(left < 24);
  rig.kill();
  CHECK(rig.store->size() == mib(24));
  rig.sound();
}

TEST_CASE("after it shrank nothing is written behind the end, whatever happens") {
  Rig rig(mib(64), mib(64));
  fill_files(rig, 40);
  REQUIRE(rig.store->resize(mib(20)));
  const std::size_t before = rig.engine->written().size();
  for (std::uint64_t i = 0; i < 60; ++i) {
    const ObjectRef file = rig.make(fmt::format("more{}", i), to_bytes(PageCount{kPages}));
    static_cast<void>(rig.fill(file, 0, kPages, 1));
    REQUIRE(rig.store->sync());
  }
  std::uint64_t beyond = 0;
  for (std::size_t i = before; i < rig.engine->written().size(); ++i) {
    const SimEngine::Written& one = rig.engine->written()[i];
    if (one.at.value() + one.length > mib(20).value()) ++beyond;
  }
  CHECK(rig.engine->written().size() > before + 60);
  CHECK(beyond == 0);
  rig.sound();
}

TEST_CASE("sums that have left memory move along") {
  Options options;
  options.index_memory = ByteCount{1u << 20};
  Rig rig(mib(32), mib(128), options);
  fill_files(rig, 20);
  const std::uint64_t before = whole_files(rig, 20);
  rig.reopen();
  REQUIRE(rig.store->resize(mib(128)));
  CHECK(whole_files(rig, 20) == before);
  REQUIRE(rig.store->resize(mib(32)));
  CHECK(whole_files(rig, 20) == before);
  rig.sound();
  rig.kill();
  CHECK(whole_files(rig, 20) == before);
  CHECK(rig.store->counters().sum_errors.value() == 0);
}

TEST_CASE("sizes that cannot be had: a line, and all is as it was") {
  Rig rig(mib(64), mib(64));
  fill_files(rig, 8);
  const auto small = rig.store->resize(mib(1));
  REQUIRE_FALSE(small);
  CHECK(small.error().line.find("at least 16 MiB") != std::string::npos);
  const auto same = rig.store->resize(mib(64));
  REQUIRE(same);
  CHECK(same->find("already") != std::string::npos);
  CHECK(rig.store->size() == mib(64));
  CHECK(rig.store->counters().resizes.value() == 0);
  CHECK(whole_files(rig, 8) == 8);
  rig.sound();
}

TEST_CASE("the device fails in the middle: the store is bypassed, comes back, and is sound") {
  for (std::uint64_t n = 1; n < 24; ++n) {
    CAPTURE(n);
    Rig rig(mib(32), mib(96));
    fill_files(rig, 20);
    rig.engine->fail_operation(n, EIO);
    const auto done = rig.store->resize(n % 2 == 0 ? mib(96) : mib(20));
    if (!done) CHECK_FALSE(done.error().line.empty());
    for (int i = 0; i < 8; ++i) {
      rig.clock.advance(10 * kSecond);
      static_cast<void>(rig.store->sync());
    }
    CHECK(rig.store->state() == State::kOpen);
    rig.sound();
    whole_files(rig, 20);
    rig.kill();
    rig.sound();
    whole_files(rig, 20);
  }
}

namespace {

// The file of a store that lies on a simulated device: only its length is looked at.
struct Length {
  Fd fd{::memfd_create("larder-store", MFD_CLOEXEC)};
  explicit Length(ByteCount bytes) {
    REQUIRE(::ftruncate(fd.get(), static_cast<off_t>(bytes.value())) == 0);
  }
  ByteCount now() const {
    struct stat stat {};
    REQUIRE(::fstat(fd.get(), &stat) == 0);
    return ByteCount{static_cast<std::uint64_t>(stat.st_size)};
  }
};

}  // namespace

TEST_CASE("the device fails as the store grows: the file is as long as the superblock says") {
  constexpr ByteCount kBefore = mib(32), kAfter = mib(96);
  int grown = 0, as_before = 0;
  for (std::uint64_t n = 1; n < 24; ++n) {
    CAPTURE(n);
    const Length file(layout_for(kBefore).file_bytes());
    Rig rig(kBefore, kAfter);
    rig.close();
    rig.file = file.fd.get();
    rig.new_size = kBefore;
    rig.open();
    fill_files(rig, 20);
    rig.engine->fail_operation(n, EIO);
    const auto done = rig.store->resize(kAfter);
    const ByteCount size = rig.store->size();
    CAPTURE(done ? *done : done.error().line);
    CHECK((size == kBefore || size == kAfter));
    const auto layout = resized(layout_for(kBefore), kAfter);
    CHECK(file.now() == (size == kAfter ? layout->file_bytes() : layout_for(kBefore).file_bytes()));
    const bool says =
        (done ? *done : done.error().line).find("has 96 MiB now") != std::string::npos;
    CHECK(says == (size == kAfter));
    if (done) continue;
    ++(size == kAfter ? grown : as_before);
    rig.clock.advance(10 * kSecond);
    REQUIRE(rig.store->sync());
    CHECK(rig.store->state() == State::kOpen);
    CHECK(rig.store->size() == size);
    rig.sound();
    whole_files(rig, 20);
  }
  CHECK(as_before > 0);
  CHECK(grown > 0);
}

TEST_CASE("random operations and sizes agree with the model") {
  std::uint64_t resizes = 0;
  for (const Seed seed : test_seeds(201, 6, 1500)) {
    CAPTURE(seed.value);
    Rig rig(mib(16), mib(72));
    Workload workload(rig, seed);
    workload.resize_to({mib(16), mib(17), mib(24), mib(40), mib(72)});
    for (int i = 0; i < 300; ++i) {
      workload.step();
      if (i % 10 == 0) rig.sound();
    }
    workload.let_go();
    rig.kill();
    rig.sound();
    workload.read_after_crash();
    resizes += workload.resizes();
  }
  CHECK(resizes > 0);
}

TEST_CASE("a crash at every write and flush while the store grows and shrinks") {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr int kFates = 1;
#else
  constexpr int kFates = 3;
#endif
  struct Point {
    larder::test::SimMoment moment;
    Workload::Reported reported;
  };
  std::size_t points_in_all = 0;
  std::uint64_t resizes = 0;
  for (const Seed seed : test_seeds(301, 1, 40)) {
    CAPTURE(seed.value);
    Rig rig(mib(16), mib(48));
    Workload workload(rig, seed);
    workload.resize_to({mib(16), mib(20), mib(48)});
    std::vector<Point> points;
    rig.engine->on_operation = [&] {
      points.push_back({rig.engine->moment(), workload.reported()});
    };
    while (points.size() < 700) workload.step();
    workload.let_go();
    rig.machine.run_all();
    rig.store->close();
    rig.store.reset();
    rig.engine->on_operation = nullptr;
    Random random(seed);
    for (std::size_t at = 0; at < points.size(); ++at) {
      CAPTURE(at);
      for (int fate = 0; fate < kFates; ++fate) {
        rig.engine = std::make_unique<SimEngine>(points[at].moment.crash(random));
        rig.open();
        const ByteCount size = rig.store->size();
        if (size != mib(16) && size != mib(20) && size != mib(48)) CHECK(size == mib(16));
        rig.sound();
        workload.read_after_crash(points[at].reported);
        rig.close();
      }
    }
    points_in_all += points.size();
    resizes += workload.resizes();
  }
  std::printf("crash matrix of sizes: %zu points, %llu changes of size\n", points_in_all,
              static_cast<unsigned long long>(resizes));
  CHECK(points_in_all >= 700);
  CHECK(resizes >= 8);
}
