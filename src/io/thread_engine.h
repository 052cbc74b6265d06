// SPDX-License-Identifier: Apache-2.0
// ThreadEngine: the IoEngine for where io_uring is forbidden. A few threads of a pool, each doing
// whole transfers with pread, pwrite and fdatasync; as many requests are at the device as there are
// threads.
//
// Requests wait in one FIFO. A lane is one thread's worth of work on it: it runs until the FIFO is
// empty and is posted to the pool again by the submit() that finds it idle. `done` runs on the
// lane's thread.
#pragma once

#include <larder/io_engine.h>
#include <larder/work_queue.h>

#include <cstddef>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "io/fifo.h"
#include "io/thread_pool.h"
#include "io/transfer.h"

namespace larder {

struct ThreadEngineOptions {
  unsigned threads = 4;
  std::size_t max_transfer_bytes = kMaxTransfer;  // of one system call
};

class ThreadEngine final : public IoEngine {
 public:
  explicit ThreadEngine(const ThreadEngineOptions& options);
  ~ThreadEngine() override;  // whatever was submitted is done first

  void submit(IoRequest& request) override;
  Status read_now(int fd, ByteOffset offset, std::span<std::byte> into, ReadMode mode) override;
  bool reads_on_this_ring() const override { return current_reactor() != nullptr; }
  Result<bool> read_at_once(int fd, ByteOffset offset, std::span<std::byte> into,
                            ReadMode mode) override;
  std::string name() const override { return "threads"; }

 private:
  struct Lane : Work {
    ThreadEngine* engine = nullptr;
  };
  void run_lane(Lane& lane);
  Status carry_out(const IoRequest& request) const;

  const ThreadEngineOptions options_;
  Mutex mutex_{Rank::kQueue};
  Fifo<IoRequest> requests_ GUARDED_BY(mutex_);
  Fifo<Work> idle_ GUARDED_BY(mutex_);
  std::vector<Lane> lanes_;
  ThreadPool pool_;  // last: its threads use the rest
};

}  // namespace larder
