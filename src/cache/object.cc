// SPDX-License-Identifier: Apache-2.0
// The worker of an object: who runs its machine, when it is queued, and how it is taken hold of.
//
// One worker at a time. `queued` says that the work is in the machine queue, `running` that some
// thread runs the machine: one of the queue, or one that drives it (index_of, withdraw). An event
// that comes while it runs is seen by it before it stops, or makes it run again.
#include "cache/object.h"

#include <algorithm>
#include <utility>

namespace larder::cache {

Object::Object(Cache& cache, std::uint32_t id, CookieRef cookie, ObjectPtr parent)
    : Work{run_work, nullptr},
      id_(id),
      cache_(&cache),
      cookie_(std::move(cookie)),
      parent_(std::move(parent)) {
  set_mask(bit(Event::kRequeue) | kTerminalEvents);  // those of INIT
}

Object::~Object() { check(is_dead(), "an object is freed only when it is dead"); }

void intrusive_ptr_add_ref(Object* object) {
  object->references_.fetch_add(1, std::memory_order_relaxed);
}

void intrusive_ptr_release(Object* object) {
  if (object->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    const std::unique_ptr<Object> last(object);
  }
}

void Object::raise(Event event) {
  events_.fetch_or(static_cast<EventBits>(bit(event)));
  if (mask_.load() & bit(event)) enqueue();
}

void Object::enqueue() {
  {
    MutexLock lock(mutex_);
    if (queued_) return;
    if (running_) {
      run_again_ = true;
      return;
    }
    queued_ = true;
  }
  intrusive_ptr_add_ref(this);  // the queue's
  tree().machine.post(*this);
}

void Object::run_work(Work& work) {
  const ObjectPtr object(&static_cast<Object&>(work), false);
  {
    MutexLock lock(object->mutex_);
    object->queued_ = false;
    if (object->running_) {
      object->run_again_ = true;
      return;
    }
    object->running_ = true;
  }
  if (!object->dispatch()) {
    MutexLock lock(object->mutex_);
    object->run_again_ = true;
  }
  object->unclaim();
}

void Object::drive() {
  const ObjectPtr self(this);
  claim_for_drive();
  while (!dispatch()) {
  }
  unclaim();
}

void Object::kick_and_drive() {
  events_.fetch_or(static_cast<EventBits>(bit(Event::kRequeue)));
  drive();
}

bool Object::is_up() {
  MutexLock tree_lock(tree().mutex);
  return is_up_;
}

void Object::claim_for_drive() {
  MutexLock tree_lock(tree().mutex);
  for (;;) {
    {
      MutexLock lock(mutex_);
      if (!running_) {
        running_ = true;
        return;
      }
      somebody_waits_ = true;
    }
    tree().changed.wait(tree().mutex);
  }
}

void Object::unclaim() {
  bool again = false;
  bool waits = false;
  {
    MutexLock lock(mutex_);
    running_ = false;
    again = run_again_;
    waits = somebody_waits_;
    run_again_ = somebody_waits_ = false;
  }
  if (again) enqueue();
  if (waits) {
    // Whoever waits holds the tree's mutex from looking to waiting.
    { MutexLock tree_lock(tree().mutex); }
    tree().changed.notify_all();
  }
}

bool Object::is_clear() {
  MutexLock lock(mutex_);
  return n_ops_ == 0 && n_children_ == 0;
}

std::optional<std::uint32_t> Object::idle_since() {
  MutexLock lock(mutex_);
  if (gate_ != Gate::kOpen || n_ops_ != 0 || n_children_ != 0) return std::nullopt;
  return last_used_;
}

void Object::child_looked_up() {
  bool cleared = false;
  {
    MutexLock lock(mutex_);
    check(n_obj_ops_ > 0, "a child lets go of what it held");
    --n_obj_ops_;
    --n_ops_;
    cleared = gate_ == Gate::kRefuse && n_ops_ == 0;
  }
  if (cleared) raise(Event::kCleared);
}

void Object::child_gone() {
  bool cleared = false;
  {
    MutexLock lock(mutex_);
    check(n_children_ > 0, "a child goes once");
    cleared = --n_children_ == 0 && gate_ == Gate::kRefuse;
  }
  if (cleared) raise(Event::kCleared);
}

store::ObjectRef Object::handle_if_up() {
  MutexLock lock(mutex_);
  return gate_ == Gate::kRefuse ? store::ObjectRef() : handle_;
}

store::ObjectRef Object::handle() {
  MutexLock lock(mutex_);
  return handle_;
}

void Object::open_gate() {
  const Nanoseconds now_ns = tree().clock.mono_ns();
  MutexLock lock(mutex_);
  gate_ = Gate::kOpen;
  last_used_ = use_tick(now_ns);
  for_each_pending_locked([&](const Operation& operation) {
    if (operation.kind != OperationKind::kRead) return;
    tree().histograms.retrieval_delays.record(now_ns - operation.submitted_mono_ns);
  });
  start_operations_locked();
}

Object::Rare& Object::rare_locked() {
  if (!rare_) rare_ = std::make_unique<Rare>();
  return *rare_;
}

void Object::tidy_locked() {
  if (rare_ && rare_->is_empty()) rare_ = nullptr;
}

void Object::keep_key_locked() {
  if (rare_locked().old_key.bytes().empty()) rare_->old_key = ShortBytes(cookie_->key.bytes());
}

std::vector<ObjectPtr> Object::take_dependents_locked() {
  if (!rare_) return {};
  std::vector<ObjectPtr> dependents = std::move(rare_->dependents);
  rare_->dependents.clear();
  tidy_locked();
  return dependents;
}

// The line behind us moves up: whoever comes next looks again.
void Object::leave_place_locked() NO_THREAD_SAFETY_ANALYSIS {
  const auto last = tree().lingering.find(place());
  const bool is_last = last != tree().lingering.end() && *last == this;
  if (is_last) tree().lingering.erase(last);
  if (!rare_) return;
  const ObjectPtr before = std::move(rare_->predecessor);
  Object* const after = std::exchange(rare_->successor, nullptr);
  if (before) {
    before->rare_->successor = after;
    before->tidy_locked();
    if (is_last) tree().lingering.insert(before.get());
  }
  if (after != nullptr) {
    after->raise(Event::kRequeue);
    after->rare_->predecessor = before;  // the last touch: it may have held us
    after->tidy_locked();
  }
}

// The kernel's bits (4.19): pending write, live, looked up, available, retired, killed by the
// cache.
Object::Figures Object::figures_locked() {
  Figures f{};
  MutexLock lock(mutex_);
  f.id = id_;
  f.parent_id = parent_ ? parent_->id_ : ~0u;
  f.n_children = n_children_;
  f.n_ops = n_ops_;
  f.n_obj_ops = n_obj_ops_;
  f.n_in_progress = n_in_progress_;
  f.n_exclusive = n_exclusive_;
  const auto count = [&f](const Operation& operation) {
    f.n_reads += operation.kind == OperationKind::kRead;
    f.n_fills += operation.kind == OperationKind::kFill;
  };
  for (const Operation* at = going_first_; at != nullptr; at = at->next) count(*at);
  for_each_pending_locked(count);
  f.state = state();
  f.mask = mask_.load(std::memory_order_relaxed);
  f.events = events_.load(std::memory_order_relaxed);
  const unsigned killed = f.events & (bit(Event::kError) | bit(Event::kWithdraw)) ? 1u : 0u;
  f.flags = (f.n_fills > 0 ? 1u << 1 : 0u) | (!is_dying_ ? 1u << 3 : 0u) |
            (f.state >= State::kCreating && f.state <= State::kUpdating ? 1u << 4 : 0u) |
            (is_up_ ? 1u << 5 : 0u) | (f.events & bit(Event::kRetire) ? 1u << 6 : 0u) | killed << 7;
  f.work_state = (queued_ ? 1u : 0u) | (running_ ? 2u : 0u);
  f.has_dependents = rare_ && !rare_->dependents.empty();
  f.key = key_locked();
  f.has_cookie = !cookie_->has(kCookieRelinquished);
  return f;
}

Object::Figures Object::figures() {
  MutexLock tree_lock(tree().mutex);
  return figures_locked();
}

}  // namespace larder::cache
