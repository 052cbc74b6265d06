// SPDX-License-Identifier: Apache-2.0
// Fifo: extents in the order in which they came, 8 bytes each.
//
// Who is pushed gets a ticket, and is taken out by it from wherever it is. Tickets lie in chunks of
// 512; a chunk that is empty is given back, and where more than half of all places are holes,
// neighbouring chunks are put together, a few with each push, so that no push takes long.
//
// Thread: one at a time (the index's lock).
#pragma once

#include <absl/functional/function_ref.h>

#include <array>
#include <cstdint>
#include <deque>
#include <memory>

#include "store/extent.h"

namespace larder::store {

// Whose extent it is: the slot of its object, and the low bits of its first page.
struct Whose {
  static constexpr std::uint64_t kPageBits = 36;
  static constexpr std::uint64_t kSlots = (std::uint64_t{1} << (64 - kPageBits)) - 1;
  std::uint32_t slot = 0;      // of Index; below kSlots
  std::uint64_t low_page = 0;  // first page modulo 2^36

  static Whose of(std::uint32_t slot, PageIndex first) {
    return {slot, first.value() & ((std::uint64_t{1} << kPageBits) - 1)};
  }
};

class Fifo {
 public:
  // Tells an extent of its new ticket.
  using Renumber = absl::FunctionRef<void(Whose whose, std::uint32_t ticket)>;

  // REQUIRES: fewer than 2^28 are in it.
  std::uint32_t push(Whose whose, Renumber renumber);
  void erase(std::uint32_t ticket);
  void replace(std::uint32_t ticket, Whose whose);  // keeps its place
  bool empty() const { return live_ == 0; }
  std::uint64_t size() const { return live_; }
  // The oldest. REQUIRES: not empty.
  Whose front() const;
  std::uint32_t front_ticket() const;
  void for_each(absl::FunctionRef<void(Whose)> visit) const;  // oldest first

  std::uint64_t bytes() const;  // of memory

  // For a checkpoint, and for loading it: tickets from `oldest` up to `next` have been given out.
  std::uint64_t oldest() const { return base_ * kChunk; }
  std::uint64_t next() const { return tail_; }
  void expect(std::uint64_t oldest, std::uint64_t next);  // REQUIRES: it is empty
  bool put_back(std::uint32_t ticket, Whose whose);  // false: no such ticket, or it is another's

 private:
  static constexpr std::uint64_t kChunk = 512;
  struct Chunk {
    std::array<std::uint64_t, kChunk> words{};  // 0: a hole
    std::uint32_t live = 0;
  };
  struct Spot {
    Chunk* chunk;
    std::uint64_t at;
  };
  static std::uint64_t word(Whose whose);
  static Whose whose(std::uint64_t word);
  Spot spot(std::uint32_t ticket) const;
  Spot first() const;
  std::uint64_t full(std::uint32_t ticket) const;
  std::uint32_t append(std::uint64_t word);
  void trim();
  void tidy(Renumber renumber);
  void join(std::size_t at, std::size_t next, Renumber renumber);

  std::deque<std::unique_ptr<Chunk>> chunks_;  // null: was empty
  std::uint64_t base_ = 0;                     // number of chunks_[0]
  std::uint64_t tail_ = 0;                     // the next ticket, in full
  std::uint64_t live_ = 0;
  std::uint64_t held_ = 0;  // chunks that are not null
  std::size_t cursor_ = 0;  // of tidy
};

}  // namespace larder::store
