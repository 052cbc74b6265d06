// SPDX-License-Identifier: Apache-2.0
// Extent: a run of pages of one object and the run of blocks that they lie in, in 16 bytes, since a
// store has millions of them.
//
// Its pages and blocks never change: to cut an extent is to put its pieces in its place. How often
// it was read since it came (`uses`) and its place in the order of eviction do; both lie in words
// that are read and written as a whole, so a reader that holds its object's lock may count a use
// while whoever holds the index's lock looks at the other fields.
// So does its age, in ticks of `expire=`, which go round: the tick in which it was last used.
//
// The sums of the pages lie by block in SumTable, its owner is known to whoever found it.
#pragma once

#include <larder/result.h>
#include <larder/units.h>

#include <atomic>
#include <cstdint>
#include <utility>

#include "store/format.h"

namespace larder::store {

enum class QueueName : std::uint8_t { kSmall = 0, kMain = 1 };

// Where an extent stands in the order of eviction.
struct Place {
  QueueName queue = QueueName::kSmall;
  std::uint32_t ticket = 0;  // below kTickets
};

class Extent {
 public:
  static constexpr std::uint64_t kFirstBits = 44, kPagesBits = 9, kUsesBits = 2, kAgeBits = 9;
  static constexpr std::uint64_t kBlockBits = 34, kTicketBits = 29;
  static constexpr std::uint64_t kPages = std::uint64_t{1} << kFirstBits;         // of a file
  static constexpr std::uint64_t kBlocks = (std::uint64_t{1} << kBlockBits) - 1;  // of a store
  static constexpr std::uint32_t kLongest = 1u << kPagesBits;                     // pages
  static constexpr std::uint64_t kTickets = std::uint64_t{1} << kTicketBits;
  static constexpr unsigned kMostUses = 3;
  static constexpr unsigned kAges = 1u << kAgeBits;

  // REQUIRES: 1 to kLongest pages below kPages; the blocks below kBlocks, or kNoBlock.
  Extent(PageRange range, std::uint64_t block, unsigned uses, Place place, unsigned tick = 0)
      : what_(range.first.value() | (range.count.value() - 1) << kFirstBits |
              std::uint64_t{uses} << kUsesShift | std::uint64_t{tick} << kAgeShift),
        where_((block == kNoBlock ? kBlocks : block) | word(place)) {}
  // As words() gave them.
  Extent(std::uint64_t what, std::uint64_t where) : what_(what), where_(where) {}
  Extent(const Extent& other)
      : what_(other.what_.load(std::memory_order_relaxed)),
        where_(other.where_.load(std::memory_order_relaxed)) {}
  Extent& operator=(const Extent& other) {
    what_.store(other.what_.load(std::memory_order_relaxed), std::memory_order_relaxed);
    where_.store(other.where_.load(std::memory_order_relaxed), std::memory_order_relaxed);
    return *this;
  }

  PageIndex first() const { return PageIndex{what() & (kPages - 1)}; }
  std::uint32_t pages() const {
    return static_cast<std::uint32_t>(what() >> kFirstBits & (kLongest - 1)) + 1;
  }
  PageRange range() const { return {first(), PageCount{pages()}}; }
  PageIndex end() const { return range().end(); }
  // In the data area; kNoBlock: zeros.
  std::uint64_t block() const {
    const std::uint64_t block = where() & kBlocks;
    return block == kBlocks ? kNoBlock : block;
  }
  bool zeros() const { return block() == kNoBlock; }
  std::uint64_t block_of(PageIndex page) const { return block() + (page - first()).value(); }

  // Its pages and uses, and its block and place: as ImageExtentDisk has them.
  std::pair<std::uint64_t, std::uint64_t> words() const { return {what(), where()}; }

  unsigned uses() const { return static_cast<unsigned>(what() >> kUsesShift) & kMostUses; }
  // Of its last use, modulo kAges; 0 where nothing expires.
  unsigned tick() const { return static_cast<unsigned>(what() >> kAgeShift); }
  void set_tick(unsigned tick) const {
    std::uint64_t before = what();
    while (!what_.compare_exchange_weak(
        before, (before & ((std::uint64_t{1} << kAgeShift) - 1)) | std::uint64_t{tick} << kAgeShift,
        std::memory_order_relaxed)) {
    }
  }
  // It was read. REQUIRES: its object's lock.
  void use() const {
    if (uses() < kMostUses) what_.fetch_add(kOneUse, std::memory_order_relaxed);
  }

  Place place() const {
    const std::uint64_t bits = where() >> kBlockBits;
    return {static_cast<QueueName>(bits & 1), static_cast<std::uint32_t>(bits >> 1)};
  }
  // REQUIRES: the index's lock.
  void set_place(Place place, unsigned uses) const {
    where_.store((where() & kBlocks) | word(place), std::memory_order_relaxed);
    std::uint64_t before = what();
    while (!what_.compare_exchange_weak(
        before, (before & ~(kMostUses * kOneUse)) | std::uint64_t{uses} << kUsesShift,
        std::memory_order_relaxed)) {
    }
  }

 private:
  static constexpr std::uint64_t kUsesShift = kFirstBits + kPagesBits;
  static constexpr std::uint64_t kAgeShift = kUsesShift + kUsesBits;
  static constexpr std::uint64_t kOneUse = std::uint64_t{1} << kUsesShift;
  static std::uint64_t word(Place place) {
    return (std::uint64_t{place.ticket} << 1 | static_cast<std::uint64_t>(place.queue))
           << kBlockBits;
  }
  std::uint64_t what() const { return what_.load(std::memory_order_relaxed); }
  std::uint64_t where() const { return where_.load(std::memory_order_relaxed); }

  // Mutable: an extent is the key of a set by its first page, which does not change.
  mutable std::atomic<std::uint64_t> what_;   // first page, pages - 1, uses, tick
  mutable std::atomic<std::uint64_t> where_;  // block, queue, ticket
};
static_assert(sizeof(Extent) == 16);
static_assert(Extent::kFirstBits + Extent::kPagesBits + Extent::kUsesBits + Extent::kAgeBits == 64);
static_assert(Extent::kBlockBits + 1 + Extent::kTicketBits == 64);
static_assert(Extent::kLongest >= kExtentPages);

struct ByFirstPage {
  using is_transparent = void;
  static std::uint64_t page(const Extent& extent) { return extent.first().value(); }
  static std::uint64_t page(PageIndex page) { return page.value(); }
  template <class A, class B>
  bool operator()(const A& a, const B& b) const {
    return page(a) < page(b);
  }
};

}  // namespace larder::store
