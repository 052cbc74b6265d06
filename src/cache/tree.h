// SPDX-License-Identifier: Apache-2.0
// Tree: the parallel trees, of cookies and of each cache's objects, and what all their nodes share:
// the queues, the clock, the counters, the caches.
//
// The tree of cookies is the netfs's; a cache's tree of objects is a part of it, made lazily: an
// index gets an object when something below it needs one. One mutex guards the shape of all.
// Everything done under it is a few pointer moves; no call to the store or the netfs is made under
// it.
//
// Places: (parent object, key) is the place of an object in its cache. The object that a cookie has
// holds the place of the cookie, and nothing else is noted of it. An object that its cookie let go
// of holds its place until it is dead, and `lingering` knows it; so does an object of a renamed
// cookie, until it has moved. Whoever comes to such a place stands in line (`predecessor`), and is
// then itself what `lingering` knows of the place: the last of the line.
#pragma once

#include <larder/cookie.h>

#include <absl/container/btree_map.h>
#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "cache/cache.h"
#include "cache/cookie.h"
#include "cache/states.h"
#include "cache/stats.h"

namespace larder::cache {

// Finds cookies by parent and key without a copy of the key.
struct CookiePlace {
  const Cookie* parent;
  std::string_view key;
  friend bool operator==(const CookiePlace&, const CookiePlace&) = default;
};
struct CookieHash {
  using is_transparent = void;
  std::size_t operator()(const CookiePlace& p) const { return absl::HashOf(p.parent, p.key); }
  std::size_t operator()(const CookieRef& c) const {
    return (*this)(CookiePlace{c->parent.get(), c->key.view()});
  }
};
struct CookieEqual {
  using is_transparent = void;
  static CookiePlace place(const CookiePlace& p) { return p; }
  static CookiePlace place(const CookieRef& c) { return {c->parent.get(), c->key.view()}; }
  template <class A, class B>
  bool operator()(const A& a, const B& b) const {
    return place(a) == place(b);
  }
};

// The same for objects.
struct ObjectPlace {
  const Object* parent;
  std::string_view key;
  friend bool operator==(const ObjectPlace&, const ObjectPlace&) = default;
};
ObjectPlace place_of(const Object* object);
struct ObjectHash {
  using is_transparent = void;
  std::size_t operator()(const ObjectPlace& p) const { return absl::HashOf(p.parent, p.key); }
  std::size_t operator()(const Object* o) const { return (*this)(place_of(o)); }
};
struct ObjectEqual {
  using is_transparent = void;
  static ObjectPlace place(const ObjectPlace& p) { return p; }
  static ObjectPlace place(const Object* o) { return place_of(o); }
  template <class A, class B>
  bool operator()(const A& a, const B& b) const {
    return place(a) == place(b);
  }
};

// How many operations wait or are posted (operation.cc, rule 8).
struct Limits {
  static constexpr std::uint32_t kMost = 0xefff;  // of an object: its counts have 16 bits
  std::uint32_t per_object = 4096;
  std::uint32_t all = 65536;
  // How many objects there may be, 0 for any number, and in percent of them when they are culled
  // (culling.cc).
  std::uint32_t objects = 0;
  unsigned frun = 10, fcull = 7, fstop = 3;
  // So many leave `percent` free.
  std::uint64_t objects_above(unsigned percent) const {
    return std::uint64_t{objects} * (100 - percent) / 100;
  }
};

// Whether an object may be refused for want of room: one that is made only to delete may not.
enum class Room : std::uint8_t { kNeeded, kNotNeeded };

struct Tree : std::enable_shared_from_this<Tree> {
  Tree(WorkQueue& machine_queue, WorkQueue& answer_queue, const Clock& the_clock, Limits the_limits)
      : machine(machine_queue), answer(answer_queue), clock(the_clock), limits(the_limits) {}

  // The cache for something that has none yet: the first object's of its parent, then what was
  // selected for what it lies below, then the first of all. Null: there is none.
  Cache* choose_locked(Cookie& cookie) REQUIRES(mutex);
  // The object that `cookie` has; else one in the cache that is chosen for it.
  ObjectPtr attach_locked(Cookie& cookie, Room room = Room::kNeeded) REQUIRES(mutex);
  // The object of `cookie` in `cache`, and of each ancestor that lacks one there. Null: nothing can
  // be cached there now.
  ObjectPtr attach_locked(Cookie& cookie, Cache& cache, Room room = Room::kNeeded) REQUIRES(mutex);
  // Takes from `cookie` the objects in its hands, each of which lingers from then on.
  std::vector<ObjectPtr> detach_all_locked(Cookie& cookie) REQUIRES(mutex);
  ObjectPtr detach_locked(Cookie& cookie, Object& object) REQUIRES(mutex);
  void linger_locked(Object& object) REQUIRES(mutex);

  // culling.cc: may one more object be made? Has idle ones closed where few are free.
  bool has_room_locked() REQUIRES(mutex);

  // All objects of `cache`, those made last first.
  std::vector<ObjectPtr> objects_of(const Cache& cache);

  WorkQueue& machine;
  WorkQueue& answer;
  const Clock& clock;
  const Limits limits;
  Counters counters;
  Histograms histograms;

  Mutex mutex{Rank::kCacheTree};
  CondVar changed;  // an object died, a machine stopped running, a check of aux data ended
  absl::flat_hash_set<CookieRef, CookieHash, CookieEqual> cookies
      GUARDED_BY(mutex);                                // the live ones
  std::vector<CookieRef> registered GUARDED_BY(mutex);  // of these, netfses and their shares
  absl::flat_hash_set<Object*, ObjectHash, ObjectEqual> lingering GUARDED_BY(mutex);
  absl::btree_map<std::uint32_t, Object*> objects GUARDED_BY(mutex);  // not dead, by id
  std::vector<CachePtr> caches GUARDED_BY(mutex);  // in the order in which they were added
  // Index -> the tag of the cache for what lies below it. Of few.
  absl::flat_hash_map<const Cookie*, std::string> selected GUARDED_BY(mutex);
  std::uint32_t last_object_id GUARDED_BY(mutex) = 0;

  std::atomic<std::uint32_t> n_caches{0};  // that are not being withdrawn
  std::atomic<std::uint32_t> last_operation_id{0};
  std::atomic<std::uint32_t> operations_held{0};  // of Limits::all
  // Steps that a machine takes before others have their turn.
  unsigned steps_per_run = 64;
  // For tests: called by a machine on arriving in a state, with no lock held.
  std::function<void(Object&, State)> trace;

 private:
  // culling.cc.
  struct Sweep;
  void sweep(std::unique_ptr<Sweep> now);
  void close_chosen(std::unique_ptr<Sweep> now);
  void end_sweep();
  bool sweeping_ GUARDED_BY(mutex) = false;
  Nanoseconds next_sweep_mono_ns_ GUARDED_BY(mutex) = 0;  // not before

  ObjectPtr attach_one_locked(Cookie& cookie, Cache& cache, const ObjectPtr& parent, Room room)
      REQUIRES(mutex);
};

// Wraps around.
inline std::uint32_t mono_ms(const Tree& tree) {
  return static_cast<std::uint32_t>(tree.clock.mono_ns() / kMillisecond);
}

}  // namespace larder::cache
