// SPDX-License-Identifier: Apache-2.0
// What must hold in every state of a driven world.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "cache/driven_world.h"
#include "cache/probe.h"

namespace larder::test {

using namespace larder::cache;

std::string DrivenWorld::rule_of_object(Object& object) NO_THREAD_SAFETY_ANALYSIS {
  const Object::Figures f = object.figures_locked();
  const Probe probe(object);
  std::uint32_t children = 0, pins = 0;
  bool child_queued = false;
  for (const auto& [id, other] : tree_->objects) {
    if (other->parent_locked().get() == &object) {
      ++children;
      pins += Probe(*other).pins_parent();
    }
    for (const Object* at = other; at != nullptr; at = at->parent_locked().get()) {
      if (at->parent_locked().get() == &object) child_queued |= Probe(*other).is_queued();
    }
  }
  if (options_.never == f.state) return "it is where no object may be";
  if (f.n_children != children) return "n_children counts the children that are not dead";
  if (f.n_obj_ops != pins) return "n_obj_ops counts the children that look up";

  std::vector<OperationFigures> listed;
  object.list_operations(listed);
  std::uint32_t in_progress = 0, exclusive = 0, exclusive_going = 0, first_pending = ~0u,
                last_going = 0;
  for (const OperationFigures& o : listed) {
    const bool going = o.state == OperationState::kInProgress;
    in_progress += going;
    exclusive += o.sharing == Sharing::kExclusive;
    exclusive_going += going && o.sharing == Sharing::kExclusive;
    if (going) last_going = std::max(last_going, o.id);
    if (!going) first_pending = std::min(first_pending, o.id);
  }
  if (f.n_ops != listed.size() + f.n_obj_ops)
    return "n_ops counts what was taken and has not ended";
  if (f.n_in_progress != in_progress) return "n_in_progress counts what has the go";
  if (f.n_exclusive != exclusive) return "n_exclusive counts the exclusive ones";
  if (exclusive_going > 0 && in_progress != 1) return "an exclusive operation is alone";
  if (last_going > first_pending) return "first come, first served";
  const bool is_open = probe.gate() == static_cast<unsigned>(Gate::kOpen);
  const bool pends = first_pending != ~0u;
  if (pends && is_open && in_progress == 0) return "a pending operation waits for something";
  if (pends && probe.is_dying()) return "nothing pends on a dying object";
  if (is_open && !probe.is_up()) return "the gate of what is not up is not open";
  if ((probe.gate() == static_cast<unsigned>(Gate::kRefuse)) != probe.is_dying()) {
    return "a dying object refuses";
  }
  if (probe.is_dying() != (f.state >= State::kDying)) return "dying is a matter of the state";

  const bool lives = f.state > State::kInit && f.state < State::kDying;
  if (lives && object.parent_locked() && !probe.is_up() && !probe.pins_parent()) {
    return "who looks up holds the parent";
  }
  if (object.parent_locked()) {
    if (object.parent_locked()->is_dead()) return "parents go behind their children";
    if (lives && object.parent_locked()->state() < State::kAvailable) {
      return "parents come before their children";
    }
  }
  if ((f.events & f.mask) != 0 && !probe.is_queued()) return "an event that is asked for is seen";
  if (f.mask == 0 && !probe.is_queued()) return "a machine that has begun goes on";
  if (!probe.is_queued()) {
    if (table_of(f.state).kind != StateKind::kWait) return "only a wait state sleeps";
    if (probe.open_mask() != f.mask) return "the mask of a sleeper is its tables'";
    // An index that nobody needs may sleep in INIT as long as it likes.
    const bool is_needed = !probe.dependents().empty() || !object.cookie().is_index();
    if (f.state == State::kInit && is_needed && probe.predecessor() == nullptr && !child_queued) {
      if (!object.parent_locked()) return "what is needed comes up";
      const auto waiting = Probe(*object.parent_locked()).dependents();
      if (std::find(waiting.begin(), waiting.end(), &object) == waiting.end()) {
        return "who sleeps in INIT waits for somebody";
      }
    }
    if (f.state == State::kDying && f.n_ops == 0 && f.n_children == 0) {
      return "a dying object that nothing holds goes";
    }
  }
  if (const Object* before = probe.predecessor()) {
    if (before->is_dead()) return "the holder of a place is not dead";
    if (Probe(const_cast<Object&>(*before)).successor() != &object) return "a line has no branches";
    if (!(before->place() == object.place())) return "a line is of one place";
    if (f.state > State::kInit && f.state < State::kDying) return "one at a time has a place";
  }
  if (probe.has_empty_rare()) return "what is rare is not kept";

  // Its cookie has it, or it lingers.
  Cookie& cookie = object.cookie();
  const std::vector<ObjectPtr> of_cookie = cookie.all_objects();
  const bool is_attached =
      std::find(of_cookie.begin(), of_cookie.end(), &object) != of_cookie.end();
  const auto last = tree_->lingering.find(object.place());
  const Cookie* const above =
      object.parent_locked() ? &object.parent_locked()->cookie() : cookie.parent.get();
  if (!is_attached || object.place().key != cookie.key.view() || above != cookie.parent.get()) {
    if (last == tree_->lingering.end()) return "what its cookie let go of lingers";
    const Object* at = *last;
    while (at != nullptr && at != &object) at = Probe(const_cast<Object&>(*at)).predecessor();
    if (at == nullptr) return "what lingers is in the line of its place";
  }
  return {};
}

std::string DrivenWorld::rule_of_cookie(Cookie& cookie) {
  const std::vector<ObjectPtr> objects = cookie.all_objects();
  std::set<const Cache*> caches;
  bool all_up = true;
  for (const ObjectPtr& object : objects) {
    if (&object->cookie() != &cookie) return "a cookie has its own objects";
    if (object->is_dead()) return "a cookie has no dead object";
    if (!caches.insert(&object->cache()).second) return "a cookie has one object in a cache";
    all_up &= Probe(*object).is_up();
  }
  if (objects.empty() && (cookie.has(kCookieLookingUp) || cookie.has(kCookieInvalidating))) {
    return "nobody waits for an object that is not there";
  }
  if (!objects.empty() && !cookie.has(kCookieEnabled)) return "what is disabled caches nothing";
  if (!objects.empty() && cookie.has(kCookieOwesInvalidation)) return "an object does what is owed";
  if (!cookie.is_index() && objects.size() > 1) return "data have one object";
  for (const ObjectPtr& object : objects) {
    const bool serves = Probe(*object).gate() == static_cast<unsigned>(Gate::kOpen) &&
                        !cookie.has(kCookieInvalidating);
    if (serves && world_.backend->outdated.contains(place_locked(*object))) {
      return "what was invalidated is not served";
    }
  }
  if (cookie.has(kCookieInvalidating)) {
    const Object::Figures f = objects.front()->figures_locked();
    if ((f.events & bit(Event::kInvalidate)) == 0 && f.state != State::kInvalidating &&
        f.state < State::kDying) {
      return "an invalidation is under way until it is done";
    }
  }
  return {};
}

std::string DrivenWorld::broken_rule() {
  MutexLock lock(tree_->mutex);
  for (const auto& [id, object] : tree_->objects) {
    if (object->is_dead()) return "a dead object is on no list";
    if (std::string broken = rule_of_object(*object); !broken.empty()) {
      return fmt::format("object {:x} ({}): {}", id, cache::to_text(object->state()), broken);
    }
  }
  for (const Object* object : tree_->lingering) {
    if (object->is_dead()) return "what is dead does not linger";
  }
  for (const CookieRef& cookie : tree_->cookies) {
    if (std::string broken = rule_of_cookie(*cookie); !broken.empty()) {
      return fmt::format("cookie {}: {}", cookie->key.view(), broken);
    }
  }
  for (const auto& operation : operations_) {
    const Noted& o = *operation;
    const int fates =
        (o.answer == Submitted::kNever) + o.runs_here() + o.runs + o.cancels + o.taken_back;
    if (fates > 1) return "an operation has one fate";
  }
  return {};
}

}  // namespace larder::test
