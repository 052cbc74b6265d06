// SPDX-License-Identifier: Apache-2.0
// The calls of <larder/cookie.h> that make, change and end cookies. Each changes the cookie at once
// and raises an event on its objects; what happens then is object_states.cc.
//
// Where a cookie has no object though it could (it failed, or its cache was withdrawn), the next
// operation or invalidation gives it one, but not before the pause that its failures earned: 1 s,
// doubled with each failure in a row, 64 s at most.
#include <larder/log.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "cache/impl.h"
#include "cache/object.h"

namespace larder::cache {
namespace {

bool has_object(Cookie& cookie) {
  MutexLock lock(cookie.mutex);
  return cookie.object() != nullptr;
}

void set_version(Cookie& cookie, Bytes aux, ByteCount size) REQUIRES(cookie.mutex) {
  if (aux.size() > ShortBytes::kMost) aux = {};  // no version of anything that is stored
  cookie.aux = ShortBytes(aux);
  cookie.size = size;
}

// The size of a file changes in an exclusive operation of its own.
struct AttrChange : Operation {
  AttrChange() {
    type = OperationType::kSlow;
    sharing = Sharing::kExclusive;
    kind = OperationKind::kAttrChanged;
    run = [](Operation& self) {
      const std::unique_ptr<AttrChange> gone(static_cast<AttrChange*>(&self));
      Object& at = *self.object;
      if (at.cache().backend->attr_changed(at.handle_of_operation(), gone->size)) {
        at.complete(self);
      } else {
        at.abort(self);
      }
    };
    cancelled = [](Operation& self) {
      const std::unique_ptr<AttrChange> gone(static_cast<AttrChange*>(&self));
    };
  }
  ByteCount size{};
};

}  // namespace

// -- making and ending ----------------------------------------------------------------------------

CookieRef FsCache::acquire(const CookieRef& parent, const CookieDefinition& definition,
                           std::span<const std::byte> key, std::span<const std::byte> aux,
                           ByteCount size, void* netfs_data, std::uint64_t shown_as,
                           Enable enable) {
  impl_->tree->counters.acquires.add();
  if (!parent) {
    impl_->tree->counters.acquires_null.add();
    return nullptr;
  }
  trace(Part::kCookie, Moment::kEnter, "acquire({}, {}, {})", NameOf{parent}, definition.name,
        shown_as);
  CookieRef cookie =
      impl_->acquire(parent, definition, key, aux, size, netfs_data, shown_as, enable);
  if (cookie) impl_->tree->counters.acquires_ok.add();
  trace(Part::kCookie, Moment::kLeave, "acquire() = {}", NameOf{cookie});
  return cookie;
}

CookieRef FsCache::Impl::acquire(const CookieRef& parent, const CookieDefinition& definition,
                                 Bytes key, Bytes aux, ByteCount size, void* netfs_data,
                                 std::uint64_t shown_as, Enable enable) {
  if (key.empty() || key.size() > ShortBytes::kMost || aux.size() > ShortBytes::kMost) {
    return nullptr;
  }
  Counters& counters = tree->counters;
  CookieRef cookie(new Cookie(parent, definition, key, aux, size, netfs_data, shown_as));
  if (enable == Enable::kNo) cookie->clear(kCookieEnabled);
  ObjectPtr object;
  {
    MutexLock lock(tree->mutex);
    if (parent->has(kCookieRelinquished)) return nullptr;
    if (!tree->cookies.insert(cookie).second) {
      counters.duplicates.add();
      return nullptr;
    }
    ++parent->n_children;
    if (is_registered_locked(*cookie)) tree->registered.push_back(cookie);
    counters.cookies_live.add();
    (cookie->is_index()                     ? counters.cookies_index
     : definition.type == ObjectType::kData ? counters.cookies_data
                                            : counters.cookies_special)
        .add();
    // An index gets its object when something below it needs one.
    if (cookie->is_index() || enable == Enable::kNo) return cookie;
    if (tree->choose_locked(*cookie) == nullptr) {
      counters.acquires_no_cache.add();
      return cookie;
    }
    object = tree->attach_locked(*cookie);
  }
  if (object) {
    object->raise(Event::kRequeue);
  } else {
    counters.acquires_no_object.add();
  }
  return cookie;
}

// NOLINTNEXTLINE(performance-unnecessary-value-param): whoever relinquishes has it no more
void FsCache::relinquish(CookieRef cookie, Retire retire) {
  Tree& tree = *impl_->tree;
  tree.counters.relinquishes.add();
  if (!cookie) return tree.counters.relinquishes_null.add();
  trace(Part::kCookie, Moment::kEnter, "relinquish({}, {})", NameOf{cookie},
        retire == Retire::kYes ? "retire" : "keep");
  if (retire == Retire::kYes) tree.counters.relinquishes_retired.add();
  MutexLock tree_lock(tree.mutex);
  check(cookie->n_children == 0, "the children of a cookie are relinquished before it");
  check(!cookie->has(kCookieRelinquished), "a cookie is relinquished once");
  if (!cookie->has(kCookieReplaced)) tree.cookies.erase(cookie);
  if (impl_->is_registered_locked(*cookie)) std::erase(tree.registered, cookie);
  tree.selected.erase(cookie.get());
  --cookie->parent->n_children;
  tree.counters.cookies_live.sub();
  impl_->disable_locked(*cookie, retire, kCookieRelinquished);
  MutexLock lock(cookie->mutex);
  cookie->netfs_data = nullptr;
}

// The end of all caching for `cookie`, for now (kCookieEnabled) or for ever (kCookieRelinquished).
void FsCache::Impl::disable_locked(Cookie& cookie, Retire retire,
                                   CookieFlag how) NO_THREAD_SAFETY_ANALYSIS {
  // What was never looked up is deleted too, and an invalidation that is owed at the end is done:
  // by an object of its own.
  const bool owes = how == kCookieRelinquished && cookie.has(kCookieOwesInvalidation);
  if ((retire == Retire::kYes || owes) && !has_object(cookie)) {
    cookie.set(kCookieEnabled);
    const ObjectPtr object = tree->attach_locked(cookie, Room::kNotNeeded);
    // So that no object stays that nobody kicked.
    if (object && object->parent_locked()) object->parent_locked()->raise(Event::kRequeue);
    if (!object) {
      MutexLock lock(cookie.mutex);
      cookie.forget_content();  // once it is enabled again
    }
  }
  for (bool waited = false;;) {
    {
      MutexLock lock(cookie.mutex);
      // From here on no check begins, and no object is given.
      cookie.clear(kCookieEnabled);
      if (how == kCookieRelinquished) cookie.set(kCookieRelinquished);
      if (cookie.checks == 0) break;
    }
    if (!std::exchange(waited, true)) tree->counters.relinquishes_waited.add();
    tree->changed.wait(tree->mutex);
  }
  for (const ObjectPtr& object : tree->detach_all_locked(cookie)) {
    object->raise(retire == Retire::kYes ? Event::kRetire : Event::kRelease);
  }
}

void FsCache::enable(const CookieRef& cookie, std::span<const std::byte> aux, ByteCount size) {
  if (!cookie) return;
  impl_->tree->counters.enables.add();
  ObjectPtr object;
  {
    MutexLock tree_lock(impl_->tree->mutex);
    {
      MutexLock lock(cookie->mutex);
      if (cookie->has(kCookieEnabled) || cookie->has(kCookieRelinquished)) return;
      set_version(*cookie, aux, size);
      cookie->set(kCookieEnabled);
    }
    if (!cookie->is_index()) object = impl_->tree->attach_locked(*cookie);
  }
  if (object) object->raise(Event::kRequeue);
}

void FsCache::disable(const CookieRef& cookie, Retire retire) {
  if (!cookie) return;
  impl_->tree->counters.disables.add();
  MutexLock tree_lock(impl_->tree->mutex);
  if (cookie->has(kCookieRelinquished)) return;
  if (!cookie->has(kCookieEnabled) && retire == Retire::kNo) return;
  impl_->disable_locked(*cookie, retire, kCookieEnabled);
}

bool FsCache::Impl::may_retry_locked(const Cookie& cookie) const NO_THREAD_SAFETY_ANALYSIS {
  if (tree->n_caches.load(std::memory_order_relaxed) == 0 || cookie.is_index() ||
      !cookie.has(kCookieEnabled) || cookie.has(kCookieReplaced)) {
    return false;
  }
  return cookie.retry_mono_ms == 0 ||
         static_cast<std::int32_t>(mono_ms(*tree) - cookie.retry_mono_ms) >= 0;
}

bool FsCache::Impl::retry(Cookie& cookie) {
  ObjectPtr object;
  {
    MutexLock tree_lock(tree->mutex);
    object = tree->attach_locked(cookie);
    if (!object) {
      // One whose cache is not there yet has not failed.
      const bool waits = tree->choose_locked(cookie) == nullptr;
      MutexLock lock(cookie.mutex);
      if (waits) cookie.failures = 0;
      cookie.pause_from(mono_ms(*tree));
      return false;
    }
  }
  tree->counters.rebinds.add();
  object->raise(Event::kRequeue);
  return true;
}

// -- changing -------------------------------------------------------------------------------------

void FsCache::update(const CookieRef& cookie, std::span<const std::byte> aux, ByteCount size) {
  Counters& counters = impl_->tree->counters;
  counters.updates.add();
  if (!cookie) return counters.updates_null.add();
  trace(Part::kCookie, Moment::kEnter, "update({}, {} bytes)", NameOf{cookie}, size.value());
  {
    MutexLock lock(cookie->mutex);
    set_version(*cookie, aux, size);
  }
  for (const ObjectPtr& object : cookie->all_objects()) object->raise(Event::kUpdate);
}

void FsCache::invalidate(const CookieRef& cookie, std::span<const std::byte> aux, ByteCount size) {
  impl_->tree->counters.invalidates.add();
  if (!cookie) return;
  trace(Part::kCookie, Moment::kEnter, "invalidate({}, {} bytes)", NameOf{cookie}, size.value());
  {
    MutexLock lock(cookie->mutex);
    set_version(*cookie, aux, size);
    ++cookie->invalidations;
    // Under the lock: whoever sees the new version sees that the old pages must go.
    cookie->forget_content();
    if (cookie->object() != nullptr || !impl_->may_retry_locked(*cookie)) return;
  }
  impl_->retry(*cookie);
}

Status FsCache::attr_changed(const CookieRef& cookie, ByteCount size) {
  if (!cookie) return fail(ErrorCode::kNoBufs);
  {
    MutexLock lock(cookie->mutex);
    cookie->size = size;
  }
  auto change = std::make_unique<AttrChange>();
  change->size = size;
  if (submit(cookie, *change) == Submitted::kNever) return fail(ErrorCode::kNoBufs);
  static_cast<void>(change.release());  // it frees itself
  return {};
}

Consistency FsCache::check_consistency(const CookieRef& cookie, std::span<const std::byte> aux) {
  impl_->tree->counters.consistency_checks.add();
  Operation operation;  // from the stack: one that would have to wait is not taken
  if (submit(cookie, operation) != Submitted::kNow) return Consistency::kUnknown;
  const ObjectRecord stored =
      operation.object->cache().backend->record(operation.object->handle_of_operation());
  complete(operation);
  return std::ranges::equal(stored.aux, aux) ? Consistency::kConsistent : Consistency::kStale;
}

void FsCache::rename(const CookieRef& cookie, const CookieRef& new_parent,
                     std::span<const std::byte> new_key) {
  impl_->tree->counters.renames.add();
  if (!cookie || !new_parent || new_key.empty() || new_key.size() > ShortBytes::kMost) return;
  trace(Part::kCookie, Moment::kEnter, "rename({}, {})", NameOf{cookie}, NameOf{new_parent});
  start_rename(
      impl_->tree, cookie, new_parent, new_key,
      [impl = impl_.get()](Cookie& index, Cache& cache) { return impl->bring_up(index, &cache); });
}

}  // namespace larder::cache
