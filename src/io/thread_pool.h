// SPDX-License-Identifier: Apache-2.0
// ThreadPool: a WorkQueue with threads. First in, first out; a post is a lock, two pointers and a
// wake-up.
//
// It knows no deadline and no limit: whoever posts embeds the Work in something that is limited
// already. The end is stop(): everything that is queued runs, what that posts runs too, then the
// threads end. A post after that is a broken rule and stops the program, since its work would be
// lost in silence.
#pragma once

#include <larder/work_queue.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "io/fifo.h"
#include "io/thread.h"

namespace larder {

struct ThreadPoolOptions {
  std::string name = "pool";  // the threads are called name-0, name-1 ...
  unsigned threads = 1;
};

class ThreadPool final : public WorkQueue {
 public:
  // All threads run when this returns; where the system refuses one, the program stops with the
  // reason.
  explicit ThreadPool(const ThreadPoolOptions& options);
  ~ThreadPool() override;  // calls stop() where nobody did

  void post(Work& work) override;

  // Runs what is queued and joins. Later calls do nothing. REQUIRES: not on a thread of the pool.
  void stop();

  // How much waits for a thread, and how many threads are at work; for `stats`. Thread: any.
  std::size_t waiting() const;
  std::size_t running() const;

 private:
  void run_thread();

  mutable Mutex mutex_{Rank::kQueue};
  CondVar work_;
  Fifo<Work> queue_ GUARDED_BY(mutex_);
  std::size_t waiting_ GUARDED_BY(mutex_) = 0;
  std::size_t running_ GUARDED_BY(mutex_) = 0;
  std::size_t alive_ GUARDED_BY(mutex_) = 0;  // threads that may still take work
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::vector<std::unique_ptr<Thread>> threads_;  // the owner's: constructor and stop()
};

}  // namespace larder
