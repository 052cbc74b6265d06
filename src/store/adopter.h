// SPDX-License-Identifier: Apache-2.0
// Adopter: while a large index is loaded, a second thread that puts the objects into their parents'
// tables, which fit in no cache: half of the time of opening, if the loading thread did it.
//
// Thread: add() and finish() are the loading thread's. Until finish() no other may touch the tables
// of children.
#pragma once

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "io/thread.h"
#include "store/object.h"

namespace larder::store {

class Adopter {
 public:
  Adopter();
  ~Adopter();
  Adopter(const Adopter&) = delete;
  Adopter& operator=(const Adopter&) = delete;

  // REQUIRES: the parent has a folder.
  void add(ObjectRef child, Object& parent);
  // Waits until all have their places. Those whose parents had another of that key.
  std::vector<ObjectRef> finish();

 private:
  static constexpr std::size_t kBatch = 4096;
  struct One {
    ObjectRef child;
    Object* parent;
  };
  using Batch = std::vector<One>;
  void thread_main();
  void place(Batch& batch);
  void hand_over();

  Batch next_;
  Mutex mutex_{Rank::kQueue};
  CondVar wake_;
  std::deque<Batch> waiting_ GUARDED_BY(mutex_);
  bool last_ GUARDED_BY(mutex_) = false;
  std::vector<ObjectRef> refused_;  // the thread's, until it has ended
  std::unique_ptr<Thread> thread_;
};

}  // namespace larder::store
