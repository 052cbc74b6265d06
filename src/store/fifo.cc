// SPDX-License-Identifier: Apache-2.0
#include "store/fifo.h"

#include <larder/result.h>

#include <algorithm>

namespace larder::store {
namespace {

constexpr std::uint64_t kSlack = 64u << 10;  // holes that are nobody's trouble
constexpr unsigned kAtOnce = 4;              // chunks looked at, or extents moved, by one push
constexpr std::uint64_t kTicketMask = Extent::kTickets - 1;

}  // namespace

std::uint64_t Fifo::word(Whose whose) {
  return std::uint64_t{whose.slot + 1} << Whose::kPageBits | whose.low_page;
}
Whose Fifo::whose(std::uint64_t word) {
  return {static_cast<std::uint32_t>(word >> Whose::kPageBits) - 1,
          word & ((std::uint64_t{1} << Whose::kPageBits) - 1)};
}

// The only ticket with these low bits that was given out last.
std::uint64_t Fifo::full(std::uint32_t ticket) const {
  return tail_ - ((tail_ - ticket) & kTicketMask);
}

Fifo::Spot Fifo::spot(std::uint32_t ticket) const {
  const std::uint64_t number = full(ticket);
  Chunk* chunk = chunks_.at(number / kChunk - base_).get();
  check(chunk != nullptr && chunk->words[number % kChunk] != 0, "a ticket is of an extent");
  return {chunk, number % kChunk};
}

std::uint32_t Fifo::append(std::uint64_t word) {
  if (tail_ / kChunk - base_ == chunks_.size()) {
    chunks_.push_back(std::make_unique<Chunk>());
    ++held_;
  }
  Chunk& chunk = *chunks_.back();
  chunk.words[tail_ % kChunk] = word;
  ++chunk.live;
  ++live_;
  return static_cast<std::uint32_t>(tail_++ & kTicketMask);
}

std::uint32_t Fifo::push(Whose who, Renumber renumber) {
  tidy(renumber);
  // Tickets come round: who has been here for longest moves up.
  for (unsigned i = 0; i < kAtOnce && live_ != 0; ++i) {
    if (tail_ - base_ * kChunk < Extent::kTickets - 4 * kChunk) break;
    const Whose oldest = front();
    erase(front_ticket());
    renumber(oldest, append(word(oldest)));
  }
  return append(word(who));
}

void Fifo::erase(std::uint32_t ticket) {
  const Spot there = spot(ticket);
  there.chunk->words[there.at] = 0;
  --there.chunk->live;
  --live_;
  trim();
  // A chunk that may still be appended to stays.
  const std::uint64_t number = full(ticket) / kChunk;
  if (number < base_ || number == tail_ / kChunk) return;
  std::unique_ptr<Chunk>& chunk = chunks_[number - base_];
  if (!chunk || chunk->live != 0) return;
  chunk.reset();
  --held_;
}

void Fifo::trim() {
  while (!chunks_.empty() && base_ != tail_ / kChunk &&
         (!chunks_.front() || chunks_.front()->live == 0)) {
    if (chunks_.front()) --held_;
    chunks_.pop_front();
    ++base_;
    if (cursor_ != 0) --cursor_;
  }
}

void Fifo::replace(std::uint32_t ticket, Whose who) {
  const Spot there = spot(ticket);
  there.chunk->words[there.at] = word(who);
}

Fifo::Spot Fifo::first() const {
  check(live_ != 0, "there is an extent");
  for (const auto& chunk : chunks_) {
    if (!chunk || chunk->live == 0) continue;
    const auto at = std::find_if(chunk->words.begin(), chunk->words.end(),
                                 [](std::uint64_t word) { return word != 0; });
    return {chunk.get(), static_cast<std::uint64_t>(at - chunk->words.begin())};
  }
  return {};
}

Whose Fifo::front() const {
  const Spot there = first();
  return whose(there.chunk->words[there.at]);
}

std::uint32_t Fifo::front_ticket() const {
  const Spot there = first();
  std::uint64_t number = base_;
  while (chunks_[number - base_].get() != there.chunk) ++number;
  return static_cast<std::uint32_t>((number * kChunk + there.at) & kTicketMask);
}

void Fifo::for_each(absl::FunctionRef<void(Whose)> visit) const {
  for (const auto& chunk : chunks_) {
    if (!chunk) continue;
    for (const std::uint64_t word : chunk->words) {
      if (word != 0) visit(whose(word));
    }
  }
}

void Fifo::expect(std::uint64_t oldest, std::uint64_t next) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 62;  // more are never given out
  if (next > kMost || next < oldest || next - oldest > Extent::kTickets - 8 * kChunk) return;
  base_ = oldest / kChunk;
  tail_ = next;
  chunks_.resize((next + kChunk - 1) / kChunk - base_);
  if (tail_ % kChunk == 0) return;
  chunks_.back() = std::make_unique<Chunk>();  // will be appended to
  ++held_;
}

bool Fifo::put_back(std::uint32_t ticket, Whose who) {
  const std::uint64_t number = full(ticket);
  if (number >= tail_ || number / kChunk < base_) return false;
  std::unique_ptr<Chunk>& chunk = chunks_[number / kChunk - base_];
  if (!chunk) {
    chunk = std::make_unique<Chunk>();
    ++held_;
  }
  std::uint64_t& place = chunk->words[number % kChunk];
  if (place != 0) return false;
  place = word(who);
  ++chunk->live;
  ++live_;
  return true;
}

std::uint64_t Fifo::bytes() const { return held_ * sizeof(Chunk) + chunks_.size() * sizeof(void*); }

void Fifo::tidy(Renumber renumber) {
  for (unsigned i = 0; i < kAtOnce && held_ * kChunk > 2 * live_ + kSlack; ++i) {
    // The last chunk is being filled.
    if (chunks_.size() < 3) return;
    if (cursor_ + 2 >= chunks_.size()) cursor_ = 0;
    std::size_t next = cursor_ + 1;
    const std::size_t end = std::min(chunks_.size() - 1, next + 64);
    while (next < end && !chunks_[next]) ++next;
    const bool fit =
        next < end && chunks_[cursor_] && chunks_[cursor_]->live + chunks_[next]->live <= kChunk;
    if (!fit) {
      cursor_ = next;
      continue;
    }
    join(cursor_, next, renumber);
  }
}

// All of `next` behind all of `at`, in order.
void Fifo::join(std::size_t at, std::size_t next, Renumber renumber) {
  Chunk& into = *chunks_[at];
  std::uint64_t to = 0;
  const auto take = [&](std::uint64_t word, std::uint64_t from) {
    if (word == 0) return;
    const std::uint64_t spot_of_it = to++;
    into.words[spot_of_it] = word;
    if (from == spot_of_it) return;
    renumber(whose(word),
             static_cast<std::uint32_t>(((base_ + at) * kChunk + spot_of_it) & kTicketMask));
  };
  for (std::uint64_t i = 0; i < kChunk; ++i) take(into.words[i], i);
  for (const std::uint64_t word : chunks_[next]->words) take(word, kChunk);
  std::fill(into.words.begin() + static_cast<std::ptrdiff_t>(to), into.words.end(), 0u);
  into.live = static_cast<std::uint32_t>(to);
  chunks_[next].reset();
  --held_;
}

}  // namespace larder::store
