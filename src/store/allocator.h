// SPDX-License-Identifier: Apache-2.0
// Allocator: which blocks of the data area are free, and which wait to be.
//
// Best fit by size, then by place, so that large runs stay large and the front of the file fills
// first. A need of 64 KiB or more is met in runs of whole 64 KiB but for its last, and in at most
// one run per 64 KiB (16 per MiB) and one more: a fragmented store says "full" rather than tear a
// fill into crumbs. A smaller need splits a run only where it takes at most 75 % of it, so that no
// crumbs are left behind, unless nothing else fits. Neighbours are merged as they become free.
//
// A block that an extent let go waits (invariant 3) until the record that dropped it is durable and
// no read uses it. `sweep` frees what may be freed. Blocks that could not be written or did not
// match their sum are quarantined: not used again until the store is opened anew.
//
// Thread: any; one lock, never held for long.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "store/index.h"

namespace larder::store {

// Which blocks are in use, one bit each.
class BlockSet {
 public:
  explicit BlockSet(std::uint64_t blocks) : blocks_(blocks), words_((blocks + 63) / 64) {}
  // False: one of them was in it already, or lies beyond; then nothing was done.
  bool add(BlockRun run);
  bool has(std::uint64_t block) const { return (words_[block / 64] >> block % 64 & 1) != 0; }
  // The runs that are not in it, in order.
  std::vector<BlockRun> gaps() const;

 private:
  std::uint64_t mask(std::uint64_t word, BlockRun run) const;
  std::uint64_t blocks_;
  std::vector<std::uint64_t> words_;
};

class Allocator {
 public:
  static constexpr std::uint64_t kGrain = 16;  // blocks: 64 KiB
  static constexpr std::uint64_t kLong = 256;  // blocks: 1 MiB

  explicit Allocator(std::uint64_t blocks);

  // Runs of at most `longest` blocks that make `blocks` in all; nullopt where they cannot be had
  // now.
  std::optional<std::vector<BlockRun>> allocate(std::uint64_t blocks, std::uint64_t longest);
  // For opening: this run is in an extent. False: not all of it is free, and nothing was done.
  bool claim(BlockRun run);
  // For opening, where there are many: all that is not in `used` is free, and nothing else.
  void free_all_but(const BlockSet& used);
  // Free runs from `from` on, at most `most` of them, which nobody is given until they are
  // released.
  std::vector<BlockRun> take_free(std::uint64_t from, std::size_t most);
  // Free at once. REQUIRES: no record ever named them and no I/O is under way on them.
  void release(BlockRun run);
  // Free once record `number` is durable and no read has any of them pinned.
  void release_after(const DeadList& dead, std::uint64_t number);
  void quarantine(BlockRun run);
  // After record `durable` and all before it reached the device. False where something is still
  // waiting.
  bool sweep(std::uint64_t durable, const Pins& pins);

  // -- for a store that grows or shrinks: blocks that are to be emptied
  // From here on nobody is given any of these; those that are free, or become free, are withheld.
  void withhold(std::vector<BlockRun> ranges);
  // How many of them are not free yet; quarantined ones are not counted.
  std::uint64_t still_in_use() const;
  bool is_withheld(BlockRun run) const;  // shares a block with them
  void give_back_withheld();             // after all
  // The data area has this many blocks now, and `gone` of them are somebody else's; all that was
  // withheld besides becomes free. REQUIRES: still_in_use() is 0.
  void resize(std::uint64_t blocks, BlockRun gone);

  struct Totals {
    std::uint64_t free = 0, waiting = 0, quarantined = 0, withheld = 0;
    // Of the free ones: runs, blocks of the longest, and blocks in runs of 1 MiB or more.
    std::uint64_t runs = 0, longest = 0, in_long_runs = 0;
    // How much of what is free is in pieces.
    std::uint64_t fragmentation_percent() const {
      return free == 0 ? 0 : (free - in_long_runs) * 100 / free;
    }
  };
  Totals totals() const;
  // For the check: all that is not in an extent or on its way into one.
  struct Runs {
    std::vector<BlockRun> free, waiting, quarantined, withheld;
  };
  Runs runs() const;  // of one moment

 private:
  struct Waiting {
    BlockRun run;
    std::uint64_t number;
  };
  void free_locked(BlockRun run) REQUIRES(mutex_);
  void add_free_locked(BlockRun run) REQUIRES(mutex_);
  void erase_free_locked(BlockRun run) REQUIRES(mutex_);
  std::optional<BlockRun> take_locked(std::uint64_t want) REQUIRES(mutex_);

  mutable Mutex mutex_{Rank::kStoreAllocator};
  std::uint64_t blocks_ GUARDED_BY(mutex_);
  absl::btree_map<std::uint64_t, std::uint64_t> by_place_ GUARDED_BY(mutex_);  // block -> count
  absl::btree_set<std::pair<std::uint64_t, std::uint64_t>> by_size_
      GUARDED_BY(mutex_);  // count, block
  std::vector<Waiting> waiting_ GUARDED_BY(mutex_);
  std::vector<BlockRun> quarantined_ GUARDED_BY(mutex_);
  std::vector<BlockRun> ranges_ GUARDED_BY(mutex_);    // that are to be emptied
  std::vector<BlockRun> withheld_ GUARDED_BY(mutex_);  // of them, what is empty
  Totals totals_ GUARDED_BY(mutex_);
};

}  // namespace larder::store
