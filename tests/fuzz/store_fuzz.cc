// SPDX-License-Identifier: Apache-2.0
// Opening a store whose metadata somebody else wrote. libFuzzer gives the bytes:
//
//   byte 0   0: patches; 1: patches, then the sums are made right; 2: the rest is the records of a
//            journal entry; 3: of a checkpoint's chunk
//   patches  part (1: which superblock, journal or checkpoint area), offset (2), length (1), bytes
//
// Whatever it is, the store opens or says why not, keeps its invariants, takes pages, and opens
// again. Where no sum was made right, every byte that is served is one that was put there.
#include <fmt/format.h>
#include <larder/buffer.h>
#include <larder/log.h>
#include <larder/store_check.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "store/entry.h"
#include "store/layout.h"
#include "store/load.h"
#include "support/sim_clock.h"
#include "support/sim_engine.h"
#include "support/step_queue.h"

using namespace larder;
using namespace larder::store;
using larder::test::SimClock;
using larder::test::SimEngine;
using larder::test::SimImage;
using larder::test::StepQueue;

namespace {

constexpr std::uint64_t kFiles = 3, kPages = 8;

void require(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

std::span<const std::byte> bytes(const std::string& text) {
  return std::as_bytes(std::span{text.data(), text.size()});
}

// The content of a file's pages in one version.
void paint(std::span<std::byte> into, std::uint64_t file, char version) {
  std::memset(into.data(), static_cast<int>(static_cast<unsigned>(version) * 7 + file),
              into.size());
}

struct World {
  SimClock clock;
  StepQueue machine;
  SimEngine engine;
  std::unique_ptr<Store> store;

  explicit World(SimImage image) : engine(std::move(image)) {
    Device device;
    device.size = engine.image().size();
    device.path = "simulated";
    auto opened = Store::open(std::move(device), {.commit_by = CommitBy::kSync}, engine, machine,
                              clock, Seed{7});
    if (opened) store = std::move(*opened);
    if (!opened) require(!opened.error().line.empty(), "a refusal says why");
  }
  ~World() {
    if (!store) return;
    machine.run_all();
    store->close();
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  bool fill(const ObjectRef& object, std::span<const std::byte> data, ByteCount size) {
    struct Told : Fill {
      bool good = false;
    } fill;
    fill.object = object;
    fill.generation = store->generation(object);
    fill.data = data;
    fill.file_size = size;
    fill.done = [](Fill& self, Status status) {
      static_cast<Told&>(self).good = status.has_value();
    };
    store->fill(fill);
    machine.run_all();
    return fill.good;
  }
  void sound() {
    for (const std::string& line : check_store(*store)) require(false, line);
  }
};

void put(World& world, std::uint64_t file, char version) {
  const ByteCount size{kPages * kPageSize};
  AlignedBuffer data(size.value());
  const std::string key = fmt::format("f{}", file);
  const std::string aux(1, version);
  const ObjectRef root = world.store->root();
  auto object = world.store->find(root, bytes(key));
  if (object) {
    world.store->invalidate(*object, bytes(aux), size);
  } else {
    object = world.store->create(root, ObjectType::kData, bytes(key), bytes(aux), size);
  }
  paint(data.span(), file, version);
  require(world.fill(*object, data.span(), size), "a fill is taken");
  world.store->put_name(root, key, {});
}

// A checkpoint, and a journal behind it, as kill -9 leaves it.
SimImage used() {
  SimImage closed(kSmallestStore);
  {
    World world{SimImage(kSmallestStore)};
    for (std::uint64_t file = 0; file < kFiles; ++file) put(world, file, '1');
    world.store->close();
    closed = world.engine.image();
  }
  World world{std::move(closed)};
  put(world, 0, '2');
  require(world.store->sync().has_value(), "it is durable");
  return world.engine.image();
}

const SimImage& base() {
  static const SimImage kImage = used();
  return kImage;
}

const Layout& layout() {
  static const Layout kLayout = layout_for(kSmallestStore);
  return kLayout;
}

std::array<ByteOffset, 5> parts() {
  return {ByteOffset{kSuperblockOffset[0]}, ByteOffset{kSuperblockOffset[1]}, layout().journal,
          layout().checkpoint[0], layout().checkpoint[1]};
}

void patch(SimImage& image, std::span<const std::byte> input) {
  while (input.size() > 4) {
    const auto at = [&](std::size_t i) { return std::to_integer<std::uint64_t>(input[i]); };
    const ByteOffset part = parts()[at(0) % parts().size()];
    const ByteCount offset{(at(1) | at(2) << 8) % (2 * kBlockSize)};
    const std::size_t length = std::min<std::size_t>(at(3), input.size() - 4);
    image.write(part + offset, input.subspan(4, length));
    input = input.subspan(4 + length);
  }
}

// An entry at `place` as whoever writes it would have sealed it, with these records.
void seal_at(SimImage& image, ByteOffset place, std::span<const std::byte> records,
             std::uint32_t count) {
  AlignedBuffer block(2 * kBlockSize);
  image.read(place, block.span());
  const auto header = disk_from<EntryDisk>(block.span());
  const std::size_t length = std::min(records.size(), block.size() - sizeof(EntryDisk));
  const EntryName name{header.uuid,
                       header.generation.get(),
                       header.sequence.get(),
                       place,
                       static_cast<EntryKind>(header.kind.get()),
                       header.previous.get()};
  std::memmove(block.data() + sizeof(EntryDisk), records.data(), length);
  seal_entry(name, length, count, block.span());
  image.write(place, block.span().first(entry_blocks(length) * kBlockSize));
}

void seal_again(SimImage& image, ByteOffset place) {
  AlignedBuffer block(2 * kBlockSize);
  image.read(place, block.span());
  const auto header = disk_from<EntryDisk>(block.span());
  const std::size_t length =
      std::min<std::size_t>(header.length.get(), block.size() - sizeof(EntryDisk));
  if (length == 0) return;
  seal_at(image, place, block.span().subspan(sizeof(EntryDisk), length), header.records.get());
}

// How many records these bytes look like: what an honest writer would have counted.
std::uint32_t count_records(std::span<const std::byte> rest) {
  std::uint32_t count = 0;
  while (!rest.empty()) {
    const std::size_t length = record_length(rest);
    if (length == 0) break;
    rest = rest.subspan(length);
    ++count;
  }
  return count;
}

void works(World& world) {
  const ByteCount size{kPages * kPageSize};
  AlignedBuffer data(size.value()), read(size.value());
  paint(data.span(), 9, '9');
  auto made = world.store->create(world.store->root(), ObjectType::kData, bytes("after"), {}, size);
  if (!made) return;  // it may be there, or there may be no room
  if (!world.fill(*made, data.span(), size)) return;
  require(world.store->sync().has_value(), "a sound device takes a commit");
  const auto got = world.store->read_now(*made, {PageIndex{0}, PageCount{kPages}}, read.span());
  require(std::memcmp(read.data(), data.data(), to_bytes(got).value()) == 0, "a wrong byte");
}

void serves_what_was_put(World& world) {
  const ByteCount size{kPages * kPageSize};
  AlignedBuffer expected(size.value()), read(size.value());
  for (std::uint64_t file = 0; file < kFiles; ++file) {
    const auto found = world.store->find(world.store->root(), bytes(fmt::format("f{}", file)));
    if (!found) continue;
    const auto aux = world.store->record(*found).aux;
    require(aux.size() == 1, "a version that nobody put");
    paint(expected.span(), file, static_cast<char>(aux[0]));
    const auto got = world.store->read_now(*found, {PageIndex{0}, PageCount{kPages}}, read.span());
    require(std::memcmp(read.data(), expected.data(), to_bytes(got).value()) == 0, "a wrong byte");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool kQuiet = [] {
    log_to(LogTarget::kStderr, LogLevel::kError);
    return true;
  }();
  if (size < 2 || !kQuiet) return 0;
  const auto input = std::as_bytes(std::span{data, size}).subspan(1);
  SimImage image = base();
  const int how = data[0] % 4;
  if (how < 2) patch(image, input);
  if (how == 1) {
    for (const ByteOffset place : {parts()[2], parts()[3], parts()[4]}) seal_again(image, place);
  }
  if (how >= 2) {
    const std::uint32_t count = count_records(input);
    seal_at(image, layout().journal, input, count);
    // The newer checkpoint lies in the second area: a store begins with its superblock in slot 0.
    if (how == 3) seal_at(image, layout().checkpoint[1], input, count);
  }
  World world{std::move(image)};
  if (!world.store) return 0;
  world.sound();
  if (how == 0) serves_what_was_put(world);
  works(world);
  world.sound();
  World again{world.engine.image()};
  require(again.store != nullptr, "what was open opens again");
  again.sound();
  return 0;
}
