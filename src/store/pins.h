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

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace larder::store {

struct BlockRun {
  std::uint64_t block = 0;
  std::uint64_t count = 0;
  constexpr std::uint64_t end() const { return block + count; }
  friend bool operator==(const BlockRun&, const BlockRun&) = default;
};
constexpr BlockRun intersect(BlockRun a, BlockRun b) {
  const std::uint64_t first = std::max(a.block, b.block), end = std::min(a.end(), b.end());
  return {first, end > first ? end - first : 0};
}
// What is left of `a` in front of `b` and behind it; either may be empty.
constexpr std::array<BlockRun, 2> without(BlockRun a, BlockRun b) {
  const BlockRun both = intersect(a, b);
  if (both.count == 0) return {a, BlockRun{a.end(), 0}};
  return {BlockRun{a.block, both.block - a.block}, BlockRun{both.end(), a.end() - both.end()}};
}

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
