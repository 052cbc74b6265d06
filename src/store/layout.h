// SPDX-License-Identifier: Apache-2.0
// Layout: where the parts of a store lie, computed from its size, and from what it was made for.
//
// The end of the file stays below the size by a slack, since a file system counts the blocks of its
// own extent tree in st_blocks: a store that is written full in any order still keeps invariant 6.
//
// A store that grows or shrinks keeps the place where its data begin, so that no block changes its
// number. Its metadata stay where they are for as long as they lie before the end and suffice for
// the size (twice what they were made for); else they move to where nothing else lies: the front,
// if they fit there, or a run of blocks of the data area that is theirs from then on.
#pragma once

#include <larder/units.h>

#include <array>
#include <cstdint>
#include <optional>

#include "store/pins.h"

namespace larder::store {

struct Layout {
  ByteCount size;  // that the store was given
  // For which its metadata were made; 0: for `size`, and for no more (before stores could grow).
  ByteCount basis;
  ByteOffset journal;  // where the metadata begin
  std::uint64_t journal_blocks = 0;
  std::array<ByteOffset, 2> checkpoint;
  std::uint64_t checkpoint_blocks = 0;  // of one area
  ByteOffset sums;                      // two homes for each chunk of sums (sum_table.h)
  std::uint64_t sum_chunks = 0;         // one block each
  ByteOffset data;
  std::uint64_t data_blocks = 0;

  ByteCount file_bytes() const { return ByteCount{data.value() + data_blocks * kBlockSize}; }
  // Where the metadata end.
  ByteOffset metadata_end() const;
  // The blocks of the data area that the metadata have; count 0: they lie before it.
  BlockRun reserved() const;
  std::uint64_t usable_blocks() const { return data_blocks - reserved().count; }
  ByteCount capacity() const { return ByteCount{usable_blocks() * kBlockSize}; }
  ByteCount checkpoint_bytes() const { return ByteCount{checkpoint_blocks * kBlockSize}; }
  // `place`: 1 or 2.
  ByteOffset home_of_sums(std::uint64_t chunk, unsigned place) const {
    return sums + ByteCount{((place - 1) * sum_chunks + chunk) * kBlockSize};
  }
  ByteOffset at(BlockIndex block) const { return data + ByteCount{block.value() * kBlockSize}; }

  friend bool operator==(const Layout&, const Layout&) = default;
};

// Of a new store. REQUIRES: size >= kSmallestStore (device.h).
Layout layout_for(ByteCount size);
// As a superblock names it; nullopt: no store is laid out like that.
struct Geometry {
  ByteCount size, basis;
  ByteOffset journal, data;
};
std::optional<Layout> layout_of(const Geometry& geometry);
// What `layout` becomes at another size; nullopt: so little is left that there is no room for it.
std::optional<Layout> resized(const Layout& layout, ByteCount size);
// The least size that resized() accepts, near enough, for a line to the user.
ByteCount least_size(const Layout& layout);

}  // namespace larder::store
