// SPDX-License-Identifier: Apache-2.0
// Cookie: the netfs's handle, and its place in the tree of cookies.
//
// A cookie knows what is to be cached (key below its parent, aux data and size of the current
// version) and has the objects that do it: an index one in each cache that holds something below
// it, any other at most one. Objects come and go (withdrawal, errors); the cookie stays.
//
// Who guards what: the tree's mutex the place (parent, key, children); the cookie's own mutex the
// rest; flags are written under either and read by anyone.
//
// Invariants:
//   1. Each of the objects has this cookie as its cookie(), no two are in the same cache, and they
//      are in the order in which they were attached. A relinquished cookie has none, nor has a
//      disabled one.
//   2. kInvalidating is set from invalidate() until an INVALIDATING run has seen the newest
//      version.
//   3. An invalidation is with one of the objects, as its event, or with the cookie, as
//      kCookieOwesInvalidation, until the store has done it. (Of an index only with its objects:
//      there is no content that could be served.)
//   4. While `checks` is not 0, netfs_data is in use; relinquish() waits for that and then clears
//      it.
//
// There is one of these for each file that the netfs knows, so it is kept small (the assertion at
// the end, and docs/performance.md).
#pragma once

#include <larder/cookie.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include <larder/backend.h>
#include "base/mutex.h"
#include "base/small_mutex.h"
#include "cache/pool.h"
#include "cache/short_bytes.h"

namespace larder::cache {

class Cache;
using ObjectPtr = boost::intrusive_ptr<Object>;

enum CookieFlag : std::uint32_t {
  // The bits of the kernel (4.19), for the FL column.
  kCookieLookingUp = 1u << 0,
  kCookieNoDataYet = 1u << 1,
  kCookieUnavailable = 1u << 2,
  kCookieInvalidating = 1u << 3,
  kCookieRelinquished = 1u << 4,
  kCookieEnabled = 1u << 5,
  kCookieAcquired = 1u << 9,
  // Ours, not shown. A rename took its place: nothing can be cached below it or in it. Guarded by
  // the tree's mutex.
  kCookieReplaced = 1u << 16,
  // Ours too. It was invalidated, and no object has done that: the next that it is given will.
  // Guarded by the cookie's mutex.
  kCookieOwesInvalidation = 1u << 17,
};
inline constexpr std::uint32_t kShownCookieFlags = 0xffff;

// What the pages of a cookie belong to.
struct Version {
  std::string aux;
  ByteCount size{};
};

inline std::string to_key(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline Bytes to_bytes(std::string_view key) { return std::as_bytes(std::span(key)); }

class Cookie : public Pooled<Cookie> {
 public:
  Cookie(CookieRef parent_cookie, const CookieDefinition& cookie_definition, Bytes cookie_key,
         Bytes cookie_aux, ByteCount cookie_size, void* data, std::uint64_t shown);
  ~Cookie();

  bool has(CookieFlag flag) const { return (flags.load(std::memory_order_relaxed) & flag) != 0; }
  void set(CookieFlag flag) { flags.fetch_or(flag, std::memory_order_relaxed); }
  void clear(CookieFlag flag) { flags.fetch_and(~std::uint32_t{flag}, std::memory_order_relaxed); }
  bool is_index() const { return definition.type == ObjectType::kIndex; }

  // The first object: the only one of a cookie that is no index. Null where there is none.
  Object* object() REQUIRES(mutex) { return objects.get(); }
  Object* object_in(const Cache& cache) REQUIRES(mutex);
  std::vector<ObjectPtr> all_objects();  // takes the mutex
  void add(ObjectPtr object) REQUIRES(mutex);
  // Null where it is none of them.
  ObjectPtr remove(const Object& object) REQUIRES(mutex);

  // What is stored of the content must go: its object does that, else the next that it is given.
  void forget_content() REQUIRES(mutex);

  Version version_now();  // takes the mutex
  // After one more failure: nothing is tried before a pause.
  void pause_from(std::uint32_t now_mono_ms) REQUIRES(mutex);

  // Asks the netfs about what the store holds. kOkay where nobody is left to ask.
  AuxCheck check_aux(Bytes stored_aux, ByteCount stored_size, Mutex& tree_mutex, CondVar& changed);

 private:
  friend void intrusive_ptr_add_ref(Cookie* cookie);
  friend void intrusive_ptr_release(Cookie* cookie);
  std::atomic<std::uint32_t> references_{0};

 public:
  std::atomic<std::uint32_t> flags{kCookieEnabled | kCookieAcquired};
  const CookieDefinition& definition;
  const std::uint64_t shown_as;

  // Guarded by the tree's mutex.
  CookieRef parent;
  ShortBytes key;
  std::uint32_t n_children = 0;

  SmallMutex<Rank::kCookie> mutex;
  ObjectPtr objects GUARDED_BY(mutex);  // and behind each the next
  ShortBytes aux GUARDED_BY(mutex);
  ByteCount size GUARDED_BY(mutex);
  void* netfs_data GUARDED_BY(mutex);
  std::uint16_t invalidations GUARDED_BY(mutex) = 0;  // wraps around
  std::uint8_t checks GUARDED_BY(mutex) = 0;          // one an object, at most
  std::uint8_t failures GUARDED_BY(mutex) = 0;        // of its look-ups in a row
  std::uint32_t retry_mono_ms GUARDED_BY(mutex) = 0;  // not before; 0: at any time
};

}  // namespace larder::cache
