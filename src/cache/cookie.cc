// SPDX-License-Identifier: Apache-2.0
#include "cache/cookie.h"

#include <algorithm>
#include <utility>

#include "cache/object.h"

namespace larder::cache {

Cookie::Cookie(CookieRef parent_cookie, const CookieDefinition& cookie_definition, Bytes cookie_key,
               Bytes cookie_aux, ByteCount cookie_size, void* data, std::uint64_t shown)
    : definition(cookie_definition),
      shown_as(shown),
      parent(std::move(parent_cookie)),
      key(cookie_key),
      aux(cookie_aux),
      size(cookie_size),
      netfs_data(data) {}

Cookie::~Cookie() = default;

void intrusive_ptr_add_ref(Cookie* cookie) {
  cookie->references_.fetch_add(1, std::memory_order_relaxed);
}

void intrusive_ptr_release(Cookie* cookie) {
  if (cookie->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    const std::unique_ptr<Cookie> last(cookie);
  }
}

Object* Cookie::object_in(const Cache& cache) {
  Object* at = objects.get();
  while (at != nullptr && &at->cache() != &cache) at = at->next_of_cookie().get();
  return at;
}

std::vector<ObjectPtr> Cookie::all_objects() {
  std::vector<ObjectPtr> all;
  MutexLock lock(mutex);
  for (Object* at = objects.get(); at != nullptr; at = at->next_of_cookie().get()) {
    all.emplace_back(at);
  }
  return all;
}

void Cookie::add(ObjectPtr object) {
  ObjectPtr* last = &objects;
  while (*last) last = &(*last)->next_of_cookie();
  *last = std::move(object);
}

ObjectPtr Cookie::remove(const Object& object) {
  ObjectPtr* at = &objects;
  while (*at && at->get() != &object) at = &(*at)->next_of_cookie();
  if (!*at) return nullptr;
  ObjectPtr removed = std::move(*at);
  *at = std::move(removed->next_of_cookie());
  return removed;
}

void Cookie::forget_content() {
  if (Object* const at = object()) {
    set(kCookieInvalidating);
    at->raise(Event::kInvalidate);
  } else if (!is_index()) {
    set(kCookieOwesInvalidation);
  }
}

Version Cookie::version_now() {
  MutexLock lock(mutex);
  return {to_key(aux.bytes()), size};
}

void Cookie::pause_from(std::uint32_t now_mono_ms) {
  constexpr unsigned kMostDoublings = 6;
  retry_mono_ms = now_mono_ms + (1000u << std::min<unsigned>(failures, kMostDoublings));
  if (failures < kMostDoublings) ++failures;
  if (retry_mono_ms == 0) retry_mono_ms = 1;
}

AuxCheck Cookie::check_aux(Bytes stored_aux, ByteCount stored_size, Mutex& tree_mutex,
                           CondVar& changed) {
  void* data = nullptr;
  {
    MutexLock lock(mutex);
    if (has(kCookieRelinquished) || !has(kCookieEnabled)) return AuxCheck::kOkay;
    ++checks;
    data = netfs_data;
  }
  // No lock is held: the netfs may take its own, of any rank.
  const AuxCheck answer = definition.check_aux(data, stored_aux, stored_size);
  {
    MutexLock tree_lock(tree_mutex);
    MutexLock lock(mutex);
    --checks;
  }
  changed.notify_all();
  return answer;
}

}  // namespace larder::cache
