// SPDX-License-Identifier: Apache-2.0
// Objects: found, made, changed, moved, retired.
#include "store/store_impl.h"

namespace larder::store {
namespace {

bool fits(Bytes key) { return !key.empty() && key.size() <= kLongestKey; }
bool fits_aux(Bytes aux) { return aux.size() <= kLongestKey; }
const PageRange kAllPages{PageIndex{0}, PageCount{~std::uint64_t{0}}};

PageRange from(PageIndex first) { return {first, kAllPages.end() - first}; }

}  // namespace

ObjectRef Store::root() {
  const MutexLock lock(impl_->mutex);
  return ObjectRef(&impl_->index->root());
}

Result<ObjectRef> Store::find(const ObjectRef& parent, Bytes key) {
  if (!impl_->is_open()) return fail(ErrorCode::kStoreIo);
  const MutexLock lock(impl_->mutex);
  Object* object = impl_->index->child(*parent, view(key));
  if (object == nullptr) return fail(ErrorCode::kNotFound);
  return ObjectRef(object);
}

Result<ObjectRef> Store::create(const ObjectRef& parent, ObjectType type, Bytes key, Bytes aux,
                                ByteCount size) {
  if (!fits(key) || !fits_aux(aux)) return fail(ErrorCode::kInvalid);
  const MutexLock lock(impl_->mutex);
  if (!impl_->is_open()) return fail(ErrorCode::kStoreIo);
  Index& index = *impl_->index;
  if (parent->retired || index.child(*parent, view(key)) != nullptr) return fail(ErrorCode::kStale);
  if (!impl_->object_room_locked(sizeof(ObjectDisk) + key.size() + aux.size()))
    return fail(ErrorCode::kStoreFull);
  ObjectRef object = index.add(*parent, type, view(key), index.next_id());
  index.set_identity(*object, view(aux), size);
  impl_->append_locked(change_of(*object, Pages::kReset));
  impl_->gauges_locked();
  return object;
}

ObjectRecord Store::record(const ObjectRef& object) const {
  const MutexLock lock(impl_->mutex);
  const ObjectChange change = change_of(*object, Pages::kKept);
  ObjectRecord record;
  record.id = change.id;
  record.parent = change.parent;
  record.type = change.type;
  record.key.assign(change.key.begin(), change.key.end());
  record.aux.assign(change.aux.begin(), change.aux.end());
  record.size = change.size;
  return record;
}

void Store::Impl::resize_locked(Object& object, ByteCount size) {
  // The tail page was padded for another size; what lies beyond is no more.
  const bool other_tail = object.tail_size.value() != 0 && object.tail_size != size;
  if (other_tail)
    drop_locked(object, {page_of(ByteOffset{object.tail_size.value()}), PageCount{1}});
  drop_locked(object, from(PageIndex{pages_for(size).value()}));
}

void Store::update(const ObjectRef& object, Bytes aux, ByteCount size) {
  check(fits_aux(aux), "aux data have at most 255 bytes");
  const MutexLock lock(impl_->mutex);
  if (!impl_->takes_changes() || object->retired) return;
  if (!impl_->object_room_locked(aux.size())) return impl_->retire_locked(*object);
  impl_->resize_locked(*object, size);
  impl_->index->set_identity(*object, view(aux), size);
  impl_->append_locked(change_of(*object, Pages::kKept));
  impl_->gauges_locked();
}

void Store::invalidate(const ObjectRef& object, Bytes aux, ByteCount size) {
  check(fits_aux(aux), "aux data have at most 255 bytes");
  const MutexLock lock(impl_->mutex);
  object->generation.fetch_add(1);
  if (!impl_->takes_changes() || object->retired) return;
  if (!impl_->object_room_locked(aux.size())) return impl_->retire_locked(*object);
  DeadList dead;
  impl_->revoke_fills_locked(*object, kAllPages);
  impl_->index->drop_all(*object, dead);
  impl_->index->set_identity(*object, view(aux), size);
  // A session ends with the pages that it was about.
  object->end_session();
  impl_->let_go_locked(dead, impl_->append_locked(change_of(*object, Pages::kReset)));
  impl_->gauges_locked();
}

void Store::Impl::retire_locked(Object& object) {
  if (object.retired) return;
  DeadList dead;
  index->retire(object, dead);
  let_go_locked(dead, append_locked(RetireRecord{object.id}));
  gauges_locked();
}

void Store::retire(const ObjectRef& object) {
  const MutexLock lock(impl_->mutex);
  if (impl_->takes_changes()) impl_->retire_locked(*object);
}

Status Store::rename(const ObjectRef& object, const ObjectRef& new_parent, Bytes new_key) {
  if (!fits(new_key)) return fail(ErrorCode::kInvalid);
  const MutexLock lock(impl_->mutex);
  if (!impl_->takes_changes()) return fail(ErrorCode::kStoreIo);
  if (object->retired || new_parent->retired) return fail(ErrorCode::kStale);
  if (impl_->index->child(*new_parent, view(new_key)) == object.get()) return {};
  if (!impl_->object_room_locked(new_key.size())) {
    impl_->retire_locked(*object);
    return fail(ErrorCode::kStoreFull);
  }
  DeadList dead;
  if (!impl_->index->rename(*object, *new_parent, view(new_key), dead))
    return fail(ErrorCode::kInvalid);
  impl_->let_go_locked(dead,
                       impl_->append_locked(RenameRecord{object->id, new_parent->id, new_key}));
  impl_->gauges_locked();
  return {};
}

std::uint64_t Store::generation(const ObjectRef& object) const { return object->generation.load(); }

PageCount Store::cached_pages(const ObjectRef& object) const {
  const MutexLock lock(object->mutex());
  return PageCount{impl_->is_open() ? object->cached_pages : 0};
}

std::vector<PageRange> Store::missing(const ObjectRef& object, PageRange range) const {
  if (range.empty()) return {};
  // While it hangs no plan covers anything either.
  if (!impl_->is_open() || impl_->hangs()) return {range};
  std::vector<PageRange> runs;
  const MutexLock lock(object->mutex());
  PageIndex page = range.first;
  auto at = object->find_from(page);
  for (; page < range.end() && at != object->extents.end(); ++at) {
    const PageRange held = at->range();
    if (held.first >= range.end()) break;
    if (page < held.first) runs.push_back({page, held.first - page});
    page = held.end();
  }
  if (page < range.end()) runs.push_back({page, range.end() - page});
  return runs;
}

void Store::drop(const ObjectRef& object, PageRange range) {
  const MutexLock lock(impl_->mutex);
  impl_->revoke_fills_locked(*object, range);
  if (!impl_->takes_changes() || object->retired) return;
  impl_->drop_locked(*object, range);
  impl_->extent_room_locked(0);
  impl_->gauges_locked();
}

void Store::truncate(const ObjectRef& object, ByteCount size) {
  const MutexLock lock(impl_->mutex);
  const PageRange gone = from(PageIndex{size.value() / kPageSize});
  impl_->revoke_fills_locked(*object, gone);
  if (!impl_->takes_changes() || object->retired) return;
  impl_->resize_locked(*object, size);
  impl_->drop_locked(*object, gone);
  impl_->index->set_identity(*object, object->aux(), size);
  impl_->append_locked(change_of(*object, Pages::kKept));
  impl_->gauges_locked();
}

}  // namespace larder::store
