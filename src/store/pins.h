// SPDX-License-Identifier: Apache-2.0
// Pins: which blocks are being read at this moment, and since when.
//
// A read pins its blocks under its object's lock and lets go without any. So a run that has left
// its object under that lock, and overlaps no pin seen afterwards, will never be read again: it may
// be written. There is one pin for each read in flight, not one for each extent, and an extent
// needs no counter.
//
// Thread: any.
#pragma once

#include <larder/units.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace larder::store {

struct BlockRun {
  std::uint64_t block = 0;
  std::uint64_t count = 0;
  std::uint64_t end() const { return block + count; }
  friend bool operator==(const BlockRun&, const BlockRun&) = default;
};

class Pins {
 public:
  using Pin = std::uint32_t;
  static constexpr Pin kNone = ~Pin{0};
  static constexpr std::size_t kPins = 4096;

  Pins();
  // kNone where all pins are in use. REQUIRES: the object's lock; `count` below 2^12.
  Pin pin(BlockRun run, Nanoseconds now_ns);
  void unpin(Pin pin);

  // All that are pinned, in order of place.
  std::vector<BlockRun> pinned() const;
  // When the oldest read in flight began; 0: there is none.
  Nanoseconds oldest_ns() const;

 private:
  struct Slot {
    std::atomic<std::uint64_t> run{0};  // block << 12 | count; 0: free
    std::atomic<Nanoseconds> since_ns{0};
  };
  std::unique_ptr<std::array<Slot, kPins>> slots_;
};

// Whether `run` shares a block with one of `pinned`, which is what Pins::pinned() gave.
bool overlaps(const std::vector<BlockRun>& pinned, BlockRun run);

}  // namespace larder::store
