// SPDX-License-Identifier: Apache-2.0
// Eviction: which pages and names go, and when.
//
// Pages: brun, bcull and bstop mean what they mean to FS-Cache, in percent of the data area. Free
// is also what waits to be freed, since blocks become free a commit after their extent went: so
// room is made ahead of need. It happens where pages come in, a bounded stretch at a time, and goes
// on behind the commits; never on the read path. Which extent goes: s3fifo.h.
//
// Names and values are apart: they have a share of the checkpoint of their own, and neither pushes
// the other out. So a walk over all names leaves the pages, and a backup leaves the names. Those of
// one object go together, by a clock over the objects.
#include "store/store_impl.h"

namespace larder::store {
namespace {

constexpr std::uint64_t kBurst = 256;        // extents that go in one stretch
constexpr std::uint64_t kBurstBlocks = 512;  // that are culled besides what is wanted at once

}  // namespace

ByteCount Store::make_room(ByteCount wanted) {
  while (true) {
    const MutexLock lock(impl_->mutex);
    if (!impl_->takes_changes()) break;
    const std::uint64_t blocks =
        std::min(wanted.value() / kBlockSize, impl_->layout.usable_blocks());
    const Allocator::Totals totals = impl_->allocator.totals();
    const std::uint64_t ahead = totals.free + totals.waiting;
    if (ahead >= blocks || impl_->evict_locked(blocks - ahead) == 0) break;
  }
  static_cast<void>(sync());  // what was dropped is free behind a commit
  const MutexLock lock(impl_->mutex);
  return ByteCount{impl_->allocator.totals().free * kBlockSize};
}

ByteCount Store::clear() {
  Impl& store = *impl_;
  const std::uint64_t before = store.counters.used_bytes.value();
  std::size_t slot = 0;
  for (bool more = true; more;) {
    const MutexLock lock(store.mutex);
    if (!store.takes_changes()) break;
    const std::size_t end = std::min(slot + kBurst, store.index->slots());
    for (; slot < end; ++slot) {
      Object* object = store.index->in_slot(slot);
      if (object == nullptr) continue;
      store.drop_locked(*object, {PageIndex{0}, PageCount{~std::uint64_t{0}}});
      store.forget_folder_locked(*object);
    }
    more = slot < store.index->slots();
  }
  for (unsigned i = 0; i < Impl::kStepsMost && store.step_and_sweep(); ++i) {
    if (store.allocator.totals().waiting == 0) break;
    store.rest();
  }
  const MutexLock lock(store.mutex);
  store.gauges_locked();
  const std::uint64_t after = store.counters.used_bytes.value();
  return ByteCount{before > after ? before - after : 0};
}

void Store::set_pinning(const ObjectRef& object, Pinning pinning) {
  const MutexLock lock(impl_->mutex);
  const bool pinned = pinning == Pinning::kPinned;
  if (!impl_->takes_changes() || object->retired || object->pinned == pinned) return;
  impl_->index->set_pinned(*object, pinned);
  impl_->gauges_locked();
  // In a session its record says what was before; the end of the session says this too.
  if (!object->in_session) impl_->append_locked(change_of(*object, Pages::kKept));
}

Store::Pinning Store::pinning(const ObjectRef& object) const {
  const MutexLock lock(impl_->mutex);
  return object->pinned ? Pinning::kPinned : Pinning::kFree;
}

void Store::scan(const std::function<bool(const ObjectRef&)>& wanted,
                 const std::function<bool(const Scanned&)>& visit) {
  std::vector<ObjectRef> objects;
  {
    const MutexLock lock(impl_->mutex);
    for (std::size_t slot = 0; slot < impl_->index->slots(); ++slot) {
      Object* object = impl_->index->in_slot(slot);
      if (object != nullptr && !object->extents.empty()) objects.emplace_back(object);
    }
  }
  if (wanted) std::erase_if(objects, [&](const ObjectRef& object) { return !wanted(object); });
  std::vector<Scanned> all;
  {
    const MutexLock lock(impl_->mutex);
    for (const ObjectRef& object : objects) {
      for (const Extent& extent : object->extents) {
        if (!extent.zeros()) all.push_back({object, extent.range(), impl_->at(extent.block())});
      }
    }
  }
  std::sort(all.begin(), all.end(), [](const Scanned& a, const Scanned& b) { return a.at < b.at; });
  for (const Scanned& one : all) {
    if (!visit(one)) return;
  }
}

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
  const std::uint64_t mark = object.busy ? object.busy->mark : 0;
  if (mark != 0) object.note_change(range);
  const std::uint64_t number =
      object.in_session ? mark : append_locked(DropRecord{object.id, range});
  let_go_locked(dead, number);
}

bool Store::Impl::evict_one_locked() {
  const auto victim = index->next_victim();
  if (!victim) return false;
  counters.evicted_extents.add();
  counters.evicted_bytes.add(victim->blocks * kBlockSize);
  drop_locked(*victim->object, victim->range);
  return true;
}

std::uint64_t Store::Impl::evict_locked(std::uint64_t blocks) {
  std::uint64_t gone = 0;
  for (std::uint64_t i = 0; gone < blocks && i < kBurst; ++i) {
    const std::uint64_t before = counters.evicted_bytes.value();
    if (!evict_one_locked()) break;
    gone += (counters.evicted_bytes.value() - before) / kBlockSize;
  }
  return gone;
}

bool Store::Impl::keep_room_locked(std::uint64_t wanted_blocks) {
  const Allocator::Totals totals = allocator.totals();
  const std::uint64_t ahead = totals.free + totals.waiting;
  if (ahead < marks.cull + wanted_blocks) culling = true;
  if (culling) {
    const std::uint64_t target = marks.run + wanted_blocks;
    if (ahead < target)
      evict_locked(std::min(target - ahead, wanted_blocks + kBurstBlocks));
    else
      culling = false;
    committer.wake_soon();
  }
  if (totals.free < marks.cull / 2 + wanted_blocks && allocator.totals().waiting != 0)
    committer.wake_now();
  return totals.free >= marks.stop + wanted_blocks;
}

bool Store::Impl::cull_locked() {
  if (!culling) return false;
  const Allocator::Totals totals = allocator.totals();
  const std::uint64_t ahead = totals.free + totals.waiting;
  if (ahead < marks.run && evict_locked(std::min(marks.run - ahead, 8 * kBurstBlocks)) != 0)
    return true;
  culling = false;
  return false;
}

// A checkpoint of which names may have 3/8 and objects 4/8; extents have what is left, but not
// what names might want.
bool Store::Impl::object_room_locked(std::uint64_t bytes) {
  if (index->totals().object_bytes + bytes > index_limit / 8 * 4) return false;
  extent_room_locked(bytes);
  return true;
}

// Sums may leave memory, but for those of the pages that are in use.
std::uint64_t Store::Impl::least_sums() const { return options.index_memory.value() / 64; }

bool Store::Impl::extent_room_locked(std::uint64_t bytes) {
  const std::uint64_t most = index_limit / 8 * 5;
  const std::uint64_t memory = options.index_memory.value();
  const auto over = [&] {
    return index->totals().extent_bytes + index->totals().object_bytes + bytes > most ||
           (memory != 0 && index->memory_bytes() + least_sums() > memory);
  };
  for (std::uint64_t i = 0; i < kBurst && over(); ++i) {
    if (!evict_one_locked()) break;
  }
  return !over();
}

bool Store::Impl::name_room_locked(std::uint64_t bytes, const Object& whose) {
  const std::uint64_t most = index_limit / 8 * 3;
  const auto over = [&] { return index->totals().name_bytes + bytes > most; };
  while (over()) {
    Object* idle = index->next_idle_folder(&whose);
    if (idle == nullptr) break;
    forget_folder_locked(*idle);
  }
  return !over();
}

void Store::Impl::forget_folder_locked(Object& object) {
  if (object.value) {
    index->set_value(object, 0, {});
    append_locked(ValueRecord{object.id, 0, {}});
  }
  while (object.folder && !object.folder->names.empty()) {
    const std::string name = object.folder->names.begin()->first;
    index->remove_name(object, name);
    append_locked(UnnameRecord{object.id, name});
    counters.evicted_names.add();
  }
}

}  // namespace larder::store
