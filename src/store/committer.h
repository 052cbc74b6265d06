// SPDX-License-Identifier: Apache-2.0
// Committer: the store's commits, scheduled. The transaction is a step of the store's: all records
// that wait, in one journal entry, and one flush (commit.cc). A record joins the next batch lazily
// as it is appended, a sync eagerly; a batch in which blocks are only to be freed is read-only, and
// its step writes nothing.
//
// Without start() there is no thread: steps are made by whoever calls run_until().
// Thread: any. One step runs at a time, without a lock.
#pragma once

#include <absl/functional/any_invocable.h>
#include <absl/functional/function_ref.h>
#include <larder/clock.h>

#include <atomic>

#include "store/commit_scheduler.h"

namespace larder::store {

// Whether something is left that another step would look at again.
enum class StepResult : std::uint8_t { kDone, kAgainLater };

class Committer final : private TransactionSource {
 public:
  Committer(const Clock& clock, Nanoseconds interval_ns,
            absl::AnyInvocable<StepResult(Access)> step);

  void start() { scheduler_.start(); }
  void stop() { scheduler_.stop(); }  // no step runs any more afterwards, except through run_until

  void wake_soon() { soon_.wake(); }  // a step when the interval has passed
  void wake_now() { now_.wake(); }    // as soon as the thread gets there
  // Steps until `done`, asked for with this urgency. Blocks.
  void run_until(Urgency urgency, absl::FunctionRef<bool()> done);

 private:
  // A request that waits at most once.
  class Tick {
   public:
    Tick(CommitScheduler& scheduler, Access access, Urgency urgency);
    void wake();

   private:
    enum class State : std::uint8_t { kIdle, kWaits, kRuns, kRunsAgain };
    CommitScheduler& scheduler_;
    CommitRequest request_;
    std::atomic<State> state_{State::kIdle};
  };

  Result<std::unique_ptr<Transaction>> begin(Access access) override;
  void make_step();

  absl::AnyInvocable<StepResult(Access)> step_;  // called by one at a time
  Access access_ = Access::kReadWrite;           // of the step that is being made
  absl::AnyInvocable<void()> make_step_ = [this] { make_step(); };
  CommitScheduler scheduler_;
  Tick soon_{scheduler_, Access::kReadWrite, Urgency::kLazy};
  Tick now_{scheduler_, Access::kReadWrite, Urgency::kEager};
  Tick sweep_{scheduler_, Access::kReadOnly, Urgency::kLazy};
};

}  // namespace larder::store
