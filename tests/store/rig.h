// SPDX-License-Identifier: Apache-2.0
// Rig: a store on a simulated device, driven on one thread, and what the tests say of it.
#pragma once

#include <larder/buffer.h>
#include <larder/store.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <larder/store_check.h>
#include "support/catch.h"
#include "support/sim_clock.h"
#include "support/sim_engine.h"
#include "support/step_queue.h"

namespace larder::store::test {

using larder::test::SimClock;
using larder::test::SimEngine;
using larder::test::SimImage;
using larder::test::StepQueue;

inline Seed test_seed(std::uint64_t other) {
  const char* text = std::getenv("LARDER_SEED");
  return Seed{text == nullptr ? other : std::strtoull(text, nullptr, 10)};
}

inline bool is_long() { return std::getenv("LARDER_LONG") != nullptr; }
// From `first` on: a few by default, many with LARDER_LONG, one with LARDER_SEED.
inline std::vector<Seed> test_seeds(std::uint64_t first, std::size_t few, std::size_t many) {
  if (std::getenv("LARDER_SEED") != nullptr) return {test_seed(first)};
  std::vector<Seed> seeds;
  for (std::size_t i = 0; i < (is_long() ? many : few); ++i) seeds.push_back(Seed{first + i});
  return seeds;
}

inline std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span{text.data(), text.size()});
}
inline std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Content that tells by each of its pages what it is: `version` of page `page` of what is called
// `tag`. 0 is zeros.
inline void paint(std::span<std::byte> page_bytes, std::uint64_t tag, std::uint64_t page,
                  std::uint64_t version) {
  if (version == 0) {
    std::fill(page_bytes.begin(), page_bytes.end(), std::byte{0});
    return;
  }
  std::uint64_t state = tag * 0x9E3779B97F4A7C15ull + page * 0xC2B2AE3D27D4EB4Full + version;
  for (std::size_t i = 0; i + 8 <= page_bytes.size(); i += 8) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    std::memcpy(page_bytes.data() + i, &state, 8);
  }
}

// A fill that owns its bytes and remembers its answer.
struct TestFill : Fill {
  AlignedBuffer buffer;
  bool told = false;
  Status answer;

  TestFill(ObjectRef an_object, std::uint64_t a_generation, std::uint64_t first_page,
           std::uint64_t pages, ByteCount a_file_size, std::uint64_t version)
      : buffer(pages * kPageSize) {
    object = std::move(an_object);
    generation = a_generation;
    first = PageIndex{first_page};
    for (std::uint64_t i = 0; i < pages; ++i) {
      paint(buffer.span().subspan(i * kPageSize, kPageSize), 0, first_page + i, version);
    }
    data = buffer.span();
    file_size = a_file_size;
    done = [](Fill& self, Status status) {
      auto& fill = static_cast<TestFill&>(self);
      check(!fill.told, "a fill is answered once");
      fill.told = true;
      fill.answer = status;
    };
  }
};

struct Rig {
  explicit Rig(ByteCount size = kSmallestStore, Options the_options = {})
      : engine(std::make_unique<SimEngine>(size)) {
    options = the_options;
    options.commit_by = CommitBy::kSync;
    open();
  }
  // A device with room for the store to grow.
  Rig(ByteCount size, ByteCount device_size, Options the_options = {})
      : engine(std::make_unique<SimEngine>(device_size)), new_size(size) {
    options = the_options;
    options.commit_by = CommitBy::kSync;
    open();
  }
  explicit Rig(SimImage image) : engine(std::make_unique<SimEngine>(std::move(image))) {
    options.commit_by = CommitBy::kSync;
    open();
  }
  ~Rig() { close(); }

  SetUp<bool> try_open() {
    Device device;
    device.size = new_size.value() == 0 ? engine->image().size() : new_size;
    new_size = ByteCount{0};  // what is there has its own
    device.path = "simulated";
    device.disk_free = disk_free;
    if (file >= 0) device.fd = Fd(::dup(file));
    auto opened = Store::open(std::move(device), options, *engine, machine, clock, Seed{7});
    if (!opened) return tl::make_unexpected(std::move(opened).error());
    store = std::move(*opened);
    return true;
  }
  void open() {
    auto opened = try_open();
    REQUIRE(opened);
  }
  void close() {
    if (!store) return;
    engine->release_all();
    machine.run_all();
    store->close();
    store.reset();
  }
  void reopen() {
    close();
    engine = std::make_unique<SimEngine>(engine->image());
    open();
  }
  // As after kill -9: what the system had taken is there.
  void kill() {
    auto image = engine->image();
    close();
    engine = std::make_unique<SimEngine>(std::move(image));
    open();
  }

  ObjectRef make(std::string_view key, ByteCount size, std::string_view aux = "v1") {
    auto made = store->create(store->root(), ObjectType::kData, bytes(key), bytes(aux), size);
    REQUIRE(made);
    return *made;
  }
  ObjectRef find(std::string_view key) {
    auto found = store->find(store->root(), bytes(key));
    return found ? *found : ObjectRef();
  }
  std::string aux(const ObjectRef& object) { return text(store->record(object).aux); }

  Status fill(const ObjectRef& object, std::uint64_t first, std::uint64_t pages,
              std::uint64_t version, ByteCount file_size) {
    TestFill one(object, store->generation(object), first, pages, file_size, version);
    store->fill(one);
    machine.run_all();
    check(one.told, "the fill was answered");
    return one.answer;
  }
  Status fill(const ObjectRef& object, std::uint64_t first, std::uint64_t pages,
              std::uint64_t version) {
    return fill(object, first, pages, version, store->record(object).size);
  }
  // The first `pages`, in runs of 256.
  void fill_runs(const ObjectRef& object, std::uint64_t pages, std::uint64_t version) {
    for (std::uint64_t page = 0; page < pages; page += 256)
      REQUIRE(fill(object, page, 256, version));
  }
  // How many pages from `first` are read and are of this version; -1 where one is wrong.
  int good(const ObjectRef& object, std::uint64_t first, std::uint64_t pages,
           std::uint64_t version) {
    AlignedBuffer into(pages * kPageSize), expected(kPageSize);
    std::memset(into.data(), 0xaa, into.size());
    const PageCount got =
        store->read_now(object, {PageIndex{first}, PageCount{pages}}, into.span());
    for (std::uint64_t i = 0; i < got.value(); ++i) {
      paint(expected.span(), 0, first + i, version);
      if (std::memcmp(expected.data(), into.data() + i * kPageSize, kPageSize) != 0) return -1;
    }
    return static_cast<int>(got.value());
  }
  void sound() {
    for (const std::string& line : check_store(*store)) {
      CAPTURE(line);
      CHECK(line.empty());
    }
  }

  SimClock clock;
  StepQueue machine;
  Options options;
  std::unique_ptr<SimEngine> engine;
  std::function<ByteCount()> disk_free;  // of the disk below; null: it has no end
  int file = -1;                         // whose length the store sets; -1: none has
  ByteCount new_size{0};                 // of a store that is created; 0: all of the device
  std::unique_ptr<Store> store;
};

}  // namespace larder::store::test
