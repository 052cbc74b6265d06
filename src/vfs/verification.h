// SPDX-License-Identifier: Apache-2.0
// Verification: the stores of a host, read page by page and compared with their sums while they are
// in use. One at a time, on a thread of its own that lives for as long; at most kRate a second, so
// that nobody notices but the disk.
// Thread: any.
#pragma once

#include <larder/clock.h>
#include <larder/stats.h>
#include <larder/store.h>

#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "io/thread.h"

namespace larder {

class Verification {
 public:
  static constexpr ByteCount kRate{64u << 20};  // a second

  explicit Verification(const Clock& clock) : clock_(clock) {}
  ~Verification();  // REQUIRES: stop() was called

  // Nothing where one is under way.
  void start(std::vector<std::shared_ptr<store::Store>> stores);
  void stop();  // for good; waits for the thread
  void register_in(stats::Registry& registry);
  std::string to_text() const;

 private:
  void run(const std::vector<std::shared_ptr<store::Store>>& stores);
  bool goes_on(ByteCount done, ByteCount all);

  const Clock& clock_;
  stats::Counter runs_, running_, done_bytes_, all_bytes_;
  Mutex mutex_{Rank::kLeaf};
  CondVar wake_;
  std::unique_ptr<Thread> thread_ GUARDED_BY(mutex_);
  bool under_way_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
  // The thread's: bytes of the stores before this one.
  ByteCount before_;
  Nanoseconds began_ns_ = 0;
};

}  // namespace larder
