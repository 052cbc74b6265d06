// SPDX-License-Identifier: Apache-2.0
#include "cache/tree.h"

#include <utility>

#include "cache/object.h"

namespace larder::cache {

// A file that the netfs knows costs these two, their places in the trees (about 30 bytes), its key
// and its aux data: 256 bytes at most besides the key.
static_assert(sizeof(Cookie) <= 88 && sizeof(Object) <= 120);

ObjectPlace place_of(const Object* object) { return object->place(); }

Cache* Tree::choose_locked(Cookie& cookie) {
  if (cookie.parent) {
    MutexLock lock(cookie.parent->mutex);
    for (Object* at = cookie.parent->object(); at != nullptr; at = at->next_of_cookie().get()) {
      if (!at->cache().withdrawing) return &at->cache();
    }
  }
  const std::string* tag = nullptr;
  for (const Cookie* at = &cookie; !selected.empty() && !tag && at != nullptr;
       at = at->parent.get()) {
    const auto found = selected.find(at);
    if (found != selected.end()) tag = &found->second;
  }
  for (const CachePtr& cache : caches) {
    if (!cache->withdrawing && (!tag || cache->tag == *tag)) return cache.get();
  }
  return nullptr;
}

ObjectPtr Tree::attach_locked(Cookie& cookie, Room room) {
  {
    MutexLock lock(cookie.mutex);
    for (Object* at = cookie.object(); at != nullptr; at = at->next_of_cookie().get()) {
      if (!at->cache().withdrawing) return at;
    }
    if (cookie.object() != nullptr && !cookie.is_index()) return nullptr;
  }
  Cache* const cache = choose_locked(cookie);
  return cache ? attach_locked(cookie, *cache, room) : nullptr;
}

ObjectPtr Tree::attach_locked(Cookie& cookie, Cache& cache, Room room) {
  if (cache.withdrawing) return nullptr;
  std::vector<Cookie*> missing;
  ObjectPtr object;
  for (Cookie* at = &cookie; at != nullptr && !object; at = at->parent.get()) {
    if (at->has(kCookieReplaced) || !at->has(kCookieEnabled)) return nullptr;
    MutexLock lock(at->mutex);
    object = at->object_in(cache);
    if (!object) missing.push_back(at);
  }
  while (!missing.empty()) {
    object = attach_one_locked(*missing.back(), cache, object, room);
    if (!object) return nullptr;
    missing.pop_back();
  }
  return object;
}

ObjectPtr Tree::attach_one_locked(Cookie& cookie, Cache& cache, const ObjectPtr& parent,
                                  Room room) {
  if (parent && parent->is_dying_) {
    counters.objects_refused.add();
    return nullptr;
  }
  if (room == Room::kNeeded && !has_room_locked() && !cookie.is_index()) {
    counters.objects_refused.add();
    counters.events_no_space.add();
    return nullptr;
  }
  const ObjectPtr object(new Object(cache, ++last_object_id, CookieRef(&cookie), parent));
  if (parent) {
    MutexLock lock(parent->mutex_);
    ++parent->n_children_;
  }
  const auto holder = lingering.find(place_of(object.get()));
  if (holder != lingering.end()) {
    Object* const before = *holder;
    object->rare_locked().predecessor = before;
    before->rare_locked().successor = object.get();
    lingering.erase(holder);
    lingering.insert(object.get());
  }
  objects[last_object_id] = object.get();
  ++cache.n_objects;
  counters.objects_allocated.add();
  counters.objects_live.add();
  MutexLock lock(cookie.mutex);
  cookie.add(object);
  cookie.set(kCookieLookingUp);
  cookie.clear(kCookieUnavailable);
  cookie.clear(kCookieNoDataYet);
  if (cookie.has(kCookieOwesInvalidation)) {
    cookie.clear(kCookieOwesInvalidation);
    cookie.forget_content();
  }
  return object;
}

void Tree::linger_locked(Object& object) {
  // The cookie may be renamed from here on; the object's place stays what it is.
  const Cookie& cookie = object.cookie();
  if (!cookie.has(kCookieRelinquished)) object.keep_key_locked();
  lingering.insert(&object);
}

ObjectPtr Tree::detach_locked(Cookie& cookie, Object& object) {
  MutexLock lock(cookie.mutex);
  ObjectPtr removed = cookie.remove(object);
  if (!removed) return nullptr;
  if (!cookie.objects) {
    cookie.clear(kCookieLookingUp);
    cookie.clear(kCookieInvalidating);
  }
  linger_locked(object);
  return removed;
}

std::vector<ObjectPtr> Tree::detach_all_locked(Cookie& cookie) {
  std::vector<ObjectPtr> all = cookie.all_objects();
  for (const ObjectPtr& object : all) detach_locked(cookie, *object);
  return all;
}

std::vector<ObjectPtr> Tree::objects_of(const Cache& cache) {
  std::vector<ObjectPtr> all;
  MutexLock lock(mutex);
  for (auto at = objects.rbegin(); at != objects.rend(); ++at) {
    if (&at->second->cache() == &cache) all.emplace_back(at->second);
  }
  return all;
}

}  // namespace larder::cache
