// SPDX-License-Identifier: Apache-2.0
// The actions of the object state machine, in the order in which an object meets them. The
// invariants cited are those of object_states.cc.
//
// Calls to the store and to the netfs are made here and nowhere else in the life of an object, and
// never under a lock. The worker alone changes the state, the out-of-band table and the handle.
#include "cache/actions.h"

#include <algorithm>
#include <utility>

namespace larder::cache {

using enum State;

// -- living ---------------------------------------------------------------------------------------

Actions::Parent Actions::pin_parent(Object& o) {
  MutexLock tree_lock(o.tree().mutex);
  if (o.rare_ && o.rare_->predecessor) {
    o.tree().counters.lookups_waited.add();  // its death kicks us
    return Parent::kWait;
  }
  if (!o.parent_) return Parent::kReady;  // the root
  Object& parent = *o.parent_;
  if (parent.is_dying_) return Parent::kGone;
  if (!parent.is_up_) {
    auto& waiting = parent.rare_locked().dependents;
    if (std::find(waiting.begin(), waiting.end(), &o) == waiting.end()) waiting.emplace_back(&o);
    parent.raise(Event::kRequeue);
    return Parent::kWait;
  }
  MutexLock lock(parent.mutex_);
  ++parent.n_ops_;
  ++parent.n_obj_ops_;
  o.pins_parent_ = true;
  return Parent::kReady;
}

void Actions::unpin_parent(Object& o) {
  if (!o.pins_parent_) return;
  o.pins_parent_ = false;
  o.parent_->child_looked_up();
}

State Actions::look_up(Object& o) {
  switch (pin_parent(o)) {
    case Parent::kReady:
      break;
    case Parent::kWait:
      return kInit;
    case Parent::kGone:
      o.raise(Event::kWithdraw);
      return kInit;
  }
  o.out_of_band_ = OutOfBand::kLookUp;
  o.lookup_began_ms_ = static_cast<std::uint16_t>(o.tree().clock.mono_ns() / kMillisecond);
  o.tree().counters.lookups.add();
  const During during(o.tree().counters.now_looking_up);
  Backend& backend = *o.cache().backend;
  if (!o.parent_) {
    o.tree().counters.check_none.add();
    return judge(o, backend.root());
  }
  const store::ObjectRef parent_handle = o.parent_->handle();
  Result<store::ObjectRef> found = backend.find(parent_handle, to_bytes(key_of(o)));
  if (found) return judge(o, std::move(*found));
  if (found.error().code != ErrorCode::kNotFound) return fail(o, found.error());
  o.tree().counters.lookups_negative.add();
  return kCreating;
}

// Found: is it of the version that the netfs knows?
State Actions::judge(Object& o, store::ObjectRef found) {
  Counters& counters = o.tree().counters;
  if (o.parent_) {
    const ObjectRecord record = o.cache().backend->record(found);
    AuxCheck answer = AuxCheck::kOkay;
    if (record.type != o.cookie_->definition.type) {
      answer = AuxCheck::kObsolete;
    } else if (o.cookie_->definition.check_aux) {
      answer = o.cookie_->check_aux(record.aux, record.size, o.tree().mutex, o.tree().changed);
      if (answer == AuxCheck::kOkay) counters.check_okay.add();
    } else {
      counters.check_none.add();
    }
    if (answer == AuxCheck::kNeedsUpdate) {
      counters.check_update.add();
      o.raise(Event::kUpdate);
    }
    if (answer == AuxCheck::kObsolete) {
      counters.check_obsolete.add();
      counters.events_stale.add();
      counters.lookups_negative.add();
      o.cache().backend->retire(found);
      return kCreating;
    }
  }
  counters.lookups_positive.add();
  take_handle(o, std::move(found));
  return kAvailable;
}

State Actions::create(Object& o) {
  const During during(o.tree().counters.now_looking_up);
  const Version version = version_of(o);
  o.cookie_->set(kCookieNoDataYet);
  Result<store::ObjectRef> created =
      o.cache().backend->create(o.parent_->handle(), o.cookie_->definition.type,
                                to_bytes(key_of(o)), to_bytes(version.aux), version.size);
  if (!created) return fail(o, created.error());
  o.tree().counters.lookups_created.add();
  take_handle(o, std::move(*created));
  return kAvailable;
}

// The error goes no further than this object; its cookie cannot cache until it is tried again.
State Actions::fail(Object& o, Error error) {
  o.tree().counters.lookups_failed.add();
  if (error.code == ErrorCode::kStoreFull) o.tree().counters.events_no_space.add();
  o.raise(Event::kError);
  return kLookingUp;  // never reached: the look-up table is installed
}

void Actions::take_handle(Object& o, store::ObjectRef handle) {
  MutexLock lock(o.mutex_);
  o.handle_ = std::move(handle);
  o.has_handle_ = true;
}

State Actions::become_available(Object& o) {
  o.out_of_band_ = OutOfBand::kRun;
  unpin_parent(o);
  std::vector<ObjectPtr> children;
  {
    MutexLock tree_lock(o.tree().mutex);
    o.is_up_ = true;
    children = o.take_dependents_locked();
  }
  {
    MutexLock lock(o.cookie_->mutex);
    o.cookie_->clear(kCookieLookingUp);
    o.cookie_->failures = 0;
    o.cookie_->retry_mono_ms = 0;
  }
  if (!(o.events() & bit(Event::kInvalidate))) o.open_gate();  // invariant 6
  for (const ObjectPtr& child : children) child->raise(Event::kRequeue);
  o.tree().counters.objects_available.add();
  const auto now_ms = static_cast<std::uint16_t>(o.tree().clock.mono_ns() / kMillisecond);
  const auto took_ms = static_cast<std::uint16_t>(now_ms - o.lookup_began_ms_);
  o.tree().histograms.object_instantiate.record(took_ms * kMillisecond);
  return kActive;
}

// Of its place: the cookie's may be another already.
std::string Actions::key_of(Object& o) {
  MutexLock tree_lock(o.tree().mutex);
  return std::string(o.key_locked());
}

Version Actions::version_of(Object& o) { return o.cookie_->version_now(); }

State Actions::invalidate(Object& o) {
  o.tree().counters.invalidates_run.add();
  std::uint16_t seen = 0;
  Version version;
  {
    MutexLock lock(o.cookie_->mutex);
    seen = o.cookie_->invalidations;
    version = {to_key(o.cookie_->aux.bytes()), o.cookie_->size};
  }
  {
    const During during(o.tree().counters.now_invalidating);
    o.cache().backend->invalidate(o.handle(), to_bytes(version.aux), version.size);
  }
  o.cookie_->set(kCookieNoDataYet);
  {
    MutexLock lock(o.mutex_);
    o.cancel_pending_locked();
  }
  o.open_gate();
  MutexLock lock(o.cookie_->mutex);
  if (o.cookie_->invalidations == seen) o.cookie_->clear(kCookieInvalidating);
  return kActive;
}

State Actions::update(Object& o) {
  Version version;
  {
    MutexLock lock(o.cookie_->mutex);
    if (o.cookie_->has(kCookieInvalidating)) return kActive;  // which writes the version itself
    version = {to_key(o.cookie_->aux.bytes()), o.cookie_->size};
  }
  const During during(o.tree().counters.now_updating);
  o.tree().counters.updates_run.add();
  o.cache().backend->update(o.handle(), to_bytes(version.aux), version.size);
  return kActive;
}

// -- going ----------------------------------------------------------------------------------------

State Actions::abort_init(Object& o) {
  ObjectPtr ourselves;  // freed, if so, behind the lock
  MutexLock tree_lock(o.tree().mutex);
  if (o.parent_ && o.parent_->rare_) {
    auto& waiting = o.parent_->rare_->dependents;
    const auto at = std::find(waiting.begin(), waiting.end(), &o);
    if (at != waiting.end()) {
      ourselves = std::move(*at);
      waiting.erase(at);
    }
    o.parent_->tidy_locked();
  }
  return kDying;
}

State Actions::abort_look_up(Object& o) {
  unpin_parent(o);
  return kDying;
}

// Also each time that CLEARED came and something holds it still.
void Actions::begin_dying(Object& o) {
  std::vector<ObjectPtr> children;
  {
    MutexLock tree_lock(o.tree().mutex);
    o.is_dying_ = true;
    o.is_up_ = false;
    children = o.take_dependents_locked();
  }
  {
    MutexLock lock(o.mutex_);
    o.gate_ = Gate::kRefuse;
    o.cancel_pending_locked();
  }
  o.cookie_->clear(kCookieLookingUp);
  for (const ObjectPtr& child : children) child->raise(Event::kWithdraw);
}

// Invariant 5. What is raised from here on, or cannot be done, is the cookie's again (let_go).
void Actions::write_what_is_due(Object& o) {
  Events due = 0;
  Version version;
  {
    Cookie& cookie = *o.cookie_;
    MutexLock lock(cookie.mutex);
    due = o.take(bit(Event::kInvalidate) | bit(Event::kUpdate));
    if (due == 0) return;
    version = {to_key(cookie.aux.bytes()), cookie.size};
    // Whoever comes behind us does that, and the version that we see is of after it.
    const bool is_of_later = cookie.has(kCookieInvalidating) || cookie.has(kCookieOwesInvalidation);
    if (is_of_later) due &= ~bit(Event::kUpdate);
  }
  Backend& backend = *o.cache().backend;
  if (due & bit(Event::kInvalidate)) {
    const Result<store::ObjectRef> stored = find_in_store(o);
    if (!stored) {
      if (stored.error().code != ErrorCode::kNotFound) o.raise(Event::kInvalidate);
      return;
    }
    o.tree().counters.invalidates_run.add();
    backend.invalidate(*stored, to_bytes(version.aux), version.size);
  } else if ((due & bit(Event::kUpdate)) && o.has_handle_) {
    o.tree().counters.updates_run.add();
    backend.update(o.handle(), to_bytes(version.aux), version.size);
  }
}

State Actions::release(Object& o) {
  write_what_is_due(o);
  let_go(o, 0);
  return kDead;
}

State Actions::withdraw(Object& o) {
  write_what_is_due(o);
  let_go(o, kCookieUnavailable);
  return kDead;
}

State Actions::recycle(Object& o) {
  {
    const During during(o.tree().counters.now_dropping);
    const Result<store::ObjectRef> stored = find_in_store(o);
    if (stored) o.cache().backend->retire(*stored);
    o.take(bit(Event::kInvalidate));
    if (!stored && stored.error().code != ErrorCode::kNotFound) o.raise(Event::kInvalidate);
  }
  o.tree().counters.events_retired.add();
  let_go(o, 0);
  return kDead;
}

// One that was never looked up is found by its path, so that what is deleted or invalidated early
// is so, too.
Result<store::ObjectRef> Actions::find_in_store(Object& o) {
  if (o.has_handle_) return o.handle();
  Backend& backend = *o.cache().backend;
  std::vector<std::string> path;
  {
    MutexLock tree_lock(o.tree().mutex);
    for (const Object* at = &o; at->parent_; at = at->parent_.get())
      path.emplace_back(at->key_locked());
  }
  store::ObjectRef at = backend.root();
  for (; !path.empty(); path.pop_back()) {
    Result<store::ObjectRef> below = backend.find(at, to_bytes(path.back()));
    if (!below) return below;
    at = std::move(*below);
  }
  return at;
}

// Off all lists; whoever waits for our place or our death is told.
void Actions::let_go(Object& o, std::uint32_t cookie_flags) {
  {
    MutexLock lock(o.mutex_);
    check(o.n_ops_ == 0 && o.n_children_ == 0 && o.n_obj_ops_ == 0 && o.n_in_progress_ == 0,
          "an object goes only when nothing holds it");
    check(o.n_exclusive_ == 0 && o.pending_last_ == nullptr && o.going_first_ == nullptr,
          "an object's operations are all accounted for");
    o.handle_ = nullptr;
  }
  Tree& tree = o.tree();
  tree.counters.objects_dead.add();
  tree.counters.objects_live.sub();
  ObjectPtr from_cookie;  // freed, if so, behind the lock
  ObjectPtr parent;
  {
    MutexLock tree_lock(tree.mutex);
    check(!o.pins_parent_, "a dead object holds nothing");
    from_cookie = tree.detach_locked(*o.cookie_, o);
    if (from_cookie) {
      MutexLock lock(o.cookie_->mutex);
      o.cookie_->flags.fetch_or(cookie_flags, std::memory_order_relaxed);
      // By its own failure, or its parent's.
      const bool failed = (o.events() & bit(Event::kError)) != 0 ||
                          ((o.events() & bit(Event::kWithdraw)) != 0 && !o.cache().withdrawing);
      if (failed) o.cookie_->pause_from(mono_ms(tree));
    }
    if (o.events() & bit(Event::kInvalidate)) {  // and nobody raises it here any more
      MutexLock lock(o.cookie_->mutex);
      o.cookie_->forget_content();
    }
    o.leave_place_locked();
    parent = std::move(o.parent_);
    std::vector<Work*> watchers;
    if (o.rare_) {
      check(o.rare_->dependents.empty(), "nobody waits for a dead object");
      watchers.swap(o.rare_->death_watch);
    }
    for (Work* watcher : watchers) tree.machine.post(*watcher);
    tree.objects.erase(o.id_);
    // From here on a withdrawal may end: only this object's and its (living) parent's memory is
    // touched.
    --o.cache().n_objects;
  }
  if (parent) parent->child_gone();
  tree.changed.notify_all();
}

}  // namespace larder::cache
