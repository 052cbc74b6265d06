// SPDX-License-Identifier: Apache-2.0
#include "cache/cookie.h"

#include <utility>

#include "cache/object.h"

namespace larder::cache {

Cookie::Cookie(CookieRef parent_cookie, const CookieDefinition& cookie_definition, Bytes cookie_key,
               Version cookie_version, void* data, std::uint64_t shown)
    : definition(cookie_definition),
      shown_as(shown),
      parent(std::move(parent_cookie)),
      key(to_key(cookie_key)),
      version(std::move(cookie_version)),
      netfs_data(data) {}

void intrusive_ptr_add_ref(Cookie* cookie) {
  cookie->references_.fetch_add(1, std::memory_order_relaxed);
}

void intrusive_ptr_release(Cookie* cookie) {
  if (cookie->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    const std::unique_ptr<Cookie> last(cookie);
  }
}

AuxCheck Cookie::check_aux(Bytes stored_aux, ByteCount stored_size, Mutex& tree_mutex,
                           CondVar& changed) {
  void* data = nullptr;
  {
    MutexLock lock(mutex);
    if (has(kCookieRelinquished)) return AuxCheck::kOkay;
    checking = true;
    data = netfs_data;
  }
  // No lock is held: the netfs may take its own, of any rank.
  const AuxCheck answer = definition.check_aux(data, stored_aux, stored_size);
  {
    MutexLock tree_lock(tree_mutex);
    MutexLock lock(mutex);
    checking = false;
  }
  changed.notify_all();
  return answer;
}

}  // namespace larder::cache
