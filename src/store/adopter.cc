// SPDX-License-Identifier: Apache-2.0
#include "store/adopter.h"

#include <algorithm>

namespace larder::store {

Adopter::Adopter() : thread_(std::make_unique<Thread>("larder-adopt", [this] { thread_main(); })) {}

Adopter::~Adopter() { finish(); }

void Adopter::add(ObjectRef child, Object& parent) {
  next_.push_back({std::move(child), &parent});
  if (next_.size() == kBatch) hand_over();
}

void Adopter::hand_over() {
  const MutexLock lock(mutex_);
  waiting_.push_back(std::exchange(next_, {}));
  next_.reserve(kBatch);
  wake_.notify_one();
}

std::vector<ObjectRef> Adopter::finish() {
  if (!thread_) return {};
  hand_over();
  {
    const MutexLock lock(mutex_);
    last_ = true;
    wake_.notify_one();
  }
  thread_->join();
  thread_.reset();
  return std::exchange(refused_, {});
}

void Adopter::thread_main() {
  for (;;) {
    Batch batch;
    {
      const MutexLock lock(mutex_);
      while (waiting_.empty() && !last_) wake_.wait(mutex_);
      if (waiting_.empty()) return;
      batch = std::move(waiting_.front());
      waiting_.pop_front();
    }
    place(batch);
  }
}

// The places are on their way from memory before they are needed.
void Adopter::place(Batch& batch) {
  constexpr std::size_t kAhead = 16;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (i + kAhead < batch.size()) {
      const One& later = batch[i + kAhead];
      later.parent->folder->children.prefetch(later.child->key());
    }
    One& one = batch[i];
    const auto [at, fresh] = one.parent->folder->children.insert(one.child);
    if (!fresh) refused_.push_back(std::move(one.child));
  }
}

}  // namespace larder::store
