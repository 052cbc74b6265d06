// SPDX-License-Identifier: Apache-2.0
#include "crew.h"

#include <pthread.h>

#include "courtesy.h"

namespace larder::fuse {

void Crew::post(Work& work) {
  {
    const std::lock_guard lock(mutex_);
    // They inherit the mask of the ring that posts: no signal comes to them.
    while (threads_.size() < thread_count_) threads_.emplace_back([this] { run(); });
    work.next = nullptr;
    (first_ == nullptr ? first_ : last_->next) = &work;
    last_ = &work;
  }
  changed_.notify_one();
}

void Crew::run() {
  ::pthread_setname_np(::pthread_self(), "crew");
  be_ordinary();
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || first_ != nullptr; });
    if (first_ == nullptr) return;
    Work& work = *first_;
    first_ = work.next;
    lock.unlock();
    work.run(work);
    lock.lock();
  }
}

void Crew::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace larder::fuse
