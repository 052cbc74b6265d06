// SPDX-License-Identifier: Apache-2.0
// SumTable: the CRC32C of every page in the store, by the block that it lies in.
//
// A sum belongs to a block for as long as an extent holds the block. They lie in chunks of 1024,
// which are one block each on the device. Each chunk has two homes there, used in turn by the
// checkpoints that find it changed, so the last checkpoint but one keeps its own; which home, and
// the sum of what lies there, is in the checkpoint.
//
// What has not changed since the last checkpoint may leave memory: `set_limit`. What is not in
// memory is read when it is asked for, one more read of the store: by get(), or where a thread must
// not wait by its caller between begin_load() and end_load().
//
//   1. A chunk that has changed since the last checkpoint is in memory, at least the changed sums.
//   2. The home that the last checkpoint names is not written to.
//   3. A home that was read and does not match its sum has lost its sums: they are zeros, and the
//      pages will not match. One that could not be read is left as it is, and may be read later.
//      A checkpoint that needs it fails; the next one that cannot read what it needs gives that up
//      as lost, or a bad sector there would keep the store from every checkpoint.
//
// Thread: any; set() only under the index's lock, the checkpoint's calls only by whoever commits.
#pragma once

#include <absl/functional/any_invocable.h>
#include <larder/result.h>

#include <array>
#include <atomic>
#include <bitset>
#include <cstdint>
#include <memory>
#include <optional>
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
    // 1 or 2: the first or second home in region 0 of homes; 3 or 4: in region 1.
    std::uint32_t place = 0;
    // As a checkpoint has it.
    std::uint32_t disk_place() const { return place > 2 ? place - 2 : place; }
    friend bool operator==(const Home&, const Home&) = default;
  };
  // Where homes lie: two runs of `chunks` blocks. There are two such regions so that homes can move
  // from one to the other while they are read.
  struct Region {
    std::uint64_t at = 0;  // offset in the file
    std::uint64_t chunks = 0;
  };
  // Fills `into` from this offset in the file.
  using Read = absl::AnyInvocable<Status(std::uint64_t at, Sums& into) const>;

  explicit SumTable(std::uint64_t blocks);
  ~SumTable();
  void set_source(Region region, Read read);  // before anything is cold
  std::uint64_t chunks() const { return count_.load(std::memory_order_acquire); }
  // For a store that grows or shrinks. What lies behind the new end is forgotten.
  void resize(std::uint64_t blocks);

  // REQUIRES: the blocks are in the table.
  void set(std::uint64_t block, std::span<const std::uint32_t> sums);
  // Reads what is not in memory. Errors: of that.
  Status get(std::uint64_t block, std::span<std::uint32_t> into);
  // False: some of them are not in memory.
  bool try_get(std::uint64_t block, std::span<std::uint32_t> into) const;

  // A chunk on its way into memory.
  struct Loading {
    std::uint64_t chunk = 0;
    Home home;
    alignas(sizeof(Sums)) Sums sums;
  };
  // False: it is in memory. Else `loading.sums` is to be read from offset_of(loading).
  bool begin_load(std::uint64_t chunk, Loading& loading);
  std::uint64_t offset_of(const Loading& loading) const {
    return offset_of(loading.chunk, loading.home.place);
  }
  enum class Loaded : std::uint8_t {
    kYes,
    kMoved,   // its home has changed, so once more
    kUnread,  // it is as it was
  };
  // `read`: whether the sums could be read.
  Loaded end_load(Loading& loading, Status read);

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
  // memory until settle() or take_back(). Errors: it could not be read, and nothing is begun.
  Result<Written> begin_write(std::uint64_t chunk, Sums& into);
  // All homes are about to move to this region: from here on begin_write() and begin_copy() give
  // homes there, until end_move(). Everything that has a home has to be written.
  void begin_move(Region region);
  void end_move(bool done);
  // As begin_write(), of a chunk that need not have changed; it need not come into memory either.
  // nullopt: it has no home, and nothing to write.
  Result<std::optional<Written>> begin_copy(std::uint64_t chunk, Sums& into);
  std::uint64_t offset_of(const Written& written) const {
    return offset_of(written.chunk, written.home.place);
  }
  // The checkpoint is durable: these are their homes now.
  void settle(const std::vector<Written>& written);
  void take_back(const std::vector<Written>& written);  // it failed
  // A checkpoint failed since it could not read; the next one gives up what it cannot.
  bool unread() const { return unread_.has_value(); }
  Home home(std::uint64_t chunk) const;
  void set_home(std::uint64_t chunk, Home home);  // for loading: in region 0

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
  struct Entry {
    std::unique_ptr<Chunk> chunk;  // null: as it is at home
    Home home;
  };
  // Entries lie in segments, so that the table can grow while it is read.
  static constexpr std::uint64_t kSegment = 4096, kSegments = 4096;
  using Segments = std::array<std::atomic<Entry*>, kSegments>;
  struct AtomicRegion {
    std::atomic<std::uint64_t> at{0}, chunks{0};
  };
  template <class Visit>
  static void for_parts(std::uint64_t block, std::size_t count, const Visit& visit);
  Mutex& mutex_of(std::uint64_t chunk) const { return (*stripes_)[chunk % kStripes].mutex; }
  Chunk& make(std::uint64_t chunk);
  Status read_home(std::uint64_t at, Sums& into) const;
  Status load(std::uint64_t chunk);
  bool gives_up(std::uint64_t chunk);
  void lose(std::uint64_t chunk);
  void make_room();
  void make_segments(std::uint64_t chunks);
  Entry& entry(std::uint64_t chunk) const {
    return (*segments_)[chunk / kSegment].load(std::memory_order_acquire)[chunk % kSegment];
  }
  std::uint64_t offset_of(std::uint64_t chunk, std::uint32_t place) const;
  std::uint32_t other_place(std::uint32_t place) const;
  void forget(std::uint64_t chunk);

  std::unique_ptr<Segments> segments_;
  std::atomic<std::uint64_t> count_{0};
  std::unique_ptr<std::array<Stripe, kStripes>> stripes_;  // of the entries
  std::array<AtomicRegion, 2> regions_;
  // Whoever commits: in which region homes are given.
  unsigned region_ = 0;
  bool moving_ = false;
  std::optional<std::uint64_t> unread_;  // the first chunk that made a checkpoint fail
  Read read_;
  std::atomic<std::uint64_t> limit_{0}, held_{0}, dirty_{0}, loads_{0}, lost_{0};
  std::atomic<std::uint64_t> hand_{0};
};

}  // namespace larder::store
