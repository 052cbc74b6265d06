// SPDX-License-Identifier: Apache-2.0
// Tree: the two parallel trees, of cookies and of objects, and what all their nodes share: the
// queues, the clock, the counters, the backend of the one cache.
//
// The tree of cookies is the netfs's; the tree of objects is a part of it, made lazily: an index
// gets an object when something below it needs one. One mutex guards the shape of both. Everything
// done under it is a few pointer moves; no call to the store or the netfs is made under it.
//
// Slots: (parent object, key) is the place in the store. An object takes it when it is made; while
// an older object of the same place is still dying, the newer one stands in line behind it
// (`predecessor`).
//
// Lives as long as any object of it (shared ownership): a finished operation's record or a piece of
// work left in a queue may outlive FsCache, and then touches only the counters here.
#pragma once

#include <larder/cookie.h>

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "cache/backend.h"
#include "cache/cookie.h"
#include "cache/states.h"
#include "cache/stats.h"

namespace larder::cache {

using ObjectPtr = boost::intrusive_ptr<Object>;

// Finds cookies by parent and key without a copy of the key.
struct CookiePlace {
  const Cookie* parent;
  std::string_view key;
};
struct CookieHash {
  using is_transparent = void;
  std::size_t operator()(const CookiePlace& p) const { return absl::HashOf(p.parent, p.key); }
  std::size_t operator()(const CookieRef& c) const {
    return (*this)(CookiePlace{c->parent.get(), c->key});
  }
};
struct CookieEqual {
  using is_transparent = void;
  static CookiePlace place(const CookiePlace& p) { return p; }
  static CookiePlace place(const CookieRef& c) { return {c->parent.get(), c->key}; }
  template <class A, class B>
  bool operator()(const A& a, const B& b) const {
    return place(a).parent == place(b).parent && place(a).key == place(b).key;
  }
};

struct Tree : std::enable_shared_from_this<Tree> {
  Tree(WorkQueue& machine_queue, WorkQueue& answer_queue, const Clock& the_clock)
      : machine(machine_queue), answer(answer_queue), clock(the_clock) {}

  // The object of `cookie` and of each ancestor that lacks one. Null: nothing can be cached there
  // now.
  ObjectPtr attach_locked(Cookie& cookie) REQUIRES(mutex);
  // All objects, those made last first: children before parents.
  std::vector<ObjectPtr> all_objects();

  WorkQueue& machine;
  WorkQueue& answer;
  const Clock& clock;
  Counters counters;
  Histograms histograms;

  Mutex mutex{Rank::kCacheTree};
  CondVar changed;  // an object died, a machine stopped running, a check of aux data ended
  absl::flat_hash_set<CookieRef, CookieHash, CookieEqual> cookies
      GUARDED_BY(mutex);                                // the live ones
  std::vector<CookieRef> registered GUARDED_BY(mutex);  // of these, netfses and their shares
  absl::flat_hash_map<std::pair<const Object*, std::string>, Object*> slots GUARDED_BY(mutex);
  std::map<std::uint32_t, Object*> objects GUARDED_BY(mutex);  // not dead, by id
  bool withdrawing GUARDED_BY(mutex) = false;
  std::uint32_t last_object_id GUARDED_BY(mutex) = 0;

  // The cache. Set while there are no objects, and not changed while there are any.
  std::unique_ptr<Backend> backend;

  std::atomic<std::uint32_t> last_operation_id{0};
  // For tests: called by a machine on arriving in a state, with no lock held.
  std::function<void(Object&, State)> trace;

 private:
  ObjectPtr attach_one_locked(Cookie& cookie, const ObjectPtr& parent) REQUIRES(mutex);
};

}  // namespace larder::cache
