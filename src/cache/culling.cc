// SPDX-License-Identifier: Apache-2.0
// Culling of objects: they go, their cookies stay. A cookie whose object went is given another at
// its next use (FsCache::submit), and that one is looked up anew.
//
// The kernel could cull nothing that a netfs knew of, so a cache full of files that were open once
// stayed full. Here an object that nothing uses is closed while its cookie lives. Which: those
// without pages first, then those that were used longest ago. Indices stay, since others lie below
// them: there are few.
//
// When: frun, fcull and fstop, as brun, bcull and bstop of the store, in percent of
// FsCacheOptions::objects. Where fewer than fcull are free, idle ones are closed until frun are;
// below fstop no new one is made.
//
// How: a use notes the time in the object, and nothing else: a list in the order of use would cost
// each operation a lock that all share, and each object two pointers. Instead one sweep over all
// objects chooses as many as are to go, keeping only these; so the order is exact, and the price of
// a sweep is shared by the (frun - fcull) percent that it closes. It works on the machine queue, a
// batch at a time; where too many are in use to reach frun, the next one waits for a while.
#include <larder/work_queue.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "cache/impl.h"
#include "cache/object.h"

namespace larder::cache {
namespace {

constexpr std::size_t kBatch = 256;         // objects that are looked at under one hold of the lock
constexpr Nanoseconds kPause_ns = kSecond;  // behind a sweep that found too little

struct Candidate {
  std::uint32_t id;
  std::uint32_t last_used;
  std::uint32_t idle_ticks;
  bool has_pages;
};

bool goes_before(const Candidate& a, const Candidate& b) {
  if (a.has_pages != b.has_pages) return b.has_pages;
  if (a.idle_ticks != b.idle_ticks) return a.idle_ticks > b.idle_ticks;
  return a.id < b.id;
}

}  // namespace

Culled FsCache::cull(const CookieRef& cookie) {
  if (!cookie) return Culled::kNothing;
  Tree& tree = *impl_->tree;
  std::vector<ObjectPtr> objects;
  {
    MutexLock lock(tree.mutex);
    if (cookie->is_index() || cookie->has(kCookieRelinquished)) return Culled::kNothing;
    ObjectPtr object =
        tree.attach_locked(*cookie, Room::kNotNeeded);  // what was not looked up is deleted, too
    if (!object) return Culled::kNothing;
    if (!object->is_idle()) return Culled::kInUse;
    if (object->parent_locked()) object->parent_locked()->raise(Event::kRequeue);
    objects = tree.detach_all_locked(*cookie);
  }
  tree.counters.events_culled.add(objects.size());
  for (const ObjectPtr& object : objects) object->raise(Event::kRetire);
  return Culled::kYes;
}

// -- making room for others ----------------------------------------------------------------------

struct Tree::Sweep {
  std::uint32_t last_id = 0;  // that was looked at
  std::size_t wanted = 0;
  std::vector<Candidate> chosen;  // a heap of at most `wanted`, what goes last in front

  void offer(const Candidate& candidate) {
    if (chosen.size() == wanted) {
      if (!goes_before(candidate, chosen.front())) return;
      std::pop_heap(chosen.begin(), chosen.end(), goes_before);
      chosen.pop_back();
    }
    chosen.push_back(candidate);
    std::push_heap(chosen.begin(), chosen.end(), goes_before);
  }
};

bool Tree::has_room_locked() {
  if (limits.objects == 0) return true;
  const std::uint64_t live = counters.objects_live.value();
  if (live >= limits.objects_above(limits.fcull) && !sweeping_ &&
      clock.mono_ns() >= next_sweep_mono_ns_) {
    sweeping_ = true;
    auto next = std::make_unique<Sweep>();
    next->wanted = live - limits.objects_above(limits.frun);
    post(machine, [self = shared_from_this(), next = std::move(next)]() mutable {
      self->sweep(std::move(next));
    });
  }
  return live < limits.objects_above(limits.fstop);
}

// Looks at the next batch.
void Tree::sweep(std::unique_ptr<Sweep> now) {
  const std::uint32_t tick = use_tick(clock.mono_ns());
  std::vector<std::pair<ObjectPtr, Candidate>> idle;
  bool more = false;
  {
    MutexLock lock(mutex);
    auto at = objects.upper_bound(now->last_id);
    for (std::size_t i = 0; i < kBatch && at != objects.end(); ++i, ++at) {
      Object& object = *at->second;
      now->last_id = at->first;
      counters.objects_swept.add();
      if (object.cookie().is_index()) continue;
      const std::optional<std::uint32_t> used = object.idle_since();
      if (!used) continue;
      idle.push_back({&object, {at->first, *used, tick - *used, false}});
      ++object.cache().n_guests;
    }
    more = at != objects.end();
  }
  for (auto& [object, candidate] : idle) {
    const store::ObjectRef handle = object->handle();
    if (handle) candidate.has_pages = object->cache().backend->has_pages(handle);  // else it died
    now->offer(candidate);
  }
  {
    MutexLock lock(mutex);
    for (const auto& [object, candidate] : idle) --object->cache().n_guests;
  }
  changed.notify_all();
  post(machine, [self = shared_from_this(), more, now = std::move(now)]() mutable {
    more ? self->sweep(std::move(now)) : self->close_chosen(std::move(now));
  });
}

// What was used since it was chosen stays.
void Tree::close_chosen(std::unique_ptr<Sweep> now) {
  const std::vector<Candidate>& chosen = now->chosen;
  for (std::size_t begin = 0; begin < chosen.size(); begin += kBatch) {
    std::vector<ObjectPtr> victims;
    {
      MutexLock lock(mutex);
      for (std::size_t i = begin; i < std::min(begin + kBatch, chosen.size()); ++i) {
        const auto found = objects.find(chosen[i].id);
        if (found == objects.end() || found->second->idle_since() != chosen[i].last_used) continue;
        Object& object = *found->second;
        if (ObjectPtr victim = detach_locked(object.cookie(), object)) {
          victims.push_back(std::move(victim));
        }
      }
    }
    counters.objects_closed.add(victims.size());
    for (const ObjectPtr& victim : victims) victim->raise(Event::kRelease);
  }
  // Behind the machines that they need.
  post(machine, [self = shared_from_this()] { self->end_sweep(); });
}

void Tree::end_sweep() {
  MutexLock lock(mutex);
  sweeping_ = false;
  const bool fell_short = counters.objects_live.value() >= limits.objects_above(limits.fcull);
  next_sweep_mono_ns_ = fell_short ? clock.mono_ns() + kPause_ns : 0;
}

}  // namespace larder::cache
