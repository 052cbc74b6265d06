// SPDX-License-Identifier: Apache-2.0
#include "cache/tree.h"

#include <utility>

#include "cache/object.h"

namespace larder::cache {

ObjectPtr Tree::attach_locked(Cookie& cookie) {
  if (!backend || withdrawing) return nullptr;
  std::vector<Cookie*> missing;
  ObjectPtr object;
  for (Cookie* at = &cookie; at != nullptr && !object; at = at->parent.get()) {
    if (at->replaced || at->has(kCookieRelinquished)) return nullptr;
    MutexLock lock(at->mutex);
    object = at->object;
    if (!object) missing.push_back(at);
  }
  while (!missing.empty()) {
    object = attach_one_locked(*missing.back(), object);
    if (!object) return nullptr;
    missing.pop_back();
  }
  return object;
}

ObjectPtr Tree::attach_one_locked(Cookie& cookie, const ObjectPtr& parent) {
  if (parent && parent->is_dying_) {
    counters.objects_refused.add();
    return nullptr;
  }
  const ObjectPtr object(
      new Object(*this, ++last_object_id, CookieRef(&cookie), parent, cookie.key));
  if (parent) {
    MutexLock lock(parent->mutex_);
    ++parent->n_children_;
  }
  Object*& slot = slots[{parent.get(), cookie.key}];
  if (slot != nullptr) {
    object->predecessor_ = slot;
    slot->successor_ = object.get();
  }
  slot = object.get();
  objects[last_object_id] = object.get();
  counters.objects_allocated.add();
  counters.objects_live.add();
  MutexLock lock(cookie.mutex);
  cookie.object = object;
  cookie.set(kCookieLookingUp);
  cookie.clear(kCookieUnavailable);
  cookie.clear(kCookieNoDataYet);
  return object;
}

std::vector<ObjectPtr> Tree::all_objects() {
  std::vector<ObjectPtr> all;
  MutexLock lock(mutex);
  all.reserve(objects.size());
  for (auto at = objects.rbegin(); at != objects.rend(); ++at) all.emplace_back(at->second);
  return all;
}

}  // namespace larder::cache
