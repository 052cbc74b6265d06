// SPDX-License-Identifier: Apache-2.0
// CommitScheduler: requests that share a commit. Each batch of them is one transaction.
//
//   joining      a request joins the open batch, or opens one
//   urgency      a lazy request waits until the interval has passed since its batch was opened; an
//                eager one makes the batch go at once and takes the lazy ones along
//   access       a batch is read-only while all of its requests are
//   failing      a request that fails rolls its batch back; it is taken out and run again alone, so
//                it is seen twice and gets an error of its own; the others run again without it
//   conflict     kConflict, from a request, begin() or commit(), is charged to nobody: the whole
//                transaction is tried again, `tries` times at most
//   outer lock   where one is given it is held while a batch runs and while its requests are told,
//                so that what is in memory changes together with the commit
//
// One batch runs at a time; who comes meanwhile joins the next. Whoever needs a batch runs it
// himself (leader and follower), so execute() needs no thread and a test without threads drives all
// of it. A thread, where one is started, runs what was submitted and falls due.
//
// Thread: any. Requests run without the scheduler's own lock.
#pragma once

#include <absl/functional/any_invocable.h>
#include <larder/clock.h>
#include <larder/result.h>
#include <larder/store.h>

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "io/thread.h"

namespace larder::store {

enum class Access : std::uint8_t { kReadOnly, kReadWrite };

// What a batch runs in. One that goes without a commit() that succeeded is rolled back.
class Transaction {
 public:
  virtual ~Transaction() = default;
  virtual Status commit() = 0;
};

class TransactionSource {
 public:
  virtual ~TransactionSource() = default;
  virtual Result<std::unique_ptr<Transaction>> begin(Access access) = 0;
};

// Owned by the caller until `done`, or until execute() returns.
struct CommitRequest {
  Access access = Access::kReadWrite;
  Urgency urgency = Urgency::kEager;
  absl::AnyInvocable<Status(Transaction&)> run;  // once or more: see above
  absl::AnyInvocable<void()> reset;  // before each run: what an earlier one left is to be forgotten
  // Once, with the request's own error or its commit's, on the thread that ran the batch. What was
  // submitted may be submitted again, or freed, in it. REQUIRES: calls no execute().
  absl::AnyInvocable<void(Status)> done;

  struct Waiter;
  Waiter* waiter = nullptr;  // the scheduler's
};

class CommitScheduler {
 public:
  struct Options {
    Nanoseconds interval_ns = 0;  // 0: what is lazy goes at once too
    unsigned tries = 16;          // of a transaction that runs into conflicts
    Mutex* outer = nullptr;
  };
  struct Counts {
    std::atomic<std::uint64_t> batches{0}, read_only{0}, requests{0}, alone{0}, conflicts{0};
  };

  CommitScheduler(const Clock& clock, TransactionSource& source, Options options);
  ~CommitScheduler();  // REQUIRES: stop() was called if start() was; nobody is in execute()

  void start();
  // Runs what waits and ends the thread. What is submitted later waits for the next execute().
  void stop();

  // Returns at once. REQUIRES: the request waits nowhere.
  void submit(CommitRequest& request);
  // Returns when the request's batch has committed or the request has failed. Blocks.
  Status execute(CommitRequest& request);

  const Counts& counts() const { return counts_; }

 private:
  using Requests = std::vector<CommitRequest*>;
  struct Batch {
    Requests requests;
    bool eager = false;
    Nanoseconds due_ns = 0;
  };
  struct Outcome {
    Status status;
    std::optional<std::size_t> failed;  // whose error it is; none: everybody's
  };

  void thread_main();
  void join_locked(CommitRequest& request) REQUIRES(mutex_);
  Nanoseconds left_ns_locked() const REQUIRES(mutex_);  // 0: the open batch is to go
  void run_open_locked() REQUIRES(mutex_);              // lets go of the lock meanwhile
  void run(Requests requests);
  Outcome transact(std::span<CommitRequest* const> requests);
  void settle(CommitRequest& request, Status status);

  const Clock& clock_;
  TransactionSource& source_;
  const Options options_;
  Counts counts_;

  Mutex mutex_{Rank::kStoreJournal};
  CondVar wake_, finished_;
  Batch open_ GUARDED_BY(mutex_);
  bool running_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::vector<CommitRequest::Waiter*> told_;  // the runner's
  std::unique_ptr<Thread> thread_;
};

}  // namespace larder::store
