// SPDX-License-Identifier: Apache-2.0
#include "io/uring_reactor.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "io/detached_ring.h"
#include "io/tsan.h"

namespace larder {
namespace {

thread_local Reactor* owned_here = nullptr;

// What the kernel calls the 80 bytes of a command begins here in a 128-byte entry.
constexpr std::size_t kCommandOffset = 48;
constexpr std::size_t kEntryBytes = 128;

// liburing 2.3 has it in its header and not in its library.
int enable(int ring_fd) {
  return static_cast<int>(
      ::syscall(__NR_io_uring_register, ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0));
}

}  // namespace

Reactor* current_reactor() { return owned_here; }

SetUp<std::unique_ptr<Reactor>> open_reactor(const ReactorOptions& options) {
  return UringReactor::open(options);
}

SetUp<std::unique_ptr<Reactor>> UringReactor::open(const ReactorOptions& options) {
  std::unique_ptr<UringReactor> self(new UringReactor);
  if (const int e = self->open_ring(options); e < 0)
    return complain(ErrorCode::kNotSupported, fmt::format("io_uring_setup: {}", std::strerror(-e)),
                    -e);
  self->wake_ = Fd(::eventfd(0, EFD_CLOEXEC));
  if (!self->wake_.valid()) {
    const int e = errno;
    return complain(ErrorCode::kSystem, fmt::format("eventfd: {}", std::strerror(e)), e);
  }
  self->reaped_.reserve(options.completions);
  return std::unique_ptr<Reactor>(std::move(self));
}

int UringReactor::open_ring(const ReactorOptions& options) {
  constexpr unsigned kPlain =
      IORING_SETUP_SQE128 | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  constexpr unsigned kOneOwner =
      IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED;
  int result = -EINVAL;
  // From the best to what any kernel has that knows the 128-byte form.
  for (const bool detached : {true, false}) {
    for (const unsigned flags : {kPlain | kOneOwner, kPlain}) {
      io_uring_params params{};
      params.flags = flags;
      params.cq_entries = options.completions;
      result = detached ? open_detached_ring(options.entries, ring_, params)
                        : ::io_uring_queue_init_params(options.entries, &ring_, &params);
      if (result == -EINVAL) continue;
      open_ = result == 0;
      disabled_ = open_ && (flags & IORING_SETUP_R_DISABLED) != 0;
      return result;
    }
  }
  return result;
}

UringReactor::~UringReactor() {
  if (owned_here == this) owned_here = nullptr;
  if (open_) ::io_uring_queue_exit(&ring_);
}

Status UringReactor::begin() {
  if (disabled_ && enable(ring_.ring_fd) < 0) return fail(ErrorCode::kSystem, errno);
  disabled_ = false;
  // Saves a look-up of the descriptor per call; only the owner may use it, and only the owner does.
  ::io_uring_register_ring_fd(&ring_);
  owned_here = this;
  return {};
}

io_uring_sqe* UringReactor::entry() {
  io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
  while (sqe == nullptr) {
    const int result = ::io_uring_submit(&ring_);
    check(result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY,
          "the ring takes submissions");
    sqe = ::io_uring_get_sqe(&ring_);
  }
  return sqe;
}

void UringReactor::submitted(io_uring_sqe* sqe, Completion& completion) {
  ::io_uring_sqe_set_data(sqe, &completion);
  submit_annotation(&completion);
}

void UringReactor::command(const RingCommand& command, Completion& completion) {
  io_uring_sqe* sqe = entry();
  std::memset(static_cast<void*>(sqe), 0, kEntryBytes);
  ::io_uring_prep_rw(IORING_OP_URING_CMD, sqe, command.fd, command.parts.data(),
                     static_cast<unsigned>(command.parts.size()), 0);
  sqe->cmd_op = command.operation;
  std::memcpy(reinterpret_cast<std::byte*>(sqe) + kCommandOffset, command.body.data(),
              command.body.size());
  submitted(sqe, completion);
}

void UringReactor::read(int fd, ByteOffset offset, std::span<std::byte> into, int flags,
                        Completion& completion) {
  io_uring_sqe* sqe = entry();
  ::io_uring_prep_read(sqe, fd, into.data(), static_cast<unsigned>(into.size()), offset.value());
  sqe->rw_flags = flags;
  submitted(sqe, completion);
}

void UringReactor::arm_wake() {
  if (wake_armed_) return;
  io_uring_sqe* sqe = entry();
  ::io_uring_prep_read(sqe, wake_.get(), &wake_count_, sizeof wake_count_, 0);
  ::io_uring_sqe_set_data(sqe, &wake_count_);
  wake_armed_ = true;
}

void UringReactor::turn() {
  check(owned_here == this, "a reactor is turned by its owner");
  arm_wake();
  entered(::io_uring_submit_and_wait(&ring_, 1));
  tell();
}

bool UringReactor::turn_for(Nanoseconds at_most_ns) {
  check(owned_here == this, "a reactor is turned by its owner");
  arm_wake();
  io_uring_cqe* first = nullptr;
  __kernel_timespec at_most{at_most_ns / kSecond, at_most_ns % kSecond};
  const int result = ::io_uring_submit_and_wait_timeout(&ring_, &first, 1, &at_most, nullptr);
  if (result != -ETIME) entered(result);
  const bool came = ::io_uring_cq_ready(&ring_) != 0;
  tell();
  return came;
}

void UringReactor::entered(int result) {
  if (result >= 0 || result == -EINTR) return;
  // The kernel is short of memory for the moment; what was prepared stays prepared.
  check(result == -EAGAIN || result == -EBUSY || result == -ENOMEM, "the ring can be entered");
  ::sched_yield();
}

void UringReactor::tell() {
  reap();
  // By index and a copy: who is told may submit, and may be freed.
  for (told_ = 0; told_ < reaped_.size();) {
    const Reaped one = reaped_[told_++];
    one.completion->done(*one.completion, one.result);
  }
  reaped_.clear();
  told_ = 0;
}

void UringReactor::reap() {
  io_uring_cqe* cqe = nullptr;
  bool woken = false;
  while (::io_uring_peek_cqe(&ring_, &cqe) == 0) {
    void* const whose = ::io_uring_cqe_get_data(cqe);
    const int result = cqe->res;
    ::io_uring_cqe_seen(&ring_, cqe);
    if (whose == &wake_count_) {
      woken = true;
      continue;
    }
    complete_annotation(whose);
    reaped_.push_back({static_cast<Completion*>(whose), result});
  }
  if (!woken) return;
  wake_armed_ = false;
  run_posted();
}

void UringReactor::run_posted() {
  Fifo<Work> works;
  {
    const MutexLock lock(mutex_);
    works.take(posted_);
  }
  while (Work* work = works.pop()) work->run(*work);
}

void UringReactor::post(Work& work) {
  const MutexLock lock(mutex_);
  const bool wake = posted_.empty();
  posted_.push(work);
  // Under the lock, so that the reactor cannot end between the two.
  if (wake) ::eventfd_write(wake_.get(), 1);
}

}  // namespace larder
