// SPDX-License-Identifier: Apache-2.0
// ThreadEngine: the IoEngine for where io_uring is forbidden. A few threads of a pool, each doing
// whole transfers with pread, pwrite and fdatasync; as many requests are at the device as there are
// threads.
//
// A lane is one thread's worth of work: it runs until nothing waits and is posted to the pool again
// by the submit() that finds it idle. `done` runs on the lane's thread.
//
// Writes wait in a FIFO of their own, and one lane writes at a time: more of them would wait for
// the file's lock in the kernel. Writes that waited behind one another and lie side by side in the
// file are one call; where that fails each is written alone, so that an error is told to whom it
// concerns.
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
    bool writes = false;  // it is the one
  };
  void run_lane(Lane& lane);
  // What the lane does next: one request, or writes for one call. Empty: it is idle now.
  Fifo<IoRequest> next_for(Lane& lane);
  void take_adjacent_writes_locked(Fifo<IoRequest>& into) REQUIRES(mutex_);
  void write(Fifo<IoRequest> requests) const;
  Status carry_out(const IoRequest& request) const;

  const ThreadEngineOptions options_;
  const std::size_t most_together_;  // bytes of writes in one call
  Mutex mutex_{Rank::kQueue};
  Fifo<IoRequest> writes_ GUARDED_BY(mutex_);
  bool writing_ GUARDED_BY(mutex_) = false;      // a lane is, or is on its way to
  Fifo<IoRequest> requests_ GUARDED_BY(mutex_);  // all others
  Fifo<Work> idle_ GUARDED_BY(mutex_);
  std::vector<Lane> lanes_;
  ThreadPool pool_;  // last: its threads use the rest
};

}  // namespace larder
