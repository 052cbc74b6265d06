// SPDX-License-Identifier: Apache-2.0
#include "store/committer.h"

#include <larder/result.h>

#include <chrono>

namespace larder::store {

Committer::Committer(const Clock& clock, Nanoseconds interval_ns,
                     absl::AnyInvocable<StepResult()> step)
    : clock_(clock), interval_ns_(interval_ns), step_(std::move(step)) {}

Committer::~Committer() { check(thread_ == nullptr, "a committer is stopped before it goes"); }

void Committer::start() {
  thread_ = std::make_unique<Thread>("larder-commit", [this] { thread_main(); });
}

void Committer::stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    wake_.notify_all();
  }
  if (thread_) thread_->join();
  thread_.reset();
}

void Committer::wake_soon() {
  const MutexLock lock(mutex_);
  if (due_ns_ != 0) return;
  due_ns_ = clock_.mono_ns() + interval_ns_;
  wake_.notify_one();
}

void Committer::wake_now() {
  const MutexLock lock(mutex_);
  if (now_) return;
  now_ = true;
  wake_.notify_one();
}

void Committer::step_or_wait_locked() {
  if (running_) {
    finished_.wait(mutex_);
    return;
  }
  running_ = true;
  now_ = false;
  due_ns_ = 0;
  mutex_.unlock();
  const StepResult result = step_();
  mutex_.lock();
  running_ = false;
  if (result == StepResult::kAgainLater && due_ns_ == 0) due_ns_ = clock_.mono_ns() + interval_ns_;
  finished_.notify_all();
}

void Committer::run_until(absl::FunctionRef<bool()> done) {
  const MutexLock lock(mutex_);
  while (!done()) step_or_wait_locked();
}

void Committer::thread_main() {
  const MutexLock lock(mutex_);
  while (!stopping_) {
    if (!now_ && due_ns_ == 0) {
      wake_.wait(mutex_);
      continue;
    }
    const Nanoseconds left_ns = due_ns_ - clock_.mono_ns();
    if (!now_ && left_ns > 0) {
      wake_.wait_for(mutex_, std::chrono::nanoseconds(left_ns));
      continue;
    }
    step_or_wait_locked();
  }
}

}  // namespace larder::store
