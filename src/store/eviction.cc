// SPDX-License-Identifier: Apache-2.0
// Eviction: the oldest extents go, whosever they are.
//
// Blocks become free a commit after their extent went, so room is made ahead of need: a sixteenth
// of the store (at least 1 MiB, where the store is large enough) is free or about to be. It happens
// where pages come in, never on the read path, and passes over what is being read.
#include "store/store_impl.h"

namespace larder::store {

void Store::Impl::let_go_locked(const DeadList& dead, std::uint64_t number) {
  if (dead.empty()) return;
  allocator.release_after(dead, number);
  committer.wake_soon();
}

void Store::Impl::drop_locked(Object& object, PageRange range) {
  const std::uint64_t before = object.cached_pages;
  DeadList dead;
  index->drop(object, range, dead);
  if (object.tail_size.value() != 0 &&
      range.contains(page_of(ByteOffset{object.tail_size.value()}))) {
    object.tail_size = ByteCount{0};
  }
  if (object.cached_pages == before) return;
  // In a session the pages are in no record that its mark has not made obsolete.
  const std::uint64_t number =
      object.in_session ? object.mark : append_locked(DropRecord{object.id, range});
  let_go_locked(dead, number);
}

void Store::Impl::evict_locked(std::uint64_t blocks) {
  std::uint64_t gone = 0;
  auto& by_age = index->by_age();
  for (auto at = by_age.begin(); gone < blocks && at != by_age.end();) {
    Extent& extent = *at;
    ++at;
    if (extent.pinned()) continue;
    if (!extent.zeros()) {
      gone += extent.pages();
      counters.evicted_bytes.add(extent.pages() * kPageSize);
    }
    counters.evicted_extents.add();
    const PageRange range = extent.range;
    drop_locked(*extent.owner, range);
  }
}

void Store::Impl::keep_room_locked(std::uint64_t wanted_blocks) {
  const Allocator::Totals totals = allocator.totals();
  const std::uint64_t ahead = totals.free + totals.waiting;
  const std::uint64_t target = room_target + wanted_blocks;
  if (ahead < target) evict_locked(target - ahead);
  if (totals.free < target / 2 && allocator.totals().waiting != 0) committer.wake_now();
}

bool Store::Impl::index_room_locked(std::uint64_t bytes) {
  auto& by_age = index->by_age();
  while (index->totals().bytes + bytes > index_limit && !by_age.empty()) {
    Extent& extent = by_age.front();
    counters.evicted_extents.add();
    counters.evicted_bytes.add(extent.zeros() ? 0 : extent.pages() * kPageSize);
    const PageRange range = extent.range;
    drop_locked(*extent.owner, range);
  }
  return index->totals().bytes + bytes <= index_limit;
}

}  // namespace larder::store
