// SPDX-License-Identifier: Apache-2.0
#include "store/sum_table.h"

#include <larder/result.h>

#include <algorithm>

namespace larder::store {

SumTable::SumTable(std::uint64_t blocks)
    : chunks_((blocks + kChunk - 1) / kChunk),
      stripes_(std::make_unique<std::array<Stripe, kStripes>>()) {}

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

void SumTable::set(std::uint64_t block, std::span<const std::uint32_t> sums) {
  check(block + sums.size() <= chunks_.size() * kChunk, "sums are of blocks of the data area");
  for_parts(block, sums.size(),
            [&](std::uint64_t chunk, std::uint64_t at, std::size_t first, std::size_t count) {
              const MutexLock lock((*stripes_)[chunk % kStripes].mutex);
              if (!chunks_[chunk]) chunks_[chunk] = std::make_unique<Chunk>();
              std::copy_n(sums.begin() + static_cast<std::ptrdiff_t>(first), count,
                          chunks_[chunk]->sums.begin() + static_cast<std::ptrdiff_t>(at));
            });
}

void SumTable::get(std::uint64_t block, std::span<std::uint32_t> into) const {
  check(block + into.size() <= chunks_.size() * kChunk, "sums are of blocks of the data area");
  for_parts(block, into.size(),
            [&](std::uint64_t chunk, std::uint64_t at, std::size_t first, std::size_t count) {
              const MutexLock lock((*stripes_)[chunk % kStripes].mutex);
              const auto to = into.begin() + static_cast<std::ptrdiff_t>(first);
              if (!chunks_[chunk]) {
                std::fill_n(to, count, 0u);
              } else {
                std::copy_n(chunks_[chunk]->sums.begin() + static_cast<std::ptrdiff_t>(at), count,
                            to);
              }
            });
}

std::uint64_t SumTable::bytes() const {
  const auto used = std::count_if(chunks_.begin(), chunks_.end(),
                                  [](const auto& chunk) { return chunk != nullptr; });
  return static_cast<std::uint64_t>(used) * sizeof(Chunk) + chunks_.size() * sizeof(void*);
}

}  // namespace larder::store
