// SPDX-License-Identifier: Apache-2.0
// Object: what stands behind a cookie in the cache. It is looked up or created in the store, runs
// the cookie's operations, and lets go in an orderly way. What happens when: object_states.cc; the
// operations: operation.cc. Here is what both share.
//
// Who guards what: the tree's mutex the place (parent, key, line of dependents and successors,
// is_up, is_dying); the cookie's the chain of the cookie's objects; the object's own mutex the
// accounting, the queue of operations and the handle; events and mask are atomics that anyone may
// touch; all else belongs to the one worker that runs the machine.
//
// Accounting (checked at every change and at death):
//   n_ops         operations accepted and not finished, and children that look up below us
//   n_obj_ops     of these, the children's
//   n_in_progress operations given the go
//   n_exclusive   exclusive operations accepted and not finished; one in progress is in progress
//                 alone
//   n_children    objects below us that are not dead
// Invariants: n_ops >= n_in_progress + n_obj_ops, n_ops >= n_exclusive; an object is dropped with
// all at 0.
#pragma once

#include <larder/cookie.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/small_mutex.h"
#include "cache/cache.h"
#include "cache/cookie.h"
#include "cache/pool.h"
#include "cache/states.h"
#include "cache/tree.h"

namespace larder::cache {

// What an operation waits for.
enum class Waits : std::uint8_t {
  kNothing,    // its work is being done
  kLookUp,     // the object is not available yet
  kOperation,  // another operation, of number `behind`
  kMachine,    // a thread of the machine queue
  kAnswer,     // a thread of the answer queue
  kStore,      // it has handed its work to the store
};

// An operation at one moment, for `ops`.
struct OperationFigures {
  std::uint32_t id, object_id;
  OperationKind kind;
  OperationType type;
  Sharing sharing;
  OperationState state;
  Nanoseconds submitted_mono_ns;
  Waits waits;
  std::uint32_t behind;
};

// What submit() may do with an operation.
enum class Gate : std::uint8_t {
  kQueue,   // not available yet: everything waits
  kOpen,    // available
  kRefuse,  // dying
};

// Use is noted in steps of 17 ms; wraps around in two years.
constexpr std::uint32_t use_tick(Nanoseconds mono_ns) {
  return static_cast<std::uint32_t>(mono_ns >> 24);
}

class Object : private Work, public Pooled<Object> {
 public:
  Object(Cache& cache, std::uint32_t id, CookieRef cookie, ObjectPtr parent);
  ~Object();
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  // -- events: any thread, with no lock of an object held -----------------------------------------
  void raise(Event event);
  // Runs the machine on this thread until it has nothing to do; waits while another thread runs it.
  void drive();
  // Tells it to run, and drives it.
  void kick_and_drive();

  // -- operations (operation.cc): any thread ------------------------------------------------------
  // REQUIRES: `operation` is set up. Not taken (kNever, or kLater without run()): it is as before.
  Submitted submit(Operation& operation);
  void complete(Operation& operation);
  void abort(Operation& operation);
  void run_again(Operation& operation, OperationType type);
  bool cancel(Operation& operation, Cancel what);

  State state() const { return state_.load(std::memory_order_acquire); }
  std::uint32_t id() const { return id_; }
  bool is_up();
  bool is_dead() const { return state() == State::kDead; }
  // The store's object where this one is up, else null.
  store::ObjectRef handle_if_up();
  const store::ObjectRef& handle_of_operation() const NO_THREAD_SAFETY_ANALYSIS { return handle_; }
  Cache& cache() const { return *cache_; }
  Tree& tree() const { return cache_->tree; }
  Cookie& cookie() const { return *cookie_; }
  // The next object of the same cookie; guarded by the cookie's mutex.
  ObjectPtr& next_of_cookie() { return next_of_cookie_; }
  // REQUIRE: the tree's mutex.
  const ObjectPtr& parent_locked() const { return parent_; }
  ObjectPlace place() const { return {parent_.get(), key_locked()}; }

  struct Figures {  // for `objects` and tests; of one moment
    std::uint32_t id, parent_id, n_children, n_ops, n_obj_ops, n_in_progress, n_exclusive, n_reads;
    std::uint32_t n_fills;
    State state;
    Events mask, events;
    unsigned flags, work_state;
    bool has_dependents;
    std::string key;
    bool has_cookie;
  };
  Figures figures_locked();  // REQUIRES: the tree's mutex
  // Those in progress, then those that wait, in their order.
  void list_operations(std::vector<OperationFigures>& into);
  Figures figures();
  // Is nothing held by it and nothing waiting for it to happen? For tests.
  bool is_idle() { return is_clear(); }
  // When it was used last, as use_tick() has it; none while it is not up or anything holds it.
  std::optional<std::uint32_t> idle_since();

 private:
  friend struct Tree;
  friend struct Actions;      // what the states do
  friend struct RenameSteps;  // rename.cc
  friend struct Probe;        // tests/cache/probe.h
  friend void intrusive_ptr_add_ref(Object* object);
  friend void intrusive_ptr_release(Object* object);

  // -- the worker ---------------------------------------------------------------------------------
  static void run_work(Work& work);
  void enqueue();
  void claim_for_drive();
  void unclaim();
  bool dispatch();
  bool step();
  void arrive(State state);
  const Row* matching_row(Events raised);
  Events open_mask();
  Events events() const { return events_.load(); }
  // Which of `wanted` were there.
  Events take(Events wanted) { return events_.fetch_and(static_cast<EventBits>(~wanted)) & wanted; }
  void set_mask(Events mask) { mask_.store(static_cast<EventBits>(mask)); }

  // -- accounting ---------------------------------------------------------------------------------
  bool is_clear();
  void start_operations_locked() REQUIRES(mutex_);
  void go_locked(Operation& operation) REQUIRES(mutex_);
  void append_locked(Operation& operation) REQUIRES(mutex_);
  void post_locked(Operation& operation) REQUIRES(mutex_);
  OperationFigures figures_locked(const Operation& operation) const REQUIRES(mutex_);
  void forget_locked(Operation& operation) REQUIRES(mutex_);
  bool hold_back_locked(const Operation& operation) const REQUIRES(mutex_);
  bool take_room_locked() REQUIRES(mutex_);
  void give_room_back();
  void end(Operation& operation, OperationState state);
  bool end_locked(Operation& operation, OperationState state) REQUIRES(mutex_);
  void cancel_pending_locked(Operation& operation) REQUIRES(mutex_);
  void cancel_pending_locked() REQUIRES(mutex_);
  void check_accounting_locked() const REQUIRES(mutex_);
  // Takes the hold of a child that looked up below us away.
  void child_looked_up();
  void child_gone();
  void open_gate();
  template <class Visit>
  void for_each_pending_locked(Visit visit) REQUIRES(mutex_) {
    if (pending_last_ == nullptr) return;
    Operation* at = pending_last_;
    do {
      at = at->next;
      visit(*at);
    } while (at != pending_last_);
  }
  Operation* first_pending_locked() const REQUIRES(mutex_) {
    return pending_last_ ? pending_last_->next : nullptr;
  }
  void take_first_locked() REQUIRES(mutex_);
  store::ObjectRef handle();

  // -- the place; REQUIRES: the tree's mutex ------------------------------------------------------
  // What few objects have at a time.
  struct Rare {
    ObjectPtr predecessor;              // holds our place and is not dead
    Object* successor = nullptr;        // waits for our place
    std::vector<ObjectPtr> dependents;  // children that wait for us to be up
    std::vector<Work*> death_watch;     // posted to the machine queue at death
    ShortBytes old_key;                 // of our place, where it is no longer the cookie's
    bool is_empty() const {
      return !predecessor && successor == nullptr && dependents.empty() && death_watch.empty() &&
             old_key.bytes().empty();
    }
  };
  Rare& rare_locked();
  void tidy_locked();  // lets an empty Rare go
  std::string_view key_locked() const {
    return rare_ && !rare_->old_key.bytes().empty() ? rare_->old_key.view() : cookie_->key.view();
  }
  void keep_key_locked();  // of our place, whatever becomes of the cookie's
  std::vector<ObjectPtr> take_dependents_locked();
  void leave_place_locked();

  std::atomic<std::uint32_t> references_{0};
  const std::uint32_t id_;
  const CachePtr cache_;
  const CookieRef cookie_;

  // The tree's mutex.
  ObjectPtr parent_;
  std::unique_ptr<Rare> rare_;

  ObjectPtr next_of_cookie_;  // the cookie's mutex

  // The machine.
  std::atomic<EventBits> events_{0};
  std::atomic<EventBits> mask_{0};
  std::atomic<State> state_{State::kInit};
  OutOfBand out_of_band_ : 4 = OutOfBand::kInit;
  bool has_handle_ : 1 = false;   // it was found or created
  bool pins_parent_ : 1 = false;  // the parent's n_obj_ops counts us

  // The tree's mutex. Bits with other guards are other bytes.
  bool : 0;
  bool is_up_ : 1 = false;
  bool is_dying_ : 1 = false;

  bool : 0;
  bool queued_ : 1 GUARDED_BY(mutex_) = false;
  bool running_ : 1 GUARDED_BY(mutex_) = false;
  bool run_again_ : 1 GUARDED_BY(mutex_) = false;
  bool somebody_waits_ : 1 GUARDED_BY(mutex_) = false;
  bool exclusive_in_progress_ : 1 GUARDED_BY(mutex_) = false;
  Gate gate_ : 2 GUARDED_BY(mutex_) = Gate::kQueue;

  std::uint16_t lookup_began_ms_ = 0;  // wraps around; the machine's

  SmallMutex<Rank::kObject> mutex_;
  std::uint32_t n_children_ GUARDED_BY(mutex_) = 0;
  std::uint32_t n_ops_ GUARDED_BY(mutex_) = 0;
  std::uint32_t n_obj_ops_ GUARDED_BY(mutex_) = 0;
  // Of operations; at most Limits::kMost of them.
  std::uint16_t n_in_progress_ GUARDED_BY(mutex_) = 0;
  std::uint16_t n_exclusive_ GUARDED_BY(mutex_) = 0;
  std::uint32_t last_used_ GUARDED_BY(mutex_) = 0;  // when it came up, or was last submitted to
  Operation* pending_last_ GUARDED_BY(mutex_) = nullptr;  // of a ring: behind it is the first
  Operation* going_first_ GUARDED_BY(mutex_) = nullptr;   // in progress, the latest first
  store::ObjectRef handle_ GUARDED_BY(mutex_);            // from look-up to death
};

}  // namespace larder::cache
