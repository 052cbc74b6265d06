// SPDX-License-Identifier: Apache-2.0
// SumTable: the CRC32C of every page in the store, by the block that it lies in.
//
// A sum belongs to a block for as long as an extent holds the block. They lie in chunks of 1024, so
// a store costs 4 bytes for each block that was ever in use, and nothing for each extent.
//
// Thread: any; writers hold the index's lock too.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/mutex.h"

namespace larder::store {

class SumTable {
 public:
  static constexpr std::uint64_t kChunk = 1024;  // sums

  explicit SumTable(std::uint64_t blocks);

  // REQUIRES: the blocks are in the table.
  void set(std::uint64_t block, std::span<const std::uint32_t> sums);
  void get(std::uint64_t block, std::span<std::uint32_t> into) const;

  std::uint64_t bytes() const;  // of memory

 private:
  static constexpr std::size_t kStripes = 64;
  struct Chunk {
    std::array<std::uint32_t, kChunk> sums{};
  };
  struct alignas(64) Stripe {
    mutable Mutex mutex{Rank::kStoreAllocator};
  };
  template <class Visit>
  static void for_parts(std::uint64_t block, std::size_t count, const Visit& visit);

  std::vector<std::unique_ptr<Chunk>> chunks_;  // null: no block of it was ever in use
  std::unique_ptr<std::array<Stripe, kStripes>> stripes_;
};

}  // namespace larder::store
