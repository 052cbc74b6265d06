// SPDX-License-Identifier: Apache-2.0
// Checkpoint: the whole index as records, in sealed chunks. Made in memory in one go (the index
// stands still for that long), written afterwards, without any lock.
#pragma once

#include <larder/io_engine.h>
#include <larder/result.h>

#include <cstdint>
#include <vector>

#include "store/entry.h"
#include "store/index.h"
#include "store/layout.h"

namespace larder::store {

std::size_t longest_chunk(const Layout& layout);  // bytes, with its header
// How many bytes of records surely fit in an area: Index::Totals::bytes() stays below.
std::uint64_t checkpoint_limit(const Layout& layout);

class Checkpoint {
 public:
  Checkpoint(const Layout& layout, Index& index);

  std::uint64_t chunks() const { return chunks_.size(); }
  ByteCount bytes() const;  // on the device
  // Writes the chunks into the area of `slot`; no flush.
  Status write(IoEngine& engine, int fd, const Uuid& uuid, std::uint64_t generation, unsigned slot);

 private:
  struct Chunk {
    std::vector<std::byte> bytes;  // room for the header, then records
    std::uint32_t records = 0;
  };
  const Layout layout_;
  std::vector<Chunk> chunks_;
};

}  // namespace larder::store
