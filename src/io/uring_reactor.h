// SPDX-License-Identifier: Apache-2.0
// UringReactor: the Reactor on io_uring.
//
// The ring is made disabled and enabled by its owner, since it is made for one submitter
// (SINGLE_ISSUER), and completions are worked out only inside turn() (DEFER_TASKRUN): what the
// kernel has to do for a completion never interrupts a handler. Kernels without these flags get a
// plain ring.
//
// The ring always holds one read of an eventfd, by which post() wakes the owner. It is written only
// when the queue of what was posted was empty.
#pragma once

#include <larder/fd.h>
#include <larder/reactor.h>
#include <liburing.h>

#include <memory>
#include <vector>

#include "base/mutex.h"
#include "io/fifo.h"

namespace larder {

class UringReactor final : public Reactor {
 public:
  static SetUp<std::unique_ptr<Reactor>> open(const ReactorOptions& options);
  ~UringReactor() override;

  Status begin() override;
  void command(const RingCommand& command, Completion& completion) override;
  void read(int fd, ByteOffset offset, std::span<std::byte> into, int flags,
            Completion& completion) override;
  void turn() override;
  bool turn_for(Nanoseconds at_most_ns) override;
  std::size_t waiting() const override { return reaped_.size() - told_; }
  void post(Work& work) override;

 private:
  struct Reaped {
    Completion* completion;
    int result;
  };
  UringReactor() = default;
  int open_ring(const ReactorOptions& options);
  // A free entry, zeroed; submits what is prepared where there is none.
  io_uring_sqe* entry();
  void submitted(io_uring_sqe* sqe, Completion& completion);
  void arm_wake();
  void entered(int result);
  void tell();
  void reap();
  void run_posted();

  io_uring ring_{};
  bool open_ = false;
  bool disabled_ = false;  // until its owner begins
  Fd wake_;

  // The owner's.
  std::vector<Reaped> reaped_;
  std::size_t told_ = 0;  // of reaped_
  bool wake_armed_ = false;
  std::uint64_t wake_count_ = 0;

  Mutex mutex_{Rank::kQueue};
  Fifo<Work> posted_ GUARDED_BY(mutex_);
};

}  // namespace larder
