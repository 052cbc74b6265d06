// SPDX-License-Identifier: Apache-2.0
// Cookie: the netfs's handle, and its place in the tree of cookies.
//
// A cookie knows what is to be cached (key below its parent, aux data and size of the current
// version) and points to at most one object, which does it. Objects come and go (withdrawal,
// errors); the cookie stays.
//
// Who guards what: the tree's mutex the place (parent, key, children); the cookie's own mutex the
// rest; flags are written under it and read by anyone.
//
// Invariants:
//   1. `object` is null or an object whose cookie() is this one; a relinquished cookie has none.
//   2. kInvalidating is set from invalidate() until an INVALIDATING run has seen the newest
//      version.
//   3. While `checking`, netfs_data is in use; relinquish() waits for that and then clears it.
#pragma once

#include <larder/cookie.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "base/mutex.h"
#include "cache/backend.h"

namespace larder::cache {

// The bits of the kernel (4.19), for the FL column.
enum CookieFlag : std::uint32_t {
  kCookieLookingUp = 1u << 0,
  kCookieNoDataYet = 1u << 1,
  kCookieUnavailable = 1u << 2,
  kCookieInvalidating = 1u << 3,
  kCookieRelinquished = 1u << 4,
  kCookieEnabled = 1u << 5,
  kCookieAcquired = 1u << 9,
};

// What the pages of a cookie belong to.
struct Version {
  std::string aux;
  ByteCount size{};
};

inline std::string to_key(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline Bytes to_bytes(const std::string& key) { return std::as_bytes(std::span(key)); }

class Cookie {
 public:
  Cookie(CookieRef parent_cookie, const CookieDefinition& cookie_definition, Bytes cookie_key,
         Version cookie_version, void* data, std::uint64_t shown);

  bool has(CookieFlag flag) const { return (flags.load(std::memory_order_relaxed) & flag) != 0; }
  void set(CookieFlag flag) { flags.fetch_or(flag, std::memory_order_relaxed); }
  void clear(CookieFlag flag) { flags.fetch_and(~std::uint32_t{flag}, std::memory_order_relaxed); }

  // Asks the netfs about what the store holds. kOkay where nobody is left to ask.
  AuxCheck check_aux(Bytes stored_aux, ByteCount stored_size, Mutex& tree_mutex, CondVar& changed);

  const CookieDefinition& definition;
  const std::uint64_t shown_as;

  // Guarded by the tree's mutex.
  CookieRef parent;
  std::string key;
  std::uint32_t n_children = 0;
  bool replaced = false;  // a rename took its place: nothing can be cached below it or in it

  Mutex mutex{Rank::kCookie};
  boost::intrusive_ptr<Object> object GUARDED_BY(mutex);
  Version version GUARDED_BY(mutex);
  void* netfs_data GUARDED_BY(mutex);
  bool checking GUARDED_BY(mutex) = false;
  std::uint64_t invalidations GUARDED_BY(mutex) = 0;
  Nanoseconds retry_mono_ns GUARDED_BY(mutex) = 0;  // after an error: not before
  std::atomic<std::uint32_t> flags{kCookieEnabled | kCookieAcquired};

 private:
  friend void intrusive_ptr_add_ref(Cookie* cookie);
  friend void intrusive_ptr_release(Cookie* cookie);
  std::atomic<std::uint32_t> references_{0};
};

}  // namespace larder::cache
