// SPDX-License-Identifier: Apache-2.0
// The operation manager: who may do what to an object, and when.
//
// An operation asks for the go, gets it, works, and says that it is complete. It is shareable (any
// number of them at once) or exclusive (alone), and it says where it works: on the submitting
// thread (MYTHREAD), on an answer thread (FAST, may not block) or on the machine queue (SLOW, may
// block on the store). It is the caller's record; nothing is allocated for it.
//
// The order is first come, first served, with exclusive operations as barriers:
//   1. An operation gets the go only if none before it is pending.
//   2. A shareable one gets the go unless an exclusive one is in progress; an exclusive one only
//      while nothing is in progress. So an exclusive one waits for all that was accepted before it,
//      and all that is accepted after it waits for it.
//   3. While the object is being looked up, everything waits (Gate::kQueue). Once it is dying
//      nothing is taken (kRefuse), and what was pending is cancelled; what is in progress finishes
//      by itself.
//   4. Each operation that was taken ends in exactly one of: kNow with complete(); run() with
//      complete(); cancelled(); taken back by cancel().
//   5. run() and cancelled() are called from a queue, never on a caller's stack and never under a
//      lock: a MYTHREAD operation that had to wait resumes on the answer queue, as FAST does.
//   6. Whenever the mutex is free and the gate open, the first pending operation may not yet go.
//   7. n_ops counts what was taken and has not ended; at 0 a dying object without children is
//      CLEARED.
//   8. What waits or is posted is limited in number, for each object and for all; what is over the
//      limit is refused. So a store that has become slow makes misses, not a pile.
//   9. In progress, an operation may be posted again and again, each time as FAST or SLOW
//      (run_again), and ends in exactly one of complete(), abort() and cancel().
//
// An operation keeps its object in memory from submit() until its record is used again or
// destroyed, so that a late cancel() finds a mutex to lock. The object may be dead by then: it only
// says no.
//
// Invalidation is not an operation here as it is in the kernel. It goes by the store's generation:
// what is in progress finishes and the store refuses its stale fills, so nothing waits and no
// barrier is needed; what is pending is cancelled, since it was meant for what is gone.
#include "cache/operation.h"

#include <larder/log.h>

#include <cstddef>
#include <type_traits>
#include <utility>

#include "cache/object.h"

namespace larder::cache {
namespace {

void run_now(Work& work) {
  Operation& operation = operation_of(work);
  const ObjectPtr object = operation.object;  // run() may free the operation
  Tree& tree = object->tree();
  const Nanoseconds began_ns = tree.clock.mono_ns();
  operation.begun.store(true, std::memory_order_relaxed);
  operation.run(operation);
  tree.histograms.operation_runs.record(tree.clock.mono_ns() - began_ns);
}

void cancel_now(Work& work) {
  Operation& operation = operation_of(work);
  operation.cancelled(operation);
}

}  // namespace

Operation& operation_of(Work& work) {
  static_assert(std::is_standard_layout_v<Operation>);
  return *reinterpret_cast<Operation*>(reinterpret_cast<std::byte*>(&work) -
                                       offsetof(Operation, work));
}

std::string_view to_text(OperationState state) {
  switch (state) {
    case OperationState::kBlank:
      return "blank";
    case OperationState::kInitialised:
      return "initialised";
    case OperationState::kPending:
      return "pending";
    case OperationState::kInProgress:
      return "in progress";
    case OperationState::kComplete:
      return "complete";
    case OperationState::kCancelled:
      return "cancelled";
    case OperationState::kDead:
      return "dead";
  }
  return "?";
}

std::string_view to_text(OperationKind kind) {
  switch (kind) {
    case OperationKind::kRead:
      return "read";
    case OperationKind::kFill:
      return "fill";
    case OperationKind::kSession:
      return "session";
    case OperationKind::kTruncate:
      return "truncate";
    case OperationKind::kAttrChanged:
      return "attr_changed";
    case OperationKind::kOther:
      return "other";
  }
  return "?";
}

std::string_view to_text(OperationType type) {
  switch (type) {
    case OperationType::kMyThread:
      return "mythread";
    case OperationType::kFast:
      return "fast";
    case OperationType::kSlow:
      return "slow";
  }
  return "?";
}

// Rules 1 to 3: must it wait?
bool Object::hold_back_locked(const Operation& operation) const {
  if (gate_ == Gate::kQueue || pending_last_ != nullptr) return true;
  return operation.sharing == Sharing::kExclusive ? n_in_progress_ > 0 : exclusive_in_progress_;
}

Submitted Object::submit(Operation& operation) {
  KindCounters& counters = tree().counters.of(operation.kind);
  MutexLock lock(mutex_);
  const bool waits = hold_back_locked(operation);
  if (gate_ != Gate::kRefuse && waits && operation.run == nullptr) {
    return Submitted::kLater;  // a try: not taken
  }
  counters.submitted.add();
  operation.is_counted = waits || operation.type != OperationType::kMyThread;
  if (gate_ == Gate::kRefuse || (operation.is_counted && !take_room_locked())) {
    counters.refused.add();
    return Submitted::kNever;
  }
  operation.object = this;
  operation.id = tree().last_operation_id.fetch_add(1, std::memory_order_relaxed) + 1;
  operation.submitted_mono_ns = tree().clock.mono_ns();
  operation.next = nullptr;
  operation.begun.store(false, std::memory_order_relaxed);
  operation.work.run = nullptr;
  operation.state.store(OperationState::kPending, std::memory_order_relaxed);
  ++n_ops_;
  last_used_ = use_tick(operation.submitted_mono_ns);
  if (operation.sharing == Sharing::kExclusive) ++n_exclusive_;
  if (traces(Part::kOperation, Moment::kEnter)) [[unlikely]] {
    trace(Part::kOperation, Moment::kEnter, "submit(object {:x}, operation {:x}: {} {}): {}", id_,
          operation.id, to_text(operation.type), to_text(operation.kind), waits ? "waits" : "go");
  }
  if (waits) {
    (gate_ == Gate::kQueue ? counters.waited_look_up : counters.waited_behind).add();
    append_locked(operation);
    return Submitted::kLater;
  }
  go_locked(operation);
  if (operation.type != OperationType::kMyThread) post_locked(operation);
  return Submitted::kNow;
}

// Rule 8.
bool Object::take_room_locked() {
  const Limits& limits = tree().limits;
  if (n_ops_ - n_obj_ops_ < limits.per_object &&
      tree().operations_held.fetch_add(1, std::memory_order_relaxed) < limits.all) {
    return true;
  }
  if (n_ops_ - n_obj_ops_ < limits.per_object) give_room_back();
  tree().counters.ops_over_limit.add();
  return false;
}

void Object::give_room_back() { tree().operations_held.fetch_sub(1, std::memory_order_relaxed); }

void Object::append_locked(Operation& operation) {
  operation.next = pending_last_ ? std::exchange(pending_last_->next, &operation) : &operation;
  pending_last_ = &operation;
  tree().counters.ops_pending.add();
}

void Object::take_first_locked() {
  Operation& first = *pending_last_->next;
  if (pending_last_ == &first) {
    pending_last_ = nullptr;
  } else {
    pending_last_->next = first.next;
  }
  first.next = nullptr;
  tree().counters.ops_pending.sub();
}

void Object::go_locked(Operation& operation) {
  operation.state.store(OperationState::kInProgress, std::memory_order_release);
  operation.previous = nullptr;
  operation.next = going_first_;
  if (going_first_ != nullptr) going_first_->previous = &operation;
  going_first_ = &operation;
  ++n_in_progress_;
  if (operation.sharing == Sharing::kExclusive) exclusive_in_progress_ = true;
  check_accounting_locked();
  KindCounters& counters = tree().counters.of(operation.kind);
  counters.started.add();
  if (cookie_->has(kCookieNoDataYet)) counters.no_data.add();
}

void Object::post_locked(Operation& operation) {
  tree().counters.ops_posted.add();
  operation.work.run = run_now;
  (operation.type == OperationType::kSlow ? tree().machine : tree().answer).post(operation.work);
}

// Restores invariant 6.
void Object::start_operations_locked() {
  while (gate_ == Gate::kOpen && pending_last_ != nullptr) {
    Operation& operation = *first_pending_locked();
    const bool exclusive = operation.sharing == Sharing::kExclusive;
    // An exclusive one in progress is in progress alone, and n_in_progress is 1.
    if (n_in_progress_ > 0 && (exclusive || exclusive_in_progress_)) return;
    take_first_locked();
    go_locked(operation);
    post_locked(operation);
  }
}

void Object::forget_locked(Operation& operation) {
  check(n_ops_ > 0, "an operation ends once");
  --n_ops_;
  if (operation.is_counted) give_room_back();
  if (operation.sharing == Sharing::kExclusive) --n_exclusive_;
}

void Object::complete(Operation& operation) {
  if (operation.kind == OperationKind::kRead) {
    tree().histograms.retrievals.record(tree().clock.mono_ns() - operation.submitted_mono_ns);
  }
  if (operation.kind == OperationKind::kFill) {
    const Nanoseconds took_ns = tree().clock.mono_ns() - operation.submitted_mono_ns;
    tree().histograms.fills.record(static_cast<std::uint64_t>(took_ns));
    if (cookie_->has(kCookieNoDataYet)) cookie_->clear(kCookieNoDataYet);
  }
  tree().counters.ops_completed.add();
  trace(Part::kOperation, Moment::kLeave, "complete(operation {:x})", operation.id);
  end(operation, OperationState::kComplete);
}

void Object::abort(Operation& operation) {
  tree().counters.of(operation.kind).cancelled.add();
  tree().counters.ops_aborted.add();
  trace(Part::kOperation, Moment::kLeave, "abort(operation {:x})", operation.id);
  const ObjectPtr self(this);  // its owner may free the operation now
  end(operation, OperationState::kCancelled);
  raise(Event::kError);
}

void Object::end(Operation& operation, OperationState state) {
  ObjectPtr cleared;
  {
    MutexLock lock(mutex_);
    if (end_locked(operation, state)) cleared = this;
  }
  if (cleared) cleared->raise(Event::kCleared);
}

// True: nothing holds this dying object any more.
bool Object::end_locked(Operation& operation, OperationState state) {
  check(operation.state.load(std::memory_order_relaxed) == OperationState::kInProgress,
        "only an operation in progress ends");
  (operation.previous ? operation.previous->next : going_first_) = operation.next;
  if (operation.next != nullptr) operation.next->previous = operation.previous;
  --n_in_progress_;
  if (operation.sharing == Sharing::kExclusive) exclusive_in_progress_ = false;
  forget_locked(operation);
  start_operations_locked();
  check_accounting_locked();
  // The last touch: its owner may free it as soon as it reads this.
  operation.state.store(state, std::memory_order_release);
  return gate_ == Gate::kRefuse && n_ops_ == 0;
}

bool Object::cancel(Operation& operation, Cancel what) {
  ObjectPtr cleared;
  {
    MutexLock lock(mutex_);
    switch (operation.state.load(std::memory_order_relaxed)) {
      case OperationState::kPending:
        cancel_pending_locked(operation);
        break;
      case OperationState::kInProgress: {
        const bool is_queued =
            operation.work.run != nullptr && !operation.begun.load(std::memory_order_relaxed);
        if (what == Cancel::kPending || is_queued) return false;
        tree().counters.of(operation.kind).taken_back.add();
        if (end_locked(operation, OperationState::kCancelled)) cleared = this;
        break;
      }
      case OperationState::kBlank:
      case OperationState::kInitialised:
      case OperationState::kComplete:
      case OperationState::kCancelled:
      case OperationState::kDead:
        return false;
    }
  }
  if (cleared) cleared->raise(Event::kCleared);
  return true;
}

void Object::cancel_pending_locked(Operation& operation) {
  check(pending_last_ != nullptr, "a pending operation is on its object's list");
  Operation* before = pending_last_;
  while (before->next != &operation) before = before->next;
  Operation* const last = pending_last_;
  pending_last_ = before;  // so that it is the first
  take_first_locked();
  if (last != &operation) pending_last_ = last;
  tree().counters.of(operation.kind).taken_back.add();
  trace(Part::kOperation, Moment::kWithin, "operation {:x} is taken back", operation.id);
  forget_locked(operation);
  operation.state.store(OperationState::kCancelled, std::memory_order_release);
  start_operations_locked();  // it may have been the barrier
}

void Object::cancel_pending_locked() {
  while (pending_last_ != nullptr) {
    Operation& operation = *first_pending_locked();
    take_first_locked();
    tree().counters.of(operation.kind).cancelled.add();
    trace(Part::kOperation, Moment::kWithin, "operation {:x} is cancelled", operation.id);
    forget_locked(operation);
    operation.state.store(OperationState::kCancelled, std::memory_order_release);
    if (operation.cancelled == nullptr) continue;
    operation.work.run = cancel_now;
    tree().answer.post(operation.work);
  }
}

void Object::run_again(Operation& operation, OperationType type) {
  MutexLock lock(mutex_);
  check(operation.state.load(std::memory_order_relaxed) == OperationState::kInProgress,
        "only an operation in progress is queued again");
  operation.type = type;
  if (type == OperationType::kMyThread) return;
  operation.begun.store(false, std::memory_order_relaxed);
  post_locked(operation);
}

void Object::check_accounting_locked() const {
  check(n_ops_ >= n_in_progress_ + n_obj_ops_, "n_ops >= n_in_progress + n_obj_ops");
  check(n_ops_ >= n_exclusive_, "n_ops >= n_exclusive");
  check(!exclusive_in_progress_ || n_in_progress_ == 1, "an exclusive operation is alone");
}

}  // namespace larder::cache
