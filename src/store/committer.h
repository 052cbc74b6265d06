// SPDX-License-Identifier: Apache-2.0
// Committer: when a commit happens and who does it; what it does is the step that it is given.
//
// One step runs at a time. Whoever needs one now runs it himself, or waits for the one that is
// under way and looks again (leader and follower): so sync() needs no thread, and a test without
// threads drives a whole store by calling it. A thread, where one is wanted, only waits for the
// interval to pass and then does the same.
//
// Thread: any. The step runs without the lock.
#pragma once

#include <absl/functional/any_invocable.h>
#include <absl/functional/function_ref.h>
#include <larder/clock.h>

#include <memory>

#include "base/mutex.h"
#include "io/thread.h"

namespace larder::store {

// Whether something is left that another step would look at again.
enum class StepResult : std::uint8_t { kDone, kAgainLater };

class Committer {
 public:
  Committer(const Clock& clock, Nanoseconds interval_ns, absl::AnyInvocable<StepResult()> step);
  ~Committer();  // REQUIRES: stop() was called if start() was

  void start();
  void stop();  // no step runs any more afterwards, except through run_until

  void wake_soon();  // a step when the interval has passed
  void wake_now();   // as soon as the thread gets there
  // Steps until `done`. Blocks.
  void run_until(absl::FunctionRef<bool()> done);

 private:
  void thread_main();
  void step_or_wait_locked() REQUIRES(mutex_);  // lets go of the lock for the step

  const Clock& clock_;
  const Nanoseconds interval_ns_;
  absl::AnyInvocable<StepResult()> step_;  // called by one at a time

  Mutex mutex_{Rank::kStoreJournal};
  CondVar wake_, finished_;
  bool running_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool now_ GUARDED_BY(mutex_) = false;
  Nanoseconds due_ns_ GUARDED_BY(mutex_) = 0;  // 0: nothing to do
  std::unique_ptr<Thread> thread_;
};

}  // namespace larder::store
