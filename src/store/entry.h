// SPDX-License-Identifier: Apache-2.0
// Entry: a block-aligned, sealed run of records; the journal and the checkpoint are made of them.
//
// Thread: any; no state of its own.
#pragma once

#include <larder/buffer.h>
#include <larder/io_engine.h>
#include <larder/units.h>

#include <cstdint>
#include <optional>
#include <span>

#include "store/format.h"
#include "store/record_codec.h"

namespace larder::store {

struct EntryName {
  Uuid uuid{};
  std::uint64_t generation = 0;
  std::uint64_t sequence = 0;
  ByteOffset place;
  EntryKind kind = EntryKind::kJournal;
  std::uint32_t previous = 0;
};

constexpr std::uint64_t entry_blocks(std::size_t record_bytes) {
  return (sizeof(EntryDisk) + record_bytes + kBlockSize - 1) / kBlockSize;
}

// Writes the header in front of the records that lie behind it in `entry`, and zeros behind them up
// to the end of the block. Returns the sum. REQUIRES: `entry` holds entry_blocks(record_bytes)
// blocks.
std::uint32_t seal_entry(const EntryName& name, std::size_t record_bytes, std::uint32_t records,
                         std::span<std::byte> entry);

struct Entry {
  EntryDisk header;
  Bytes records;  // in the buffer that was read into
};

// Reads what lies at `place`: nullopt where that is no whole entry of this store and place,
// whatever its generation and sequence are. REQUIRES: `into` holds at least one block; longer
// entries are refused.
std::optional<Entry> read_entry(IoEngine& engine, int fd, const Uuid& uuid, ByteOffset place,
                                std::span<std::byte> into);

}  // namespace larder::store
