// SPDX-License-Identifier: Apache-2.0
#include "store/sum_table.h"

#include <larder/result.h>

#include <algorithm>

#include "base/crc32c.h"
#include "store/format.h"

namespace larder::store {
namespace {

std::uint32_t sum_of(const SumTable::Sums& sums) { return crc32c(std::as_bytes(std::span{sums})); }

}  // namespace

SumTable::SumTable(std::uint64_t blocks)
    : chunks_((blocks + kChunk - 1) / kChunk),
      homes_(chunks_.size()),
      stripes_(std::make_unique<std::array<Stripe, kStripes>>()) {}

void SumTable::set_source(Read read) { read_ = std::move(read); }

// visit(chunk, first sum in it, first of the run, count)
template <class Visit>
void SumTable::for_parts(std::uint64_t block, std::size_t count, const Visit& visit) {
  for (std::size_t done = 0; done < count;) {
    const std::uint64_t at = (block + done) % kChunk;
    const std::size_t part = std::min<std::size_t>(count - done, kChunk - at);
    visit((block + done) / kChunk, at, done, part);
    done += part;
  }
}

// REQUIRES: its lock.
SumTable::Chunk& SumTable::make(std::uint64_t chunk) {
  std::unique_ptr<Chunk>& there = chunks_[chunk];
  if (!there) {
    there = std::make_unique<Chunk>();
    there->whole = homes_[chunk].place == 0;
    held_.fetch_add(1, std::memory_order_relaxed);
  }
  return *there;
}

void SumTable::set(std::uint64_t block, std::span<const std::uint32_t> sums) {
  check(block + sums.size() <= chunks_.size() * kChunk, "sums are of blocks of the data area");
  for_parts(block, sums.size(),
            [&](std::uint64_t chunk, std::uint64_t at, std::size_t first, std::size_t count) {
              const MutexLock lock(mutex_of(chunk));
              Chunk& its = make(chunk);
              if (!its.dirty) dirty_.fetch_add(1, std::memory_order_relaxed);
              its.dirty = its.used = true;
              for (std::size_t i = at; !its.whole && i < at + count; ++i) its.known.set(i);
              std::copy_n(sums.begin() + static_cast<std::ptrdiff_t>(first), count,
                          its.sums.begin() + static_cast<std::ptrdiff_t>(at));
            });
  make_room();
}

bool SumTable::try_get(std::uint64_t block, std::span<std::uint32_t> into) const {
  check(block + into.size() <= chunks_.size() * kChunk, "sums are of blocks of the data area");
  bool all = true;
  for_parts(block, into.size(),
            [&](std::uint64_t chunk, std::uint64_t at, std::size_t first, std::size_t count) {
              const MutexLock lock(mutex_of(chunk));
              Chunk* its = chunks_[chunk].get();
              const auto to = into.begin() + static_cast<std::ptrdiff_t>(first);
              if (its == nullptr) {
                all = all && homes_[chunk].place == 0;
                std::fill_n(to, count, 0u);
                return;
              }
              its->used = true;
              for (std::size_t i = at; !its->whole && i < at + count; ++i)
                all = all && its->known.test(i);
              std::copy_n(its->sums.begin() + static_cast<std::ptrdiff_t>(at), count, to);
            });
  return all;
}

void SumTable::get(std::uint64_t block, std::span<std::uint32_t> into) {
  while (!try_get(block, into)) {
    const std::uint64_t last = (block + into.size() - 1) / kChunk;
    for (std::uint64_t chunk = block / kChunk; chunk <= last; ++chunk) load(chunk);
  }
}

// Takes from its home what is not known. Nothing is locked while it is read; where the home has
// changed meanwhile, it is read again. What cannot be read is lost: its pages will not match.
void SumTable::load(std::uint64_t chunk) {
  alignas(kBlockSize) Sums sums{};
  for (;;) {
    Home home;
    {
      const MutexLock lock(mutex_of(chunk));
      home = homes_[chunk];
      if (home.place == 0 || (chunks_[chunk] && chunks_[chunk]->whole)) return;
    }
    loads_.fetch_add(1, std::memory_order_relaxed);
    const bool good = read_ && read_(chunk, home.place, sums) && sum_of(sums) == home.sum;
    const MutexLock lock(mutex_of(chunk));
    if (homes_[chunk] != home) continue;
    if (!good) {
      lost_.fetch_add(1, std::memory_order_relaxed);
      sums.fill(0);
    }
    Chunk& its = make(chunk);
    for (std::size_t i = 0; !its.whole && i < kChunk; ++i) {
      if (!its.known.test(i)) its.sums[i] = sums[i];
    }
    its.whole = its.used = true;
    break;
  }
  make_room();
}

// The clock: who was used since the hand came by stays for another round.
void SumTable::make_room() {
  const std::uint64_t limit = limit_.load(std::memory_order_relaxed);
  if (limit == 0 || chunks_.empty()) return;
  constexpr unsigned kSteps = 64;  // of one call: what is over stays until the next
  for (unsigned i = 0; i < kSteps; ++i) {
    if (held_.load(std::memory_order_relaxed) * sizeof(Chunk) <= limit) return;
    const std::uint64_t chunk = hand_.fetch_add(1, std::memory_order_relaxed) % chunks_.size();
    const MutexLock lock(mutex_of(chunk));
    std::unique_ptr<Chunk>& its = chunks_[chunk];
    if (!its || its->dirty || its->writing || homes_[chunk].place == 0) continue;
    if (std::exchange(its->used, false)) continue;
    its.reset();
    held_.fetch_sub(1, std::memory_order_relaxed);
  }
}

std::uint64_t SumTable::bytes() const {
  return held_.load(std::memory_order_relaxed) * sizeof(Chunk) +
         chunks_.size() * (sizeof(void*) + sizeof(Home));
}
std::uint64_t SumTable::dirty_bytes() const {
  return dirty_.load(std::memory_order_relaxed) * sizeof(Chunk);
}

std::uint64_t SumTable::next_dirty(std::uint64_t chunk) const {
  for (; chunk < chunks_.size(); ++chunk) {
    const MutexLock lock(mutex_of(chunk));
    if (chunks_[chunk] && chunks_[chunk]->dirty) break;
  }
  return chunk;
}

SumTable::Written SumTable::begin_write(std::uint64_t chunk, Sums& into) {
  load(chunk);
  const MutexLock lock(mutex_of(chunk));
  Chunk& its = *chunks_[chunk];
  if (its.dirty) dirty_.fetch_sub(1, std::memory_order_relaxed);
  its.dirty = false;
  its.writing = true;
  into = its.sums;
  return {chunk, {sum_of(into), homes_[chunk].place == 1 ? 2u : 1u}};
}

void SumTable::settle(const std::vector<Written>& written) {
  for (const Written& one : written) {
    const MutexLock lock(mutex_of(one.chunk));
    homes_[one.chunk] = one.home;
    chunks_[one.chunk]->writing = false;
  }
  make_room();
}

void SumTable::take_back(const std::vector<Written>& written) {
  for (const Written& one : written) {
    const MutexLock lock(mutex_of(one.chunk));
    Chunk& its = *chunks_[one.chunk];
    if (!its.dirty) dirty_.fetch_add(1, std::memory_order_relaxed);
    its.dirty = true;
    its.writing = false;
  }
}

SumTable::Home SumTable::home(std::uint64_t chunk) const {
  const MutexLock lock(mutex_of(chunk));
  return homes_[chunk];
}
void SumTable::set_home(std::uint64_t chunk, Home home) {
  const MutexLock lock(mutex_of(chunk));
  homes_[chunk] = home;
}

}  // namespace larder::store
