// SPDX-License-Identifier: Apache-2.0
// Reactor: one io_uring and the thread that owns it. Part of the IoEngine seam.
//
// A request thread has one, for FUSE and for the store alike: what comes from the kernel's FUSE and
// what comes from the disk wakes the same thread. So that liburing has one home, fuse/ submits its
// commands here in raw form.
//
//   P1 only the owner, the thread that called begin(), submits and reaps. Others post()
//   P2 a completion is owned by who submits it and lives until it is told; it may be submitted
//      again while it is told, and it may be freed
//   P3 reap first, call later: all that has completed is taken from the ring before the first is
//      told. What is submitted while telling goes to the kernel with the next turn()
#pragma once

#include <larder/clock.h>
#include <larder/result.h>
#include <larder/units.h>
#include <larder/work_queue.h>
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace larder {

// Who is told that a submission has completed. `result`: what the system call would have returned,
// or -errno. Called once per submission, on the owner's thread; must not block.
struct Completion {
  void (*done)(Completion& self, int result) = nullptr;
};

// A command for a driver (IORING_OP_URING_CMD, in its 128-byte form).
struct RingCommand {
  int fd = -1;
  std::uint32_t operation = 0;
  // Handed to the driver as address and length. REQUIRES: stays until the command has completed.
  std::span<const iovec> parts;
  std::array<std::byte, 80> body{};
};

class Reactor : public WorkQueue {
 public:
  ~Reactor() override = default;  // REQUIRES: the owner has left turn() for good

  // This thread owns the ring from here on. Errors: kSystem. REQUIRES: called once, before all of
  // the following.
  virtual Status begin() = 0;

  // The owner's:
  virtual void command(const RingCommand& command, Completion& completion) = 0;
  // Into `into`, as preadv2(2) with `flags`: the result may be short.
  virtual void read(int fd, ByteOffset offset, std::span<std::byte> into, int flags,
                    Completion& completion) = 0;
  // Submits what is prepared, waits until something has completed or was posted, and tells all that
  // has.
  virtual void turn() = 0;
  // The same, but waits no longer than that. False: nothing had come until then.
  virtual bool turn_for(Nanoseconds at_most_ns) = 0;
  // How many have completed and have not been told yet.
  virtual std::size_t waiting() const = 0;

  // From WorkQueue: `work` runs on the owner's thread, in turn(). Thread: any. What is posted after
  // the last turn() does not run.
  void post(Work& work) override = 0;
};

struct ReactorOptions {
  unsigned entries = 64;  // submissions between two turns, without an extra call to the kernel
  unsigned completions = 1024;  // that the ring itself has room for
};

// Any thread may open it, and another begin it. Complains where the kernel has no io_uring, or
// refuses it, or its entries have no 128-byte form.
SetUp<std::unique_ptr<Reactor>> open_reactor(const ReactorOptions& options);

// The reactor that this thread owns; null: none.
Reactor* current_reactor();

}  // namespace larder
