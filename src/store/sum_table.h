// SPDX-License-Identifier: Apache-2.0
// SumTable: the CRC32C of every page in the store, by the block that it lies in.
//
// A sum belongs to a block for as long as an extent holds the block. They lie in chunks of 1024,
// which are one block each on the device. Each chunk has two homes there, used in turn by the
// checkpoints that find it changed, so the last checkpoint but one keeps its own; which home, and
// the sum of what lies there, is in the checkpoint.
//
// What has not changed since the last checkpoint may leave memory: `set_limit`. What is not in
// memory is read when it is asked for, by whoever asks: one more read of the store.
//
//   1. A chunk that has changed since the last checkpoint is in memory, at least the changed sums.
//   2. The home that the last checkpoint names is not written to.
//
// Thread: any; set() only under the index's lock, the checkpoint's calls only by whoever commits.
#pragma once

#include <absl/functional/any_invocable.h>

#include <array>
#include <atomic>
#include <bitset>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/mutex.h"

namespace larder::store {

class SumTable {
 public:
  static constexpr std::uint64_t kChunk = 1024;  // sums
  using Sums = std::array<std::uint32_t, kChunk>;

  // Where a chunk lies and what its sum is; 0: nowhere, no block of it was ever in use.
  struct Home {
    std::uint32_t sum = 0;
    std::uint32_t place = 0;  // 1 or 2: the first or second home
    friend bool operator==(const Home&, const Home&) = default;
  };
  // Fills `into` from home `place` of `chunk`. False: it cannot be read.
  using Read = absl::AnyInvocable<bool(std::uint64_t chunk, unsigned place, Sums& into) const>;

  explicit SumTable(std::uint64_t blocks);
  void set_source(Read read);  // before anything is cold
  std::uint64_t chunks() const { return chunks_.size(); }

  // REQUIRES: the blocks are in the table.
  void set(std::uint64_t block, std::span<const std::uint32_t> sums);
  // Reads what is not in memory.
  void get(std::uint64_t block, std::span<std::uint32_t> into);
  // False: some of them are not in memory.
  bool try_get(std::uint64_t block, std::span<std::uint32_t> into) const;

  // Bytes of sums that stay in memory as far as they may leave it; 0: all.
  void set_limit(std::uint64_t bytes) { limit_.store(bytes, std::memory_order_relaxed); }
  std::uint64_t bytes() const;        // of memory
  std::uint64_t dirty_bytes() const;  // that must stay until the next checkpoint
  std::uint64_t loads() const { return loads_.load(std::memory_order_relaxed); }
  std::uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

  // -- checkpoints
  // ---------------------------------------------------------------------------------
  struct Written {
    std::uint64_t chunk;
    Home home;
  };
  // The next chunk from `chunk` on that has changed since the last checkpoint; chunks(): none.
  std::uint64_t next_dirty(std::uint64_t chunk) const;
  // Its content, and where it is to be written. It counts as unchanged from here on, and stays in
  // memory until settle() or take_back().
  Written begin_write(std::uint64_t chunk, Sums& into);
  // The checkpoint is durable: these are their homes now.
  void settle(const std::vector<Written>& written);
  void take_back(const std::vector<Written>& written);  // it failed
  Home home(std::uint64_t chunk) const;
  void set_home(std::uint64_t chunk, Home home);  // for loading

 private:
  static constexpr std::size_t kStripes = 64;
  struct Chunk {
    Sums sums{};
    std::bitset<kChunk> known;  // the others are as they are at home
    bool whole = false;         // all are known
    bool dirty = false, writing = false;
    bool used = false;  // since the hand came by
  };
  struct alignas(64) Stripe {
    mutable Mutex mutex{Rank::kStoreAllocator};
  };
  template <class Visit>
  static void for_parts(std::uint64_t block, std::size_t count, const Visit& visit);
  Mutex& mutex_of(std::uint64_t chunk) const { return (*stripes_)[chunk % kStripes].mutex; }
  Chunk& make(std::uint64_t chunk);
  void load(std::uint64_t chunk);
  void make_room();

  std::vector<std::unique_ptr<Chunk>> chunks_;  // null: as it is at home
  std::vector<Home> homes_;
  std::unique_ptr<std::array<Stripe, kStripes>> stripes_;  // of chunks_ and homes_
  Read read_;
  std::atomic<std::uint64_t> limit_{0}, held_{0}, dirty_{0}, loads_{0}, lost_{0};
  std::atomic<std::uint64_t> hand_{0};
};

}  // namespace larder::store
