// SPDX-License-Identifier: Apache-2.0
// Layout: where the parts of a store lie, computed from its size alone.
//
// The end of the file stays below the size by a slack, since a file system counts the blocks of its
// own extent tree in st_blocks: a store that is written full in any order still keeps invariant 6.
#pragma once

#include <larder/units.h>

#include <array>
#include <cstdint>

namespace larder::store {

struct Layout {
  ByteCount size;  // that the store was given
  ByteOffset journal;
  std::uint64_t journal_blocks = 0;
  std::array<ByteOffset, 2> checkpoint;
  std::uint64_t checkpoint_blocks = 0;  // of one area
  ByteOffset sums;                      // two homes for each chunk of sums (sum_table.h)
  std::uint64_t sum_chunks = 0;         // one block each
  ByteOffset data;
  std::uint64_t data_blocks = 0;

  ByteCount file_bytes() const { return ByteCount{data.value() + data_blocks * kBlockSize}; }
  ByteCount capacity() const { return ByteCount{data_blocks * kBlockSize}; }
  ByteCount checkpoint_bytes() const { return ByteCount{checkpoint_blocks * kBlockSize}; }
  // `place`: 1 or 2.
  ByteOffset home_of_sums(std::uint64_t chunk, unsigned place) const {
    return sums + ByteCount{((place - 1) * sum_chunks + chunk) * kBlockSize};
  }
  ByteOffset at(BlockIndex block) const { return data + ByteCount{block.value() * kBlockSize}; }

  friend bool operator==(const Layout&, const Layout&) = default;
};

// REQUIRES: size >= kSmallestStore (device.h).
Layout layout_for(ByteCount size);

}  // namespace larder::store
