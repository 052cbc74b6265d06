// SPDX-License-Identifier: Apache-2.0
// Write sessions: from the first writable open of a file to the release of the last.
//
// What is written in a session enters no record before its end, so no write waits for the store.
// The mark that its beginning leaves in the journal makes what was recorded before obsolete should
// the end never come: the share's time stamps may be too coarse to show that the file was written.
// Once the mark is durable, no record names the old pages as good any more, so those that the
// session replaced wait for the mark alone.
//
// The end records what changed: the ranges as dropped, what lies in them now, and then the identity
// with `resumed`, behind which the pages count again, the old ones and the new. Whatever part of
// these is lost, they do not.
//
// Where many ranges became one (Object::note_change), old pages lie in it too, and their sums may
// not be in memory. Nobody waits for the disk here: such pages are dropped.
#include <algorithm>
#include <array>

#include "store/store_impl.h"

namespace larder::store {

void Store::begin_session(const ObjectRef& object) {
  const MutexLock lock(impl_->mutex);
  if (!impl_->takes_changes() || object->retired || object->in_session) return;
  object->made_busy().mark =
      object->extents.empty() ? 0 : impl_->append_locked(SessionMarkRecord{object->id});
  object->in_session = true;
}

void Store::end_session(const ObjectRef& object, std::span<const std::byte> aux, ByteCount size) {
  check(aux.size() <= kLongestKey, "aux data have at most 255 bytes");
  const MutexLock lock(impl_->mutex);
  if (!impl_->takes_changes() || object->retired) return;
  if (!impl_->object_room_locked(aux.size())) return impl_->retire_locked(*object);
  impl_->resize_locked(*object, size);
  impl_->index->set_identity(*object, view(aux), size);
  if (!object->in_session) {
    impl_->append_locked(change_of(*object, Pages::kKept));
    return;
  }
  impl_->record_session_locked(*object);
  object->end_session();
}

namespace {

// Whether the end of its session has to record this extent. Without a mark there was nothing
// before: all is new.
bool is_new(const Object& object, const Extent& extent) {
  if (object.busy->mark == 0) return true;
  return std::ranges::any_of(object.busy->changed, [&](const PageRange& range) {
    return !intersect(range, extent.range()).empty();
  });
}

}  // namespace

// The sums of what the end of the session records, one behind the other. What is dropped is noted
// as changed, and other extents may lie in that: so again, until none is.
std::vector<std::uint32_t> Store::Impl::session_sums_locked(Object& object) {
  while (true) {
    std::vector<std::uint32_t> sums;
    std::vector<PageRange> cold;
    for (const Extent& extent : object.extents) {
      if (extent.zeros() || !is_new(object, extent)) continue;
      sums.resize(sums.size() + extent.pages());
      if (!index->sums().try_get(extent.block(), std::span{sums}.last(extent.pages())))
        cold.push_back(extent.range());
    }
    if (cold.empty()) return sums;
    for (const PageRange& range : cold) drop_locked(object, range);
  }
}

void Store::Impl::record_session_locked(Object& object) {
  const bool marked = object.busy->mark != 0;
  const std::vector<std::uint32_t> sums = session_sums_locked(object);
  if (!marked) append_locked(change_of(object, Pages::kReset));
  for (const PageRange& range : object.busy->changed) append_locked(DropRecord{object.id, range});
  std::span<const std::uint32_t> left{sums};
  std::array<Le32, Extent::kLongest> disk;
  for (const Extent& extent : object.extents) {
    if (!is_new(object, extent)) continue;
    const std::size_t count = extent.zeros() ? 0 : extent.pages();
    for (std::size_t i = 0; i < count; ++i) disk[i] = Le32::of(left[i]);
    left = left.subspan(count);
    append_locked(ExtentRecord{object.id, extent.first(), extent.pages(), extent.block(),
                               std::span{disk}.first(count)});
  }
  if (marked) append_locked(change_of(object, Pages::kResumed));
}

}  // namespace larder::store
