// SPDX-License-Identifier: Apache-2.0
#include "store/sum_table.h"

#include <algorithm>
#include <cerrno>

#include "base/crc32c.h"
#include "store/format.h"

namespace larder::store {
namespace {

std::uint32_t sum_of(const SumTable::Sums& sums) { return crc32c(std::as_bytes(std::span{sums})); }

}  // namespace

SumTable::SumTable(std::uint64_t blocks)
    : segments_(std::make_unique<Segments>()),
      stripes_(std::make_unique<std::array<Stripe, kStripes>>()) {
  resize(blocks);
}

SumTable::~SumTable() {
  for (const std::atomic<Entry*>& segment : *segments_) delete[] segment.load();
}

void SumTable::set_source(Region region, Read read) {
  regions_[0].at = region.at;
  regions_[0].chunks = region.chunks;
  read_ = std::move(read);
}

void SumTable::make_segments(std::uint64_t chunks) {
  check(chunks <= kSegment * kSegments, "a store has no more blocks than an extent can say");
  for (std::uint64_t at = 0; at * kSegment < chunks; ++at) {
    std::atomic<Entry*>& segment = (*segments_)[at];
    if (segment.load(std::memory_order_relaxed) == nullptr)
      segment.store(new Entry[kSegment], std::memory_order_release);
  }
}

void SumTable::resize(std::uint64_t blocks) {
  const std::uint64_t before = chunks(), chunks = (blocks + kChunk - 1) / kChunk;
  make_segments(chunks);
  count_.store(chunks, std::memory_order_release);
  for (std::uint64_t chunk = chunks; chunk < before; ++chunk) forget(chunk);
}

void SumTable::forget(std::uint64_t chunk) {
  const MutexLock lock(mutex_of(chunk));
  Entry& its = entry(chunk);
  if (its.chunk) held_.fetch_sub(1, std::memory_order_relaxed);
  if (its.chunk && its.chunk->dirty) dirty_.fetch_sub(1, std::memory_order_relaxed);
  its = {};
}

std::uint64_t SumTable::offset_of(std::uint64_t chunk, std::uint32_t place) const {
  const AtomicRegion& region = regions_[(place - 1) / 2];
  return region.at.load() + ((place - 1) % 2 * region.chunks.load() + chunk) * kBlockSize;
}

// The home that is written next. One that moves gets one of another number in any case, so that who
// read it meanwhile sees that.
std::uint32_t SumTable::other_place(std::uint32_t place) const {
  const std::uint32_t first = region_ * 2 + 1;
  return place == first ? first + 1 : first;
}

void SumTable::begin_move(Region region) {
  region_ = 1 - region_;
  regions_[region_].at.store(region.at);
  regions_[region_].chunks.store(region.chunks);
  moving_ = true;
}

void SumTable::end_move(bool done) {
  if (moving_ && !done) region_ = 1 - region_;
  moving_ = false;
}

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
  std::unique_ptr<Chunk>& there = entry(chunk).chunk;
  if (!there) {
    there = std::make_unique<Chunk>();
    there->whole = entry(chunk).home.place == 0;
    held_.fetch_add(1, std::memory_order_relaxed);
  }
  return *there;
}

void SumTable::set(std::uint64_t block, std::span<const std::uint32_t> sums) {
  check(block + sums.size() <= chunks() * kChunk, "sums are of blocks of the data area");
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
  check(block + into.size() <= chunks() * kChunk, "sums are of blocks of the data area");
  bool all = true;
  for_parts(block, into.size(),
            [&](std::uint64_t chunk, std::uint64_t at, std::size_t first, std::size_t count) {
              const MutexLock lock(mutex_of(chunk));
              Chunk* its = entry(chunk).chunk.get();
              const auto to = into.begin() + static_cast<std::ptrdiff_t>(first);
              if (its == nullptr) {
                all = all && entry(chunk).home.place == 0;
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

Status SumTable::get(std::uint64_t block, std::span<std::uint32_t> into) {
  while (!try_get(block, into)) {
    const std::uint64_t last = (block + into.size() - 1) / kChunk;
    for (std::uint64_t chunk = block / kChunk; chunk <= last; ++chunk) TRY_OK(load(chunk));
  }
  return {};
}

Status SumTable::read_home(std::uint64_t at, Sums& into) const {
  return read_ ? read_(at, into) : Status(fail(ErrorCode::kStoreIo, EIO));
}

// Nothing is locked while it is read.
Status SumTable::load(std::uint64_t chunk) {
  Loading loading;
  while (begin_load(chunk, loading)) {
    const Status read = read_home(offset_of(loading), loading.sums);
    const Loaded loaded = end_load(loading, read);
    if (loaded == Loaded::kYes) break;
    if (loaded == Loaded::kUnread) return read;
  }
  return {};
}

bool SumTable::begin_load(std::uint64_t chunk, Loading& loading) {
  const MutexLock lock(mutex_of(chunk));
  const Entry& its = entry(chunk);
  if (its.home.place == 0 || (its.chunk && its.chunk->whole)) return false;
  loading.chunk = chunk;
  loading.home = its.home;
  loads_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

// Takes from its home what is not known.
SumTable::Loaded SumTable::end_load(Loading& loading, Status read) {
  const bool good = read && sum_of(loading.sums) == loading.home.sum;
  {
    const MutexLock lock(mutex_of(loading.chunk));
    const Entry& at = entry(loading.chunk);
    if (at.home != loading.home) return Loaded::kMoved;
    // Somebody else may have read it.
    if (!read) return at.chunk && at.chunk->whole ? Loaded::kYes : Loaded::kUnread;
    if (!good) {
      lost_.fetch_add(1, std::memory_order_relaxed);
      loading.sums.fill(0);
    }
    Chunk& its = make(loading.chunk);
    for (std::size_t i = 0; !its.whole && i < kChunk; ++i) {
      if (!its.known.test(i)) its.sums[i] = loading.sums[i];
    }
    its.whole = its.used = true;
  }
  make_room();
  return Loaded::kYes;
}

// The clock: who was used since the hand came by stays for another round.
void SumTable::make_room() {
  const std::uint64_t limit = limit_.load(std::memory_order_relaxed);
  if (limit == 0 || chunks() == 0) return;
  constexpr unsigned kSteps = 64;  // of one call: what is over stays until the next
  for (unsigned i = 0; i < kSteps; ++i) {
    if (held_.load(std::memory_order_relaxed) * sizeof(Chunk) <= limit) return;
    const std::uint64_t chunk = hand_.fetch_add(1, std::memory_order_relaxed) % chunks();
    const MutexLock lock(mutex_of(chunk));
    std::unique_ptr<Chunk>& its = entry(chunk).chunk;
    if (!its || its->dirty || its->writing || entry(chunk).home.place == 0) continue;
    if (std::exchange(its->used, false)) continue;
    its.reset();
    held_.fetch_sub(1, std::memory_order_relaxed);
  }
}

std::uint64_t SumTable::bytes() const {
  return held_.load(std::memory_order_relaxed) * sizeof(Chunk) + chunks() * sizeof(Entry);
}
std::uint64_t SumTable::dirty_bytes() const {
  return dirty_.load(std::memory_order_relaxed) * sizeof(Chunk);
}

std::uint64_t SumTable::next_dirty(std::uint64_t chunk) const {
  for (; chunk < chunks(); ++chunk) {
    const MutexLock lock(mutex_of(chunk));
    if (entry(chunk).chunk && entry(chunk).chunk->dirty) break;
  }
  return chunk;
}

// Of a chunk that a checkpoint needs and could not read.
bool SumTable::gives_up(std::uint64_t chunk) {
  if (unread_) return true;
  unread_ = chunk;
  return false;
}

// What is not known is zeros.
void SumTable::lose(std::uint64_t chunk) {
  const MutexLock lock(mutex_of(chunk));
  Chunk& its = make(chunk);
  if (!its.whole) lost_.fetch_add(1, std::memory_order_relaxed);
  its.whole = its.used = true;
}

Result<SumTable::Written> SumTable::begin_write(std::uint64_t chunk, Sums& into) {
  if (const Status read = load(chunk); !read) {
    if (!gives_up(chunk)) return fail(read.error());
    lose(chunk);
  }
  const MutexLock lock(mutex_of(chunk));
  Chunk& its = *entry(chunk).chunk;
  if (its.dirty) dirty_.fetch_sub(1, std::memory_order_relaxed);
  its.dirty = false;
  its.writing = true;
  into = its.sums;
  return Written{chunk, {sum_of(into), other_place(entry(chunk).home.place)}};
}

Result<std::optional<SumTable::Written>> SumTable::begin_copy(std::uint64_t chunk, Sums& into) {
  Home home;
  bool dirty = false;
  {
    const MutexLock lock(mutex_of(chunk));
    const Entry& its = entry(chunk);
    home = its.home;
    dirty = its.chunk && its.chunk->dirty;
    if (its.chunk && its.chunk->whole && !its.chunk->dirty) {
      into = its.chunk->sums;
      if (home.place == 0) return std::nullopt;
      return Written{chunk, {home.sum, other_place(home.place)}};
    }
    if (!its.chunk && home.place == 0) return std::nullopt;
  }
  if (dirty) return begin_write(chunk, into);
  // As it is at home.
  const Status read = read_home(offset_of(chunk, home.place), into);
  if (!read && !gives_up(chunk)) return fail(read.error());
  if (!read || sum_of(into) != home.sum) {
    lost_.fetch_add(1, std::memory_order_relaxed);
    into.fill(0);
  }
  return Written{chunk, {sum_of(into), other_place(home.place)}};
}

void SumTable::settle(const std::vector<Written>& written) {
  for (const Written& one : written) {
    const MutexLock lock(mutex_of(one.chunk));
    Entry& its = entry(one.chunk);
    its.home = one.home;
    if (its.chunk) its.chunk->writing = false;
    if (unread_ == one.chunk) unread_.reset();
  }
  make_room();
}

void SumTable::take_back(const std::vector<Written>& written) {
  for (const Written& one : written) {
    const MutexLock lock(mutex_of(one.chunk));
    Chunk* its = entry(one.chunk).chunk.get();
    // A copy of what did not change is not needed.
    if (its == nullptr || !its->writing) continue;
    if (!its->dirty) dirty_.fetch_add(1, std::memory_order_relaxed);
    its->dirty = true;
    its->writing = false;
  }
}

SumTable::Home SumTable::home(std::uint64_t chunk) const {
  const MutexLock lock(mutex_of(chunk));
  return entry(chunk).home;
}
void SumTable::set_home(std::uint64_t chunk, Home home) {
  const MutexLock lock(mutex_of(chunk));
  entry(chunk).home = home;
}

}  // namespace larder::store
