// SPDX-License-Identifier: Apache-2.0
#include "store/allocator.h"

#include <larder/result.h>

#include <algorithm>
#include <utility>

namespace larder::store {

// The bits of `word` that lie in the run.
std::uint64_t BlockSet::mask(std::uint64_t word, BlockRun run) const {
  std::uint64_t bits = ~std::uint64_t{0};
  if (word == run.block / 64) bits &= ~std::uint64_t{0} << run.block % 64;
  if (word == (run.end() - 1) / 64) bits &= ~std::uint64_t{0} >> (63 - (run.end() - 1) % 64);
  return bits;
}

bool BlockSet::add(BlockRun run) {
  if (run.count == 0 || run.end() < run.block || run.end() > blocks_) return false;
  const std::uint64_t last = (run.end() - 1) / 64;
  for (std::uint64_t word = run.block / 64; word <= last; ++word) {
    if ((words_[word] & mask(word, run)) != 0) return false;
  }
  for (std::uint64_t word = run.block / 64; word <= last; ++word) words_[word] |= mask(word, run);
  return true;
}

std::vector<BlockRun> BlockSet::gaps() const {
  std::vector<BlockRun> runs;
  for (std::uint64_t block = 0; block < blocks_;) {
    if (block % 64 == 0 && words_[block / 64] == ~std::uint64_t{0}) {
      block += 64;
      continue;
    }
    if (has(block)) {
      ++block;
      continue;
    }
    const std::uint64_t first = block;
    while (block < blocks_ && (block % 64 == 0 && words_[block / 64] == 0 ? true : !has(block)))
      block += block % 64 == 0 && words_[block / 64] == 0 ? 64 : 1;
    runs.push_back({first, std::min(block, blocks_) - first});
  }
  return runs;
}

Allocator::Allocator(std::uint64_t blocks) : blocks_(blocks) {
  const MutexLock lock(mutex_);
  if (blocks != 0) add_free_locked({0, blocks});
}

void Allocator::erase_free_locked(BlockRun run) {
  by_place_.erase(run.block);
  by_size_.erase({run.count, run.block});
  totals_.free -= run.count;
  if (run.count >= kLong) totals_.in_long_runs -= run.count;
}

void Allocator::add_free_locked(BlockRun run) {
  check(run.count != 0 && run.block + run.count <= blocks_, "free blocks lie in the data area");
  auto next = by_place_.lower_bound(run.block);
  check(next == by_place_.end() || run.block + run.count <= next->first, "a block is freed once");
  if (next != by_place_.end() && next->first == run.block + run.count) {
    const BlockRun behind{next->first, next->second};
    erase_free_locked(behind);
    run.count += behind.count;
    next = by_place_.lower_bound(run.block);
  }
  if (next != by_place_.begin()) {
    const auto before = std::prev(next);
    check(before->first + before->second <= run.block, "a block is freed once");
    if (before->first + before->second == run.block) {
      const BlockRun front{before->first, before->second};
      erase_free_locked(front);
      run = {front.block, front.count + run.count};
    }
  }
  by_place_.emplace(run.block, run.count);
  by_size_.emplace(run.count, run.block);
  totals_.free += run.count;
  if (run.count >= kLong) totals_.in_long_runs += run.count;
}

// What of it is to be emptied is withheld.
void Allocator::free_locked(BlockRun run) {
  if (run.count == 0) return;
  for (const BlockRun& range : ranges_) {
    const BlockRun part = intersect(run, range);
    if (part.count == 0) continue;
    withheld_.push_back(part);
    totals_.withheld += part.count;
    for (const BlockRun& rest : without(run, part)) free_locked(rest);
    return;
  }
  add_free_locked(run);
}

// The best fit, or else the largest there is.
std::optional<BlockRun> Allocator::take_locked(std::uint64_t want) {
  if (by_size_.empty()) return std::nullopt;
  auto fit = by_size_.lower_bound({want, 0});
  // One that would leave a crumb is passed over for the next size that would not.
  if (want < kGrain && fit != by_size_.end() && fit->first != want) {
    const auto roomy = by_size_.lower_bound({(want * 4 + 2) / 3, 0});
    if (roomy != by_size_.end()) fit = roomy;
  }
  if (fit == by_size_.end()) fit = std::prev(by_size_.end());
  const BlockRun whole{fit->second, fit->first};
  std::uint64_t take = std::min(want, whole.count);
  if (take < want && take > kGrain) take -= take % kGrain;
  erase_free_locked(whole);
  if (take < whole.count) add_free_locked({whole.block + take, whole.count - take});
  return BlockRun{whole.block, take};
}

std::optional<std::vector<BlockRun>> Allocator::allocate(std::uint64_t blocks,
                                                         std::uint64_t longest) {
  check(blocks != 0 && longest != 0, "an allocation is of something");
  const MutexLock lock(mutex_);
  const std::uint64_t most = (blocks + kGrain - 1) / kGrain + 1;
  std::vector<BlockRun> runs;
  std::uint64_t missing = blocks;
  while (missing != 0 && missing <= totals_.free && runs.size() < most) {
    const auto run = take_locked(std::min(missing, longest));
    if (!run) break;
    runs.push_back(*run);
    missing -= run->count;
  }
  if (missing == 0) return runs;
  for (const BlockRun& run : runs) add_free_locked(run);
  return std::nullopt;
}

bool Allocator::claim(BlockRun run) {
  const MutexLock lock(mutex_);
  auto at = by_place_.upper_bound(run.block);
  if (run.count == 0 || at == by_place_.begin()) return false;
  --at;
  const BlockRun whole{at->first, at->second};
  const std::uint64_t end = run.block + run.count;
  if (end < run.block || end > whole.block + whole.count) return false;
  erase_free_locked(whole);
  if (whole.block < run.block) add_free_locked({whole.block, run.block - whole.block});
  if (end < whole.block + whole.count) add_free_locked({end, whole.block + whole.count - end});
  return true;
}

void Allocator::free_all_but(const BlockSet& used) {
  const auto gaps = used.gaps();
  const MutexLock lock(mutex_);
  by_place_.clear();
  by_size_.clear();
  totals_.free = totals_.in_long_runs = 0;
  for (const BlockRun& run : gaps) add_free_locked(run);
}

std::vector<BlockRun> Allocator::take_free(std::uint64_t from, std::size_t most) {
  const MutexLock lock(mutex_);
  std::vector<BlockRun> runs;
  for (auto at = by_place_.lower_bound(from); at != by_place_.end() && runs.size() < most; ++at)
    runs.push_back({at->first, at->second});
  for (const BlockRun& run : runs) erase_free_locked(run);
  return runs;
}

void Allocator::release(BlockRun run) {
  const MutexLock lock(mutex_);
  free_locked(run);
}

void Allocator::release_after(const DeadList& dead, std::uint64_t number) {
  const MutexLock lock(mutex_);
  for (const BlockRun& run : dead) {
    waiting_.push_back({run, number});
    totals_.waiting += run.count;
  }
}

void Allocator::quarantine(BlockRun run) {
  const MutexLock lock(mutex_);
  quarantined_.push_back(run);
  totals_.quarantined += run.count;
}

bool Allocator::sweep(std::uint64_t durable, const Pins& pins) {
  const MutexLock lock(mutex_);
  if (waiting_.empty()) return true;
  // Whatever waits here has left its object before: no new pin will be on it.
  const auto pinned = pins.pinned();
  std::erase_if(waiting_, [&](const Waiting& w) REQUIRES(mutex_) {
    if (w.number > durable || overlaps(pinned, w.run)) return false;
    totals_.waiting -= w.run.count;
    free_locked(w.run);
    return true;
  });
  return waiting_.empty();
}

void Allocator::withhold(std::vector<BlockRun> ranges) {
  const MutexLock lock(mutex_);
  std::erase_if(ranges, [](const BlockRun& range) { return range.count == 0; });
  ranges_ = std::move(ranges);
  std::vector<BlockRun> hit;
  for (const auto& [block, count] : by_place_) {
    const BlockRun run{block, count};
    const bool shares = std::ranges::any_of(
        ranges_, [&](const BlockRun& range) { return intersect(run, range).count != 0; });
    if (shares) hit.push_back(run);
  }
  for (const BlockRun& run : hit) {
    erase_free_locked(run);
    free_locked(run);
  }
}

std::uint64_t Allocator::still_in_use() const {
  const MutexLock lock(mutex_);
  std::uint64_t wanted = 0;
  for (const BlockRun& range : ranges_) {
    wanted += range.count;
    for (const BlockRun& bad : quarantined_) wanted -= intersect(bad, range).count;
  }
  return wanted - totals_.withheld;
}

bool Allocator::is_withheld(BlockRun run) const {
  const MutexLock lock(mutex_);
  return std::ranges::any_of(
      ranges_, [&](const BlockRun& range) { return intersect(run, range).count != 0; });
}

void Allocator::give_back_withheld() {
  const MutexLock lock(mutex_);
  ranges_.clear();
  totals_.withheld = 0;
  for (const BlockRun& run : std::exchange(withheld_, {})) add_free_locked(run);
}

void Allocator::resize(std::uint64_t blocks, BlockRun gone) {
  const MutexLock lock(mutex_);
  const std::uint64_t before = std::exchange(blocks_, std::max(blocks, blocks_));
  ranges_.clear();
  totals_.withheld = 0;
  // Whatever is not theirs is free: of what was withheld, and of what is new.
  const BlockRun all{0, blocks};
  const auto add = [&](BlockRun run) REQUIRES(mutex_) {
    for (const BlockRun& rest : without(intersect(run, all), gone))
      if (rest.count != 0) add_free_locked(rest);
  };
  for (const BlockRun& run : std::exchange(withheld_, {})) add(run);
  if (blocks > before) add({before, blocks - before});
  blocks_ = blocks;
  std::erase_if(quarantined_, [&](BlockRun& run) REQUIRES(mutex_) {
    const BlockRun left = intersect(run, all);
    totals_.quarantined -= run.count - left.count;
    run.count = left.count;
    return left.count == 0;
  });
}

Allocator::Totals Allocator::totals() const {
  const MutexLock lock(mutex_);
  Totals totals = totals_;
  totals.runs = by_size_.size();
  totals.longest = by_size_.empty() ? 0 : by_size_.rbegin()->first;
  return totals;
}

Allocator::Runs Allocator::runs() const {
  const MutexLock lock(mutex_);
  Runs all;
  for (const auto& [block, count] : by_place_) all.free.push_back({block, count});
  for (const Waiting& w : waiting_) all.waiting.push_back(w.run);
  all.quarantined = quarantined_;
  all.withheld = withheld_;
  return all;
}

}  // namespace larder::store
