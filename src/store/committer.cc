// SPDX-License-Identifier: Apache-2.0
#include "store/committer.h"

#include <larder/result.h>

namespace larder::store {
namespace {

class Step final : public Transaction {
 public:
  explicit Step(absl::AnyInvocable<void()>& make) : make_(make) {}
  Status commit() override {
    make_();
    return {};  // what fails in a step is the store's own matter: it goes to bypass
  }

 private:
  absl::AnyInvocable<void()>& make_;
};

}  // namespace

Committer::Committer(const Clock& clock, Nanoseconds interval_ns,
                     absl::AnyInvocable<StepResult(Access)> step)
    : step_(std::move(step)), scheduler_(clock, *this, {.interval_ns = interval_ns}) {}

Result<std::unique_ptr<Transaction>> Committer::begin(Access access) {
  access_ = access;
  return std::make_unique<Step>(make_step_);
}

void Committer::make_step() {
  if (step_(access_) == StepResult::kAgainLater) sweep_.wake();
}

void Committer::run_until(Urgency urgency, absl::FunctionRef<bool()> done) {
  while (!done()) {
    CommitRequest request;
    request.urgency = urgency;
    request.run = [](Transaction&) { return Status{}; };
    (void)scheduler_.execute(request);
  }
}

Committer::Tick::Tick(CommitScheduler& scheduler, Access access, Urgency urgency)
    : scheduler_(scheduler) {
  request_.access = access;
  request_.urgency = urgency;
  request_.run = [this](Transaction&) {
    state_ = State::kRuns;
    return Status{};
  };
  request_.done = [this](Status) {
    State runs = State::kRuns;
    if (state_.compare_exchange_strong(runs, State::kIdle)) return;
    state_ = State::kWaits;
    scheduler_.submit(request_);
  };
}

void Committer::Tick::wake() {
  State idle = State::kIdle;
  if (state_.compare_exchange_strong(idle, State::kWaits)) return scheduler_.submit(request_);
  // Its batch may have passed by what this is about.
  State runs = State::kRuns;
  if (state_.compare_exchange_strong(runs, State::kRunsAgain)) return;
  if (runs == State::kIdle) wake();
}

}  // namespace larder::store
