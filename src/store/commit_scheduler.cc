// SPDX-License-Identifier: Apache-2.0
#include "store/commit_scheduler.h"

#include <algorithm>
#include <chrono>

namespace larder::store {

struct CommitRequest::Waiter {
  bool finished = false;  // under the scheduler's lock
  Status status;
};

namespace {

Access access_of(std::span<CommitRequest* const> requests) {
  const bool reads = std::ranges::all_of(
      requests, [](const CommitRequest* one) { return one->access == Access::kReadOnly; });
  return reads ? Access::kReadOnly : Access::kReadWrite;
}

// Holds the outer lock, where there is one.
class OuterLock {
 public:
  explicit OuterLock(Mutex* mutex) NO_THREAD_SAFETY_ANALYSIS : mutex_(mutex) {
    if (mutex_ != nullptr) mutex_->lock();
  }
  ~OuterLock() NO_THREAD_SAFETY_ANALYSIS {
    if (mutex_ != nullptr) mutex_->unlock();
  }
  OuterLock(const OuterLock&) = delete;
  OuterLock& operator=(const OuterLock&) = delete;

 private:
  Mutex* mutex_;
};

}  // namespace

CommitScheduler::CommitScheduler(const Clock& clock, TransactionSource& source, Options options)
    : clock_(clock), source_(source), options_(options) {
  check(options_.tries > 0, "a transaction is tried once at least");
}

CommitScheduler::~CommitScheduler() {
  check(thread_ == nullptr, "a commit scheduler is stopped before it goes");
}

void CommitScheduler::start() {
  thread_ = std::make_unique<Thread>("larder-commit", [this] { thread_main(); });
}

void CommitScheduler::stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    wake_.notify_all();
    finished_.notify_all();
  }
  if (thread_) thread_->join();
  thread_.reset();
  const MutexLock lock(mutex_);
  while (running_) finished_.wait(mutex_);
  if (!open_.requests.empty()) run_open_locked();
}

void CommitScheduler::submit(CommitRequest& request) {
  check(request.run != nullptr, "a request has something to run");
  request.waiter = nullptr;
  const MutexLock lock(mutex_);
  join_locked(request);
}

Status CommitScheduler::execute(CommitRequest& request) {
  check(request.run != nullptr, "a request has something to run");
  CommitRequest::Waiter waiter;
  request.waiter = &waiter;
  const MutexLock lock(mutex_);
  join_locked(request);
  while (!waiter.finished) {
    if (running_) {
      finished_.wait(mutex_);
    } else if (const Nanoseconds left_ns = left_ns_locked(); left_ns > 0) {
      finished_.wait_for(mutex_, std::chrono::nanoseconds(left_ns));
    } else {
      run_open_locked();
    }
  }
  return waiter.status;
}

void CommitScheduler::join_locked(CommitRequest& request) {
  const bool opens = open_.requests.empty();
  if (opens) open_.due_ns = clock_.mono_ns() + options_.interval_ns;
  open_.requests.push_back(&request);
  const bool hurries = request.urgency == Urgency::kEager && !open_.eager;
  if (hurries) open_.eager = true;
  if (!opens && !hurries) return;
  wake_.notify_one();
  // Whoever waits lazily for this batch runs it; while another one runs all look again behind it.
  if (hurries && !running_) finished_.notify_one();
}

Nanoseconds CommitScheduler::left_ns_locked() const {
  if (open_.eager) return 0;
  return std::max<Nanoseconds>(0, open_.due_ns - clock_.mono_ns());
}

void CommitScheduler::run_open_locked() {
  running_ = true;
  Requests requests = std::exchange(open_, {}).requests;
  mutex_.unlock();
  run(std::move(requests));
  mutex_.lock();
  running_ = false;
  for (CommitRequest::Waiter* waiter : told_) waiter->finished = true;
  told_.clear();
  finished_.notify_all();
  wake_.notify_one();
}

void CommitScheduler::thread_main() {
  const MutexLock lock(mutex_);
  while (!stopping_) {
    if (running_ || open_.requests.empty()) {
      wake_.wait(mutex_);
    } else if (const Nanoseconds left_ns = left_ns_locked(); left_ns > 0) {
      wake_.wait_for(mutex_, std::chrono::nanoseconds(left_ns));
    } else {
      run_open_locked();
    }
  }
}

void CommitScheduler::run(Requests requests) {
  const OuterLock outer(options_.outer);
  counts_.requests += requests.size();
  Requests alone;
  while (!requests.empty()) {
    const Outcome outcome = transact(requests);
    if (outcome.failed && requests.size() > 1) {
      const auto at = requests.begin() + static_cast<std::ptrdiff_t>(*outcome.failed);
      alone.push_back(*at);
      requests.erase(at);
      continue;
    }
    for (CommitRequest* request : requests) settle(*request, outcome.status);
    break;
  }
  for (CommitRequest* request : alone) {
    ++counts_.alone;
    settle(*request, transact({&request, 1}).status);
  }
}

CommitScheduler::Outcome CommitScheduler::transact(std::span<CommitRequest* const> requests) {
  const Access access = access_of(requests);
  Outcome outcome;
  for (unsigned left = options_.tries; left > 0; --left) {
    ++counts_.batches;
    if (access == Access::kReadOnly) ++counts_.read_only;
    outcome = {};
    auto transaction = source_.begin(access);
    if (!transaction) outcome.status = tl::make_unexpected(transaction.error());
    for (std::size_t i = 0; outcome.status && i < requests.size(); ++i) {
      if (requests[i]->reset) requests[i]->reset();
      outcome.status = requests[i]->run(**transaction);
      if (!outcome.status) outcome.failed = i;
    }
    if (outcome.status) outcome.status = (*transaction)->commit();
    if (outcome.status || outcome.status.error().code != ErrorCode::kConflict) return outcome;
    ++counts_.conflicts;
    outcome.failed.reset();
  }
  return outcome;
}

void CommitScheduler::settle(CommitRequest& request, Status status) {
  CommitRequest::Waiter* const waiter = request.waiter;
  if (waiter != nullptr) waiter->status = status;
  if (request.done) request.done(status);
  if (waiter != nullptr) told_.push_back(waiter);
}

}  // namespace larder::store
