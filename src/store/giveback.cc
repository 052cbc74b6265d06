// SPDX-License-Identifier: Apache-2.0
// `min_free=`: the disk below keeps so much free, whoever fills it.
//
// The store's file is sparse: a block that was never used takes nothing from the disk, one that
// became free keeps what it has for the next fill. So
//
//   * a fill goes ahead only where, with all that is in flight, so much stays free below
//   * where others have filled the disk, free blocks are given back (holes are punched), and what
//     goes next is evicted until a little more than min_free is free; commits and sweeps make its
//     blocks free, and the next step gives them back
//
// Looked at every half second, and every 50 ms where a fill was refused. Not where the store is
// preallocated or a block device: those take nothing.
#include <sys/stat.h>

#include <algorithm>

#include "store/store_impl.h"

namespace larder::store {
namespace {

constexpr Nanoseconds kLook_ns = 500 * kMillisecond, kShortLook_ns = 50 * kMillisecond;
constexpr std::uint64_t kMostBeyond = 64u << 20;  // bytes that are given back beyond min_free
constexpr std::size_t kRuns = 512;                // free runs that are punched at a time

// That the file has of the disk.
std::uint64_t blocks_of(int fd) {
  struct stat stat {};
  return fd >= 0 && ::fstat(fd, &stat) == 0 ? static_cast<std::uint64_t>(stat.st_blocks) : 0;
}

}  // namespace

bool Store::Impl::disk_has_room() {
  if (options.min_free.value() == 0) return true;
  const auto free = disk_free(device);
  if (!free) return true;
  const std::uint64_t needed = options.min_free.value() + counters.fill_in_flight_bytes.value();
  if (free->value() >= needed) return true;
  disk_is_short.store(true);
  return false;
}

bool Store::Impl::relieve_disk() {
  if (options.min_free.value() == 0 || !is_open()) return false;
  const Nanoseconds now = clock.mono_ns();
  // Every fill that is refused makes a step: not all of them look.
  const bool was_short = disk_is_short.load();
  if (now < next_disk_look_ns - (was_short ? kLook_ns - kShortLook_ns : 0)) return was_short;
  next_disk_look_ns = now + kLook_ns;
  auto free = disk_free(device);
  if (!free) return false;
  counters.disk_free_bytes.set(free->value());
  const std::uint64_t least = options.min_free.value();
  const std::uint64_t target = least + std::min(kMostBeyond, counters.capacity_bytes.value() / 16);
  if (free->value() >= (disk_is_short.load() ? target : least)) {
    disk_is_short.store(false);
    return false;
  }
  disk_is_short.store(true);
  give_free_back();
  {
    const MutexLock lock(mutex);
    gauges_locked();
  }
  free = disk_free(device);
  if (!free || free->value() >= target) return true;  // seen by the next step
  const MutexLock lock(mutex);
  const Allocator::Totals totals = allocator.totals();
  const std::uint64_t missing = (target - free->value()) / kBlockSize + 1;
  return totals.waiting >= missing || evict_locked(missing - totals.waiting) != 0 ||
         totals.waiting != 0;
}

// All free blocks, a few runs at a time: while they are punched nobody is given them.
void Store::Impl::give_free_back() {
  const std::uint64_t before = blocks_of(device.fd.get());
  std::uint64_t from = 0;
  for (;;) {
    const auto runs = allocator.take_free(from, kRuns);
    if (runs.empty()) break;
    for (const BlockRun& run : runs)
      store::give_back(device, at(run.block), ByteCount{run.count * kBlockSize});
    from = runs.back().end();
    for (const BlockRun& run : runs) allocator.release(run);
  }
  const std::uint64_t after = blocks_of(device.fd.get());
  if (before > after) counters.given_back_bytes.add((before - after) * 512);
}

}  // namespace larder::store
