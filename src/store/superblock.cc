// SPDX-License-Identifier: Apache-2.0
#include "store/superblock.h"

#include <fmt/core.h>
#include <larder/device.h>
#include <unistd.h>

#include <algorithm>

#include "base/crc32c.h"

namespace larder::store {
namespace {

std::uint32_t sum_of(const SuperblockDisk& disk) {
  return crc32c(bytes_of(disk).first(offsetof(SuperblockDisk, sum)));
}

// What the layout computed from the size must agree with.
bool agrees(const SuperblockDisk& disk, const Layout& layout) {
  return disk.journal_blocks.get() == layout.journal_blocks &&
         disk.checkpoint_blocks.get() == layout.checkpoint_blocks &&
         disk.data_offset.get() == layout.data.value() &&
         disk.data_blocks.get() == layout.data_blocks;
}

}  // namespace

SuperblockDisk encode(const Superblock& superblock) {
  SuperblockDisk disk{};
  disk.magic = kMagic;
  disk.format.set(kFormat);
  disk.slot.set(superblock.slot);
  disk.uuid = superblock.uuid;
  disk.generation.set(superblock.generation);
  disk.size_bytes.set(superblock.layout.size.value());
  disk.journal_blocks.set(superblock.layout.journal_blocks);
  disk.checkpoint_blocks.set(superblock.layout.checkpoint_blocks);
  disk.data_offset.set(superblock.layout.data.value());
  disk.data_blocks.set(superblock.layout.data_blocks);
  disk.checkpoint_chunks.set(superblock.checkpoint_chunks);
  disk.area.set(superblock.slot);
  disk.flags.set(superblock.clean ? kClean : 0);
  disk.first_sequence.set(superblock.first_sequence);
  disk.journal_position.set(superblock.journal_position);
  disk.next_object.set(superblock.next_object.value());
  disk.written_wall_ns.set(static_cast<std::uint64_t>(superblock.written_wall_ns));
  disk.journal_generation.set(superblock.journal_generation);
  disk.journal_previous.set(superblock.journal_previous);
  disk.use_tick_ns.set(static_cast<std::uint64_t>(superblock.use_tick_ns));
  disk.basis_bytes.set(superblock.layout.basis.value());
  disk.metadata_offset.set(superblock.layout.journal.value());
  disk.sum.set(sum_of(disk));
  return disk;
}

SuperblockState decode(const SuperblockDisk& disk, unsigned slot, Superblock& superblock) {
  if (disk.magic != kMagic) {
    const auto bytes = bytes_of(disk);
    const bool zero =
        std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
    return zero ? SuperblockState::kZero : SuperblockState::kForeign;
  }
  if (disk.format.get() != kFormat) return SuperblockState::kOtherFormat;
  if (disk.sum.get() != sum_of(disk) || disk.slot.get() != slot || disk.area.get() != slot ||
      disk.size_bytes.get() < kSmallestStore.value()) {
    return SuperblockState::kDamaged;
  }
  const std::uint64_t metadata = disk.metadata_offset.get();
  const auto layout = layout_of(
      {ByteCount{disk.size_bytes.get()}, ByteCount{disk.basis_bytes.get()},
       ByteOffset{metadata == 0 ? kJournalOffset : metadata}, ByteOffset{disk.data_offset.get()}});
  if (!layout || !agrees(disk, *layout)) return SuperblockState::kDamaged;
  superblock.layout = *layout;
  superblock.uuid = disk.uuid;
  superblock.generation = disk.generation.get();
  superblock.slot = slot;
  superblock.checkpoint_chunks = disk.checkpoint_chunks.get();
  superblock.first_sequence = disk.first_sequence.get();
  superblock.journal_position = disk.journal_position.get();
  superblock.next_object = ObjectId{disk.next_object.get()};
  superblock.clean = (disk.flags.get() & kClean) != 0;
  superblock.written_wall_ns = static_cast<Nanoseconds>(disk.written_wall_ns.get());
  superblock.use_tick_ns = static_cast<Nanoseconds>(disk.use_tick_ns.get());
  superblock.journal_generation = disk.journal_generation.get();
  superblock.journal_previous = disk.journal_previous.get();
  const bool makes_sense = superblock.journal_position < superblock.layout.journal_blocks &&
                           superblock.checkpoint_chunks <= superblock.layout.checkpoint_blocks &&
                           superblock.next_object > kRootObject;
  return makes_sense ? SuperblockState::kValid : SuperblockState::kDamaged;
}

std::optional<Layout> stored_layout(int fd) {
  std::optional<Layout> layout;
  std::uint64_t generation = 0;
  for (unsigned slot = 0; slot < kSuperblockOffset.size(); ++slot) {
    SuperblockDisk disk{};
    const auto got = ::pread(fd, &disk, sizeof disk, static_cast<off_t>(kSuperblockOffset[slot]));
    Superblock superblock;
    if (got != static_cast<ssize_t>(sizeof disk)) continue;
    if (decode(disk, slot, superblock) != SuperblockState::kValid) continue;
    if (!layout || superblock.generation > generation) {
      layout = superblock.layout;
      generation = superblock.generation;
    }
  }
  return layout;
}

bool bears_magic(int fd) {
  for (const auto offset : kSuperblockOffset) {
    std::array<char, kMagic.size()> found{};
    if (::pread(fd, found.data(), found.size(), static_cast<off_t>(offset)) ==
            static_cast<ssize_t>(found.size()) &&
        found == kMagic)
      return true;
  }
  return false;
}

std::string to_text(const Uuid& uuid) {
  std::string text;
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", uuid[i]);
  }
  return text;
}

}  // namespace larder::store
