// SPDX-License-Identifier: Apache-2.0
// Object: what stands behind a cookie in the cache. It is looked up or created in the store, runs
// the cookie's operations, and lets go in an orderly way. What happens when: object_states.cc; the
// operations: operation.cc. Here is what both share.
//
// Who guards what: the tree's mutex the place (parent, key, line of dependents and successors,
// is_up, is_dying); the object's own mutex the accounting, the queue of operations and the handle;
// events and mask are atomics that anyone may touch; all else belongs to the one worker that runs
// the machine.
//
// Accounting (checked at every change and at death):
//   n_ops         operations accepted and not finished, and children that look up below us
//   n_obj_ops     of these, the children's
//   n_in_progress operations given the go
//   n_exclusive   exclusive operations accepted and not finished; one in progress is in progress
//                 alone
//   n_reads       reads accepted and not finished (display only)
//   n_children    objects below us that are not dead
// Invariants: n_ops >= n_in_progress + n_obj_ops, n_ops >= n_exclusive; an object is dropped with
// all at 0.
#pragma once

#include <larder/cookie.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "cache/cookie.h"
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

class Object {
 public:
  Object(Tree& tree, std::uint32_t id, CookieRef cookie, boost::intrusive_ptr<Object> parent,
         std::string key);
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
  bool cancel(Operation& operation);
  // Puts an operation in progress on its queue again, for further work.
  void enqueue_again(Operation& operation);

  State state() const { return state_.load(std::memory_order_acquire); }
  bool is_up();
  bool is_dead() const { return state() == State::kDead; }
  // The store's object where this one is up, else null.
  store::ObjectRef handle_if_up();
  const store::ObjectRef& handle_of_operation() const NO_THREAD_SAFETY_ANALYSIS { return handle_; }
  Tree& tree() const { return tree_; }
  Cookie& cookie() const { return *cookie_; }

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

 private:
  friend struct Tree;
  friend struct Actions;      // what the states do
  friend struct RenameSteps;  // rename.cc
  friend void intrusive_ptr_add_ref(Object* object);
  friend void intrusive_ptr_release(Object* object);

  // -- the worker ---------------------------------------------------------------------------------
  struct MachineWork : Work {
    Object* object = nullptr;
  };
  static void run_work(Work& work);
  void enqueue();
  void claim_for_drive();
  void unclaim();
  void dispatch();
  bool step();
  void arrive(State state);
  const Row* matching_row(Events events);
  Events open_mask();

  // -- accounting ---------------------------------------------------------------------------------
  bool is_clear();
  void start_operations_locked() REQUIRES(mutex_);
  void go_locked(Operation& operation) REQUIRES(mutex_);
  void append_locked(Operation& operation) REQUIRES(mutex_);
  void post_locked(Operation& operation) REQUIRES(mutex_);
  OperationFigures figures_locked(const Operation& operation) const REQUIRES(mutex_);
  void forget_locked(Operation& operation) REQUIRES(mutex_);
  bool hold_back_locked(const Operation& operation) const REQUIRES(mutex_);
  void cancel_pending_locked() REQUIRES(mutex_);
  void check_accounting_locked() const REQUIRES(mutex_);
  // Takes the hold of a child that looked up below us away.
  void child_looked_up();
  void child_gone();
  void open_gate();
  void leave_slot_locked();  // REQUIRES: the tree's mutex
  store::ObjectRef handle();

  Tree& tree_;
  const std::shared_ptr<Tree> keep_tree_;
  const std::uint32_t id_;
  const CookieRef cookie_;
  std::atomic<std::uint32_t> references_{0};

  // The tree's mutex.
  boost::intrusive_ptr<Object> parent_;
  std::string key_;
  boost::intrusive_ptr<Object> predecessor_;  // holds our slot and is not dead
  Object* successor_ = nullptr;               // waits for our slot
  std::vector<boost::intrusive_ptr<Object>> dependents_;
  std::vector<Work*> death_watch_;  // posted to the machine queue at death
  bool is_up_ = false;
  bool is_dying_ = false;

  // The machine.
  std::atomic<State> state_{State::kInit};
  std::atomic<Events> events_{0};
  std::atomic<Events> mask_{0};
  OutOfBand out_of_band_ = OutOfBand::kInit;
  bool has_handle_ = false;   // it was found or created
  bool pins_parent_ = false;  // the parent's n_obj_ops counts us
  Nanoseconds lookup_began_mono_ns_ = 0;
  MachineWork work_;

  Mutex mutex_{Rank::kObject};
  bool queued_ GUARDED_BY(mutex_) = false;
  bool running_ GUARDED_BY(mutex_) = false;
  bool run_again_ GUARDED_BY(mutex_) = false;
  bool somebody_waits_ GUARDED_BY(mutex_) = false;
  Gate gate_ GUARDED_BY(mutex_) = Gate::kQueue;
  std::uint32_t n_children_ GUARDED_BY(mutex_) = 0;
  std::uint32_t n_ops_ GUARDED_BY(mutex_) = 0;
  std::uint32_t n_obj_ops_ GUARDED_BY(mutex_) = 0;
  std::uint32_t n_in_progress_ GUARDED_BY(mutex_) = 0;
  std::uint32_t n_exclusive_ GUARDED_BY(mutex_) = 0;
  std::uint32_t n_reads_ GUARDED_BY(mutex_) = 0;
  std::uint32_t n_fills_ GUARDED_BY(mutex_) = 0;
  bool exclusive_in_progress_ GUARDED_BY(mutex_) = false;
  Operation* pending_first_ GUARDED_BY(mutex_) = nullptr;
  Operation* pending_last_ GUARDED_BY(mutex_) = nullptr;
  Operation* going_first_ GUARDED_BY(mutex_) = nullptr;  // in progress, the latest first
  store::ObjectRef handle_ GUARDED_BY(mutex_);           // from look-up to death
};

// Detaches `cookie` from its object, if it is `object` or that is null; what it was.
ObjectPtr detach(Cookie& cookie, const Object* object, std::uint32_t add_flags);

}  // namespace larder::cache
