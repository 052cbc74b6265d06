// SPDX-License-Identifier: Apache-2.0
// The object state machine. Read this first: it says what larder's cache does and when.
//
// An object is what stands behind a cookie in the cache: it is found or created in the store,
// serves the cookie's operations, and lets go again. Two parties pull at it, each at its own time:
// the netfs (relinquish, update, invalidate) and the cache (withdraw, errors). Neither of them does
// anything to the object: they RAISE EVENTS, and the object's own machine, run by one worker at a
// time, picks the order. That one rule is what keeps the locking simple.
//
//   INIT  LOOKING_UP  CREATING  AVAILABLE  ACTIVE  INVALIDATING  UPDATING      it lives
//   DYING  LC_DYING  ABORT_INIT  RELEASING  RECYCLING  WITHDRAWING  DEAD       it goes
//
// Three kinds of table, all below:
//   work states    a function that does something and says which state comes next. It looks at no
//                  events.
//   wait states    INIT, ACTIVE, DYING, DEAD: a list of (event, next state); the first row whose
//                  event is there wins. If none is, the object sleeps, and costs nothing but
//                  memory.
//   out-of-band    what a terminal event (ERROR, RELEASE, WITHDRAW, RETIRE) does, whatever came
//                  next otherwise. One table is installed at a time: `init` until the parent is
//                  pinned, `look-up` until available, `run` until it fires. A table fires once.
//
// A life: INIT waits to be kicked. LOOKING_UP asks the store; CREATING if there was nothing (or an
// obsolete version, which is deleted). AVAILABLE opens the gate to operations and kicks the
// children that waited. ACTIVE is where an object spends its life, with trips to INVALIDATING and
// UPDATING. A terminal event leads to DYING, by way of ABORT_INIT or LC_DYING where something must
// be undone first. DYING waits until no operation and no child holds it. Then RELEASING and
// WITHDRAWING keep the data, RECYCLING deletes them; DEAD.
//
// Invariants:
//   1. One worker at a time; no worker ever waits for another object. What must wait goes back to a
//      wait state and is kicked by what it waits for (the parent, or the dying holder of the same
//      key).
//   2. Parents before children up: an object is looked up only while its parent is up, and pins it
//      until it is available itself (or has failed). Children before parents down: an object leaves
//      DYING only with n_children == 0 and n_ops == 0.
//   3. Events are bits and are never lost. One that no table asks for now is remembered. Terminal
//      events stay set for ever; the others are cleared by the row that they match.
//   4. RETIRE beats WITHDRAW beats RELEASE beats ERROR: what was deleted does not come back with
//      the cache. (In the kernel WITHDRAW wins, and dead data return.)
//   5. UPDATE and INVALIDATE are legal in every state. What is still remembered at the end is done
//      before the object lets go, by its path if it was never looked up; an INVALIDATE that cannot
//      be, or comes later still, is the cookie's, and with that its next object's. INVALIDATE comes
//      before UPDATE, and UPDATE steps back while the cookie is being invalidated, or is to be: new
//      aux data must never bless old pages.
//   6. No pending operation of before an invalidation runs after it: the gate stays shut until
//      INVALIDATING, if it is already asked for when the object becomes available.
//   7. An object is deleted in the store (journaled) before it gives up its place, so whoever comes
//      next with the same key finds nothing.
//   8. Nothing is assumed of the store: any error of a look-up kills this object quietly, and only
//      it.
//
// The events: REQUEUE "run again" · UPDATE · INVALIDATE · CLEARED "nothing holds you any more" ·
// ERROR · RELEASE "relinquished" · WITHDRAW "the cache goes, or your parent does" · RETIRE
// "relinquished, delete".
#include "cache/states.h"

#include <larder/log.h>

#include <algorithm>
#include <array>
#include <utility>

#include "cache/actions.h"
#include "cache/object.h"

namespace larder::cache {

namespace {

using A = Actions;
using enum State;

// -- the tables -----------------------------------------------------------------------------------

constexpr Row kInitRows[] = {{Event::kRequeue, When::kAlways, kLookingUp}};
constexpr Row kActiveRows[] = {{Event::kInvalidate, When::kAlways, kInvalidating},
                               {Event::kUpdate, When::kAlways, kUpdating}};
constexpr Row kDyingRows[] = {{Event::kCleared, When::kBusy, kDying},
                              {Event::kRetire, When::kClear, kRecycling},
                              {Event::kWithdraw, When::kClear, kWithdrawing},
                              {Event::kRelease, When::kClear, kReleasing},
                              {Event::kError, When::kClear, kWithdrawing}};

constexpr StateKind kWork = StateKind::kWork;
constexpr StateKind kWait = StateKind::kWait;

constexpr std::uint16_t to() { return 0; }
template <class... More>
constexpr std::uint16_t to(State state, More... more) {
  return static_cast<std::uint16_t>(1u << static_cast<unsigned>(state) | to(more...));
}

// clang-format off
constexpr std::array<StateTable, kStates> kTables = {{
    {kInit, "INIT", "INIT", kWait, nullptr, nullptr, kInitRows, to(),
     "waits to be needed, for its parent, or for who holds its place"},
    {kLookingUp, "LOOKING_UP", "LOOK", kWork, A::look_up, nullptr, {},
     to(kInit, kLookingUp, kCreating, kAvailable),
     "pins the parent and asks the store; asks the netfs about the version"},
    {kCreating, "CREATING", "CRTN", kWork, A::create, nullptr, {}, to(kLookingUp, kAvailable),
     "creates it in the store"},
    {kAvailable, "AVAILABLE", "AVBL", kWork, A::become_available, nullptr, {}, to(kActive),
     "starts the operations that waited, and kicks the children"},
    {kActive, "ACTIVE", "ACTV", kWait, nullptr, nullptr, kActiveRows, to(),
     "serves operations; where it spends its life"},
    {kInvalidating, "INVALIDATING", "INVL", kWork, A::invalidate, nullptr, {}, to(kActive),
     "cancels what is pending; the store forgets the old content, and refuses its fills"},
    {kUpdating, "UPDATING", "UPDT", kWork, A::update, nullptr, {}, to(kActive),
     "writes new aux data"},
    {kDying, "DYING", "DYNG", kWait, nullptr, A::begin_dying, kDyingRows, to(),
     "refuses operations, turns waiting children away, waits until nothing holds it"},
    {kLcDying, "LC_DYING", "LCDY", kWork, A::abort_look_up, nullptr, {}, to(kDying),
     "undoes a look-up: lets the parent go"},
    {kAbortInit, "ABORT_INIT", "ABTI", kWork, A::abort_init, nullptr, {}, to(kDying),
     "leaves the line of those who wait for the parent"},
    {kReleasing, "RELEASING", "RELS", kWork, A::release, nullptr, {}, to(kDead),
     "lets go; the data stay"},
    {kRecycling, "RECYCLING", "RCYC", kWork, A::recycle, nullptr, {}, to(kDead),
     "deletes it in the store, then lets go"},
    {kWithdrawing, "WITHDRAWING", "WTHD", kWork, A::withdraw, nullptr, {}, to(kDead),
     "lets go; the data stay, the cookie is without an object"},
    {kDead, "DEAD", "DEAD", kWait, nullptr, nullptr, {}, to(), "nothing, for ever"},
}};
// clang-format on

constexpr std::array<OutOfBandTable, 4> kOutOfBand = {{
    {"none", 0, kDead},
    {"init", kTerminalEvents, kAbortInit},
    {"look-up", kTerminalEvents, kLcDying},
    {"run", kTerminalEvents, kDying},
}};

}  // namespace

const StateTable& table_of(State state) { return kTables[static_cast<std::size_t>(state)]; }
const OutOfBandTable& table_of(OutOfBand t) { return kOutOfBand[static_cast<std::size_t>(t)]; }

// -- the dispatcher -------------------------------------------------------------------------------

// Runs until nothing more can be done now, or others should have their turn. While it runs the mask
// is empty: an event that comes is seen by step(), or when the mask opens again. False: there is
// more to do. REQUIRES: claimed.
bool Object::dispatch() {
  const Nanoseconds began_ns = tree().clock.mono_ns();
  set_mask(0);
  bool sleeps = false;
  for (unsigned steps = 0; steps < tree().steps_per_run && !sleeps; ++steps) {
    if (step()) continue;
    const Events open = open_mask();
    set_mask(open);
    sleeps = (events() & open) == 0;
    if (!sleeps) set_mask(0);
  }
  tree().histograms.object_runs.record(tree().clock.mono_ns() - began_ns);
  return sleeps;
}

// False: it sleeps.
bool Object::step() {
  State here = state_.load(std::memory_order_relaxed);  // a work state whose turn has come
  const Events raised = events();
  if (raised & table_of(out_of_band_).events) {
    here = table_of(out_of_band_).next;
    out_of_band_ = OutOfBand::kNone;
  } else if (table_of(here).kind == StateKind::kWait) {
    const Row* row = matching_row(raised);
    if (row == nullptr) return false;
    events_.fetch_and(static_cast<EventBits>(~(bit(row->event) & ~kTerminalEvents)));
    here = row->next;
  }
  arrive(here);
  if (table_of(here).kind == StateKind::kWork) {
    const State then = table_of(here).work(*this);
    check(table_of(here).leads_to & to(then), "a work state leads where its table says");
    if (table_of(then).kind == StateKind::kWait) {
      arrive(then);
    } else {
      state_.store(then, std::memory_order_release);
    }
  }
  return true;
}

void Object::arrive(State state) {
  state_.store(state, std::memory_order_release);
  larder::trace(Part::kCookie, Moment::kWithin, "object {:x}: {}", id_, to_text(state));
  if (table_of(state).arrive) table_of(state).arrive(*this);
  if (tree().trace) tree().trace(*this, state);
}

const Row* Object::matching_row(Events raised) {
  const auto rows = table_of(state()).rows;
  const bool clear = state() == kDying && is_clear();
  const auto match = std::find_if(rows.begin(), rows.end(), [&](const Row& row) {
    return (raised & bit(row.event)) && row.when != (clear ? When::kBusy : When::kClear);
  });
  return match == rows.end() ? nullptr : &*match;
}

Events Object::open_mask() {
  const bool clear = state() == kDying && is_clear();
  Events open = table_of(out_of_band_).events;
  for (const Row& row : table_of(state()).rows) {
    if (row.when != (clear ? When::kBusy : When::kClear)) open |= bit(row.event);
  }
  return open;
}

}  // namespace larder::cache
