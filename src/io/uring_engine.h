// SPDX-License-Identifier: Apache-2.0
// UringEngine: the IoEngine on io_uring. One ring, one thread that owns it; nobody else touches it.
// What the kernel would pass on to a thread in any case goes to one of ours at once: writes and
// flushes of a file in the page cache never complete in io_uring_enter(2), so on the ring they
// would be two hand-offs (docs/decisions/0032-writes-leave-the-ring.md).
//
//   U1 only the owner thread submits and reaps. The kernel ties a request to the task that
//      submitted it and cancels it when that task ends, so request threads must not submit
//      themselves
//   U2 submit() puts the request into a locked FIFO; the eventfd is written when the FIFO was empty
//      and the owner may be asleep. The ring always holds one read of that eventfd
//   U3 at most `depth` requests are at the device; the rest wait in the owner's own FIFO. So
//      neither the submission nor the completion queue can ever be full
//   U4 reap first, call later: all completions are taken from the ring before the first `done`
//      runs, so a `done` that submits or reuses its request cannot disturb the reaping, and nothing
//      recurses
//   U5 a read is in exactly one place: the locked FIFO, the owner's FIFO, the device, or the
//      list of those that are told. A short transfer goes back to the head of the owner's FIFO with
//      `moved` grown
//   U6 the owner ends when the destructor has begun, all four places are empty and the read of the
//      eventfd has come back; then the kernel knows no address of ours any more
//
// A flush covers what was done (told) before it was submitted, as fdatasync(2) does; it does not
// wait for requests that are still out.
#pragma once

#include <larder/fd.h>
#include <larder/io_engine.h>
#include <liburing.h>

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "io/fifo.h"
#include "io/thread.h"
#include "io/thread_engine.h"
#include "io/transfer.h"

namespace larder {

struct UringEngineOptions {
  unsigned depth = 64;
  unsigned writers = 3;  // one writes, one flushes, one has the system begin to write out
  std::size_t max_transfer_bytes = kMaxTransfer;  // of one submission
};

class UringEngine final : public IoEngine {
 public:
  // Complains where the kernel has no io_uring or refuses it; the line says what to do. It proves
  // by a first round trip that the ring works: some containers let it be made but not be entered.
  static SetUp<std::unique_ptr<UringEngine>> open(const UringEngineOptions& options);
  // Whatever was submitted is done first. REQUIRES: no `done` submits any more.
  ~UringEngine() override;

  void submit(IoRequest& request) override;
  Status read_now(int fd, ByteOffset offset, std::span<std::byte> into, ReadMode mode) override;
  bool reads_on_this_ring() const override { return current_reactor() != nullptr; }
  Result<bool> read_at_once(int fd, ByteOffset offset, std::span<std::byte> into,
                            ReadMode mode) override;
  std::string name() const override { return "io_uring"; }

 private:
  // Closes the ring at the end of its life.
  class Ring {
   public:
    Ring() = default;
    ~Ring();
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    int open(unsigned entries);  // 0 or -errno
    io_uring* get() { return &ring_; }

   private:
    io_uring ring_{};
    bool open_ = false;
  };
  struct Told {
    IoRequest* request;
    Status status;
  };

  UringEngine(const UringEngineOptions& options, std::unique_ptr<Ring> ring, Fd wake);
  static int round_trip(io_uring* ring);

  // The owner thread's.
  void run_owner();
  void arm_wake();
  void feed();
  void start(IoRequest& request);
  void reap();
  void settle(IoRequest& request, int result);
  void tell();
  void enter();
  bool finished() const;

  const UringEngineOptions options_;
  const Fd wake_;
  Mutex mutex_{Rank::kQueue};
  Fifo<IoRequest> incoming_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;

  // The owner thread's alone.
  std::unique_ptr<Ring> ring_;
  Fifo<IoRequest> backlog_;
  std::vector<Told> told_;
  unsigned at_device_ = 0;
  bool wake_armed_ = false;       // a read of the eventfd is in the ring
  bool ending_ = false;           // the destructor has begun
  std::uint64_t wake_count_ = 0;  // the eventfd is read into it

  std::unique_ptr<Thread> owner_;
  std::unique_ptr<ThreadEngine> writers_;
};

}  // namespace larder
