// SPDX-License-Identifier: Apache-2.0
// Culling of objects: they go, their cookies stay. A cookie whose object went is given another at
// its next use (FsCache::submit), and that one is looked up anew.
//
// The kernel could cull nothing that a netfs knew of, so a cache full of files that were open once
// stayed full. Here an object that nothing uses is closed while its cookie lives. Which: a clock
// goes round the objects in the order of their numbers; who was used since it last came by is
// passed over once. Indices stay, since others lie below them: there are few.
//
// When: frun, fcull and fstop, as brun, bcull and bstop of the store, in percent of
// FsCacheOptions::objects. Where fewer than fcull are free, idle ones are closed until frun are;
// below fstop no new one is made. The work is done on the machine queue, a batch at a time.
#include <larder/work_queue.h>

#include <vector>

#include "cache/impl.h"
#include "cache/object.h"

namespace larder::cache {
namespace {

constexpr std::size_t kBatch = 256;  // objects that the clock passes under one hold of the lock

}  // namespace

Culled FsCache::cull(const CookieRef& cookie) {
  if (!cookie) return Culled::kNothing;
  Tree& tree = *impl_->tree;
  std::vector<ObjectPtr> objects;
  {
    MutexLock lock(tree.mutex);
    if (cookie->is_index() || cookie->has(kCookieRelinquished)) return Culled::kNothing;
    ObjectPtr object = tree.attach_locked(*cookie);  // what was not looked up is deleted, too
    if (!object) return Culled::kNothing;
    if (!object->is_idle()) return Culled::kInUse;
    if (object->parent_locked()) object->parent_locked()->raise(Event::kRequeue);
    objects = tree.detach_all_locked(*cookie);
  }
  tree.counters.events_culled.add(objects.size());
  for (const ObjectPtr& object : objects) object->raise(Event::kRetire);
  return Culled::kYes;
}

bool Tree::has_room_locked() {
  const std::uint64_t live = counters.objects_live.value();
  if (limits.objects == 0) return true;
  if (live >= limits.objects_above(limits.fcull) && !closing_) {
    closing_ = true;
    rounds_ = 0;
    post(machine, [self = shared_from_this()] { self->close_idle(); });
  }
  return live < limits.objects_above(limits.fstop);
}

void Tree::close_idle() {
  std::vector<ObjectPtr> victims;
  {
    MutexLock lock(mutex);
    const std::uint64_t enough = limits.objects_above(limits.frun);
    const auto too_many = [&] { return counters.objects_live.value() > enough + victims.size(); };
    auto at = objects.upper_bound(hand_);
    for (std::size_t i = 0; i < kBatch && at != objects.end() && too_many(); ++i, ++at) {
      Object& object = *at->second;
      hand_ = at->first;
      if (object.cookie().is_index() || !object.pass_if_idle()) continue;
      if (ObjectPtr victim = detach_locked(object.cookie(), object)) {
        victims.push_back(std::move(victim));
      }
    }
    if (at == objects.end()) {
      hand_ = 0;
      ++rounds_;
    }
    // Twice round, and all are in use: the next that is made asks again.
    closing_ = rounds_ < 3 && too_many();
    if (closing_) post(machine, [self = shared_from_this()] { self->close_idle(); });
  }
  counters.objects_closed.add(victims.size());
  for (const ObjectPtr& victim : victims) victim->raise(Event::kRelease);
}

}  // namespace larder::cache
