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
  MutexLock tree_lock(o.tree_.mutex);
  if (o.predecessor_) {
    o.tree_.counters.lookups_waited.add();  // its death kicks us
    return Parent::kWait;
  }
  if (!o.parent_) return Parent::kReady;  // the root
  Object& parent = *o.parent_;
  if (parent.is_dying_) return Parent::kGone;
  if (!parent.is_up_) {
    auto& waiting = parent.dependents_;
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
  if (std::exchange(o.pins_parent_, false)) o.parent_->child_looked_up();
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
  o.lookup_began_mono_ns_ = o.tree_.clock.mono_ns();
  o.tree_.counters.lookups.add();
  const During during(o.tree_.counters.now_looking_up);
  Backend& backend = *o.tree_.backend;
  if (!o.parent_) {
    o.tree_.counters.check_none.add();
    return judge(o, backend.root());
  }
  const store::ObjectRef parent_handle = o.parent_->handle();
  Result<store::ObjectRef> found = backend.find(parent_handle, to_bytes(o.key_));
  if (found) return judge(o, std::move(*found));
  if (found.error().code != ErrorCode::kNotFound) return fail(o, found.error());
  o.tree_.counters.lookups_negative.add();
  return kCreating;
}

// Found: is it of the version that the netfs knows?
State Actions::judge(Object& o, store::ObjectRef found) {
  Counters& counters = o.tree_.counters;
  if (o.parent_) {
    const ObjectRecord record = o.tree_.backend->record(found);
    AuxCheck answer = AuxCheck::kOkay;
    if (record.type != o.cookie_->definition.type) {
      answer = AuxCheck::kObsolete;
    } else if (o.cookie_->definition.check_aux) {
      answer = o.cookie_->check_aux(record.aux, record.size, o.tree_.mutex, o.tree_.changed);
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
      o.tree_.backend->retire(found);
      return kCreating;
    }
  }
  counters.lookups_positive.add();
  take_handle(o, std::move(found));
  return kAvailable;
}

State Actions::create(Object& o) {
  const During during(o.tree_.counters.now_looking_up);
  const Version version = version_of(o);
  o.cookie_->set(kCookieNoDataYet);
  Result<store::ObjectRef> created =
      o.tree_.backend->create(o.parent_->handle(), o.cookie_->definition.type, to_bytes(o.key_),
                              to_bytes(version.aux), version.size);
  if (!created) return fail(o, created.error());
  o.tree_.counters.lookups_created.add();
  take_handle(o, std::move(*created));
  return kAvailable;
}

// The error goes no further than this object; its cookie cannot cache until it is tried again.
State Actions::fail(Object& o, Error error) {
  o.tree_.counters.lookups_failed.add();
  if (error.code == ErrorCode::kStoreFull) o.tree_.counters.events_no_space.add();
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
    MutexLock tree_lock(o.tree_.mutex);
    o.is_up_ = true;
    children.swap(o.dependents_);
  }
  o.cookie_->clear(kCookieLookingUp);
  if (!(o.events_.load() & bit(Event::kInvalidate))) o.open_gate();  // invariant 6
  for (const ObjectPtr& child : children) child->raise(Event::kRequeue);
  o.tree_.counters.objects_available.add();
  o.tree_.histograms.object_instantiate.record(o.tree_.clock.mono_ns() - o.lookup_began_mono_ns_);
  return kActive;
}

Version Actions::version_of(Object& o) {
  MutexLock lock(o.cookie_->mutex);
  return o.cookie_->version;
}

State Actions::invalidate(Object& o) {
  o.tree_.counters.invalidates_run.add();
  std::uint64_t seen = 0;
  Version version;
  {
    MutexLock lock(o.cookie_->mutex);
    seen = o.cookie_->invalidations;
    version = o.cookie_->version;
  }
  {
    const During during(o.tree_.counters.now_invalidating);
    o.tree_.backend->invalidate(o.handle(), to_bytes(version.aux), version.size);
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
    version = o.cookie_->version;
  }
  const During during(o.tree_.counters.now_updating);
  o.tree_.counters.updates_run.add();
  o.tree_.backend->update(o.handle(), to_bytes(version.aux), version.size);
  return kActive;
}

// -- going ----------------------------------------------------------------------------------------

State Actions::abort_init(Object& o) {
  ObjectPtr ourselves;  // freed, if so, behind the lock
  MutexLock tree_lock(o.tree_.mutex);
  if (o.parent_) {
    auto& waiting = o.parent_->dependents_;
    const auto at = std::find(waiting.begin(), waiting.end(), &o);
    if (at != waiting.end()) {
      ourselves = std::move(*at);
      waiting.erase(at);
    }
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
    MutexLock tree_lock(o.tree_.mutex);
    o.is_dying_ = true;
    o.is_up_ = false;
    children.swap(o.dependents_);
  }
  {
    MutexLock lock(o.mutex_);
    o.gate_ = Gate::kRefuse;
    o.cancel_pending_locked();
  }
  o.cookie_->clear(kCookieLookingUp);
  for (const ObjectPtr& child : children) child->raise(Event::kWithdraw);
}

// Invariant 5.
void Actions::write_what_is_due(Object& o) {
  if (!o.has_handle_) return;
  const Events due = o.events_.load();
  const Version version = version_of(o);
  if (due & bit(Event::kInvalidate)) {
    o.tree_.counters.invalidates_run.add();
    o.tree_.backend->invalidate(o.handle(), to_bytes(version.aux), version.size);
  } else if (due & bit(Event::kUpdate)) {
    o.tree_.counters.updates_run.add();
    o.tree_.backend->update(o.handle(), to_bytes(version.aux), version.size);
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
  retire_in_store(o);
  o.tree_.counters.events_retired.add();
  let_go(o, 0);
  return kDead;
}

// An object that was never looked up is found by its path, so that what is deleted early is deleted
// too.
void Actions::retire_in_store(Object& o) {
  const During during(o.tree_.counters.now_dropping);
  Backend& backend = *o.tree_.backend;
  if (o.has_handle_) return backend.retire(o.handle());
  std::vector<std::string> path;
  {
    MutexLock tree_lock(o.tree_.mutex);
    for (const Object* at = &o; at->parent_; at = at->parent_.get()) path.push_back(at->key_);
  }
  store::ObjectRef at = backend.root();
  for (; !path.empty(); path.pop_back()) {
    Result<store::ObjectRef> below = backend.find(at, to_bytes(path.back()));
    if (!below) return;
    at = std::move(*below);
  }
  backend.retire(at);
}

// Off all lists; whoever waits for our place or our death is told.
void Actions::let_go(Object& o, std::uint32_t cookie_flags) {
  const ObjectPtr from_cookie = detach(*o.cookie_, &o, cookie_flags);
  ObjectPtr parent;
  {
    MutexLock lock(o.mutex_);
    check(o.n_ops_ == 0 && o.n_children_ == 0 && o.n_obj_ops_ == 0 && o.n_in_progress_ == 0,
          "an object goes only when nothing holds it");
    check(o.n_exclusive_ == 0 && o.n_reads_ == 0 && o.n_fills_ == 0 && o.pending_first_ == nullptr,
          "an object's operations are all accounted for");
    o.handle_ = nullptr;
  }
  o.tree_.counters.objects_dead.add();
  o.tree_.counters.objects_live.sub();
  std::vector<Work*> watchers;
  {
    MutexLock tree_lock(o.tree_.mutex);
    check(o.dependents_.empty() && !o.pins_parent_, "nobody waits for a dead object");
    o.leave_slot_locked();
    parent = std::move(o.parent_);
    watchers.swap(o.death_watch_);
    // From here on a withdrawal may end: only this object's and its (living) parent's memory is
    // touched.
    for (Work* watcher : watchers) o.tree_.machine.post(*watcher);
    o.tree_.objects.erase(o.id_);
  }
  if (parent) parent->child_gone();
  o.tree_.changed.notify_all();
}

}  // namespace larder::cache
