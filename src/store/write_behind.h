// SPDX-License-Identifier: Apache-2.0
// WriteBehind: has the system write out what fills left in its page cache while others still come,
// so that the flush of a commit finds most of it done: the device works while processors do.
//
// Only a hint. What it leaves undone the flush does, and an error of the device is heard by the
// flush. One is with the device at a time.
// Thread: any. Never blocks, except at its end, for the one that is under way.
#pragma once

#include <larder/io_engine.h>

#include <atomic>

#include "base/mutex.h"

namespace larder::store {

class WriteBehind {
 public:
  static constexpr std::size_t kEvery = 1u << 20;  // bytes

  WriteBehind(IoEngine& engine, int fd);
  ~WriteBehind();

  void wrote(std::size_t bytes);

 private:
  IoEngine& engine_;
  struct Request : IoRequest {
    WriteBehind* owner = nullptr;
  } request_;
  std::atomic<std::size_t> behind_{0};  // bytes since the last one
  Mutex mutex_{Rank::kLeaf};
  CondVar ended_;
  bool under_way_ GUARDED_BY(mutex_) = false;
};

}  // namespace larder::store
