// SPDX-License-Identifier: Apache-2.0
#include "store/pins.h"

#include <larder/result.h>

#include <algorithm>

namespace larder::store {
namespace {

constexpr unsigned kCountBits = 12;
constexpr std::size_t kStride = 64;  // pins between the threads' first choices

std::size_t first_choice() {
  static std::atomic<std::size_t> threads{0};
  thread_local const std::size_t mine = threads.fetch_add(kStride, std::memory_order_relaxed);
  return mine;
}

}  // namespace

Pins::Pins() : slots_(std::make_unique<std::array<Slot, kPins>>()) {}

Pins::Pin Pins::pin(BlockRun run, Nanoseconds now_ns) {
  check(run.count != 0 && run.count < (1u << kCountBits), "a pin is of a few blocks");
  const std::uint64_t word = run.block << kCountBits | run.count;
  const std::size_t start = first_choice();
  for (std::size_t i = 0; i < kPins; ++i) {
    const std::size_t at = (start + i) % kPins;
    Slot& slot = (*slots_)[at];
    std::uint64_t none = 0;
    if (slot.run.load(std::memory_order_relaxed) != 0) continue;
    if (!slot.run.compare_exchange_strong(none, word, std::memory_order_acq_rel)) continue;
    slot.since_ns.store(now_ns, std::memory_order_relaxed);
    return static_cast<Pin>(at);
  }
  return kNone;
}

void Pins::unpin(Pin pin) {
  Slot& slot = (*slots_)[pin];
  slot.since_ns.store(0, std::memory_order_relaxed);
  slot.run.store(0, std::memory_order_release);
}

std::vector<BlockRun> Pins::pinned() const {
  std::vector<BlockRun> runs;
  for (const Slot& slot : *slots_) {
    const std::uint64_t word = slot.run.load(std::memory_order_acquire);
    if (word != 0) runs.push_back({word >> kCountBits, word & ((1u << kCountBits) - 1)});
  }
  std::sort(runs.begin(), runs.end(),
            [](const BlockRun& a, const BlockRun& b) { return a.block < b.block; });
  return runs;
}

Nanoseconds Pins::oldest_ns() const {
  Nanoseconds oldest = 0;
  for (const Slot& slot : *slots_) {
    const Nanoseconds since = slot.since_ns.load(std::memory_order_relaxed);
    if (since != 0 && (oldest == 0 || since < oldest)) oldest = since;
  }
  return oldest;
}

// Runs that are pinned twice may overlap, but none is longer than a pin can say.
bool overlaps(const std::vector<BlockRun>& pinned, BlockRun run) {
  constexpr std::uint64_t kMost = 1u << kCountBits;
  auto at = std::lower_bound(
      pinned.begin(), pinned.end(), run.block,
      [](const BlockRun& a, std::uint64_t block) { return a.block + kMost <= block; });
  for (; at != pinned.end() && at->block < run.end(); ++at) {
    if (at->end() > run.block) return true;
  }
  return false;
}

}  // namespace larder::store
