// SPDX-License-Identifier: Apache-2.0
#include "io/thread_pool.h"

#include <fmt/format.h>
#include <larder/result.h>

namespace larder {

ThreadPool::ThreadPool(const ThreadPoolOptions& options) {
  check(options.threads > 0, "a pool has a thread");
  {
    const MutexLock lock(mutex_);
    alive_ = options.threads;
  }
  for (unsigned i = 0; i < options.threads; ++i) {
    threads_.push_back(
        std::make_unique<Thread>(fmt::format("{}-{}", options.name, i), [this] { run_thread(); }));
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::post(Work& work) {
  const MutexLock lock(mutex_);
  check(alive_ > 0, "nothing is posted to a pool that has stopped");
  queue_.push(work);
  ++waiting_;
  // Under the lock: who runs the work may end the pool as soon as the lock is free.
  work_.notify_one();
}

void ThreadPool::stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    work_.notify_all();
  }
  for (const auto& thread : threads_) thread->join();
  threads_.clear();
}

std::size_t ThreadPool::waiting() const {
  const MutexLock lock(mutex_);
  return waiting_;
}

std::size_t ThreadPool::running() const {
  const MutexLock lock(mutex_);
  return running_;
}

void ThreadPool::run_thread() {
  MutexLock lock(mutex_);
  for (;;) {
    Work* work = queue_.pop();
    if (work == nullptr) {
      // A thread that is still at work takes what that work posts, so this one may go.
      if (stopping_) break;
      work_.wait(mutex_);
      continue;
    }
    --waiting_;
    ++running_;
    lock.unlock();
    work->run(*work);  // frees or re-posts `work`, as it likes
    lock.lock();
    --running_;
  }
  --alive_;
}

}  // namespace larder
