// SPDX-License-Identifier: Apache-2.0
#include "store/allocator.h"

#include <larder/result.h>

#include <algorithm>

namespace larder::store {

Allocator::Allocator(std::uint64_t blocks) : blocks_(blocks) {
  const MutexLock lock(mutex_);
  if (blocks != 0) add_free_locked({0, blocks});
}

void Allocator::erase_free_locked(BlockRun run) {
  by_place_.erase(run.block);
  by_size_.erase({run.count, run.block});
  totals_.free -= run.count;
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
}

// The best fit, or else the largest there is.
std::optional<BlockRun> Allocator::take_locked(std::uint64_t want) {
  if (by_size_.empty()) return std::nullopt;
  auto fit = by_size_.lower_bound({want, 0});
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

void Allocator::release(BlockRun run) {
  const MutexLock lock(mutex_);
  add_free_locked(run);
}

void Allocator::release_after(const DeadList& dead, std::uint64_t number) {
  const MutexLock lock(mutex_);
  for (const Dead& one : dead) {
    waiting_.push_back({one, number});
    totals_.waiting += one.blocks;
  }
}

void Allocator::quarantine(BlockRun run) {
  const MutexLock lock(mutex_);
  quarantined_.push_back(run);
  totals_.quarantined += run.count;
}

bool Allocator::sweep(std::uint64_t durable) {
  std::vector<Waiting> gone;  // their extents are freed outside the lock
  const MutexLock lock(mutex_);
  const auto ready = [durable](const Waiting& w) {
    return w.number <= durable && !w.dead.extent->pinned();
  };
  const auto first =
      std::partition(waiting_.begin(), waiting_.end(), [&](const Waiting& w) { return !ready(w); });
  gone.assign(std::make_move_iterator(first), std::make_move_iterator(waiting_.end()));
  waiting_.erase(first, waiting_.end());
  for (const Waiting& w : gone) {
    totals_.waiting -= w.dead.blocks;
    add_free_locked({w.dead.block, w.dead.blocks});
  }
  return waiting_.empty();
}

Allocator::Totals Allocator::totals() const {
  const MutexLock lock(mutex_);
  return totals_;
}

std::vector<BlockRun> Allocator::free_runs() const {
  const MutexLock lock(mutex_);
  std::vector<BlockRun> runs;
  for (const auto& [block, count] : by_place_) runs.push_back({block, count});
  return runs;
}

std::vector<BlockRun> Allocator::waiting_runs() const {
  const MutexLock lock(mutex_);
  std::vector<BlockRun> runs;
  for (const Waiting& w : waiting_) runs.push_back({w.dead.block, w.dead.blocks});
  runs.insert(runs.end(), quarantined_.begin(), quarantined_.end());
  return runs;
}

}  // namespace larder::store
