// SPDX-License-Identifier: Apache-2.0
// StepQueue: a WorkQueue without threads. The test runs one piece of work at a time, in the order
// of posting or in one that a seed chooses.
#pragma once

#include <larder/work_queue.h>

#include <deque>

#include "base/random.h"

namespace larder::test {

class StepQueue final : public WorkQueue {
 public:
  void post(Work& work) override { waiting_.push_back(&work); }

  std::size_t size() const { return waiting_.size(); }

  // False where nothing waits.
  bool run_one() { return run_at(0); }
  bool run_one(Random& random) {
    return !waiting_.empty() && run_at(static_cast<std::size_t>(random.below(waiting_.size())));
  }
  // What was posted last, before all that has waited longer.
  bool run_last() { return !waiting_.empty() && run_at(waiting_.size() - 1); }
  Work* at(std::size_t index) const { return waiting_[index]; }
  bool run_at(std::size_t index) {
    if (index >= waiting_.size()) return false;
    Work* work = waiting_[index];
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(index));
    work->run(*work);
    return true;
  }
  // Runs until nothing waits. How many ran.
  std::size_t run_all() {
    std::size_t n = 0;
    while (run_one()) ++n;
    return n;
  }

 private:
  std::deque<Work*> waiting_;
};

}  // namespace larder::test
