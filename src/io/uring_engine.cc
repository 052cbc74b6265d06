// SPDX-License-Identifier: Apache-2.0
#include "io/uring_engine.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "io/ring_read.h"
#include "io/tsan.h"

namespace larder {
namespace {

// What a user can do about it.
const char* advice_for(int error) {
  switch (error) {
    case EPERM:
    case EACCES:
      return "; a container's seccomp profile or the sysctl kernel.io_uring_disabled forbids it: "
             "allow it there, or use engine=threads";
    case ENOSYS:
      return "; this kernel has none, or a seccomp profile hides it: use engine=threads";
    case ENOMEM:
      return "; raise the limit of locked memory (ulimit -l), or use engine=threads";
    case EMFILE:
    case ENFILE:
      return "; raise the limit of open files (ulimit -n)";
    default:
      return "; use engine=threads";
  }
}

tl::unexpected<Complaint> refuse(const char* call, int error) {
  return complain(ErrorCode::kNotSupported,
                  fmt::format("{}: {}{}", call, std::strerror(error), advice_for(error)), error);
}

}  // namespace

UringEngine::Ring::~Ring() {
  if (open_) ::io_uring_queue_exit(&ring_);
}

int UringEngine::Ring::open(unsigned entries) {
  const int result = ::io_uring_queue_init(entries, &ring_, IORING_SETUP_CLAMP);
  open_ = result == 0;
  return result;
}

int UringEngine::round_trip(io_uring* ring) {
  ::io_uring_prep_nop(::io_uring_get_sqe(ring));
  int result;
  do {
    result = ::io_uring_submit_and_wait(ring, 1);
  } while (result == -EINTR);
  if (result < 0) return result;
  io_uring_cqe* cqe = nullptr;
  result = ::io_uring_wait_cqe(ring, &cqe);
  if (result < 0) return result;
  result = cqe->res;
  ::io_uring_cqe_seen(ring, cqe);
  return result;
}

SetUp<std::unique_ptr<UringEngine>> UringEngine::open(const UringEngineOptions& options) {
  check(options.depth > 0 && options.max_transfer_bytes > 0, "an engine has room for a request");
  auto ring = std::make_unique<Ring>();
  if (const int e = ring->open(options.depth + 1); e < 0) return refuse("io_uring_setup", -e);
  if (const int e = round_trip(ring->get()); e < 0) return refuse("io_uring_enter", -e);
  Fd wake(::eventfd(0, EFD_CLOEXEC));
  if (wake.get() < 0) return refuse("eventfd", errno);
  UringEngineOptions fitted = options;
  fitted.depth = std::min(options.depth, ring->get()->sq.ring_entries - 1);
  return std::unique_ptr<UringEngine>(new UringEngine(fitted, std::move(ring), std::move(wake)));
}

UringEngine::UringEngine(const UringEngineOptions& options, std::unique_ptr<Ring> ring, Fd wake)
    : options_(options), wake_(std::move(wake)), ring_(std::move(ring)) {
  told_.reserve(options_.depth + 1);
  writers_ = std::make_unique<ThreadEngine>(ThreadEngineOptions{
      .threads = options.writers, .max_transfer_bytes = options.max_transfer_bytes});
  owner_ = std::make_unique<Thread>("io_uring", [this] { run_owner(); });
}

UringEngine::~UringEngine() {
  writers_.reset();
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    ::eventfd_write(wake_.get(), 1);
  }
  owner_->join();
}

void UringEngine::submit(IoRequest& request) {
  check(request.done != nullptr, "a request has someone to tell");
  if (request.kind != IoRequest::Kind::kRead) return writers_->submit(request);
  request.moved = 0;
  if (reads_on_this_ring()) return read_on_this_ring(request);
  const MutexLock lock(mutex_);
  const bool wake = incoming_.empty();
  incoming_.push(request);
  // Under the lock, so that the engine cannot end between the two. The owner itself is awake.
  if (wake && !owner_->is_current()) ::eventfd_write(wake_.get(), 1);
}

Status UringEngine::read_now(int fd, ByteOffset offset, std::span<std::byte> into, ReadMode mode) {
  return read_all(fd, offset, into, kMaxTransfer, mode);
}

Result<bool> UringEngine::read_at_once(int fd, ByteOffset offset, std::span<std::byte> into,
                                       ReadMode mode) {
  return read_cached(fd, offset, into, mode);
}

void UringEngine::run_owner() {
  for (;;) {
    feed();
    if (told_.empty()) {
      if (finished()) return;
      arm_wake();
      enter();
      reap();
    }
    tell();
  }
}

void UringEngine::arm_wake() {
  // At the end the eventfd has been written for the last time: a read armed now would never
  // complete.
  if (wake_armed_ || ending_) return;
  io_uring_sqe* sqe = ::io_uring_get_sqe(ring_->get());
  check(sqe != nullptr, "the ring has an entry for the eventfd");
  ::io_uring_prep_read(sqe, wake_.get(), &wake_count_, sizeof wake_count_, 0);
  ::io_uring_sqe_set_data(sqe, &wake_count_);
  wake_armed_ = true;
}

// Brings the device up to its depth.
void UringEngine::feed() {
  {
    const MutexLock lock(mutex_);
    backlog_.take(incoming_);
    ending_ = stopping_;
  }
  while (at_device_ < options_.depth) {
    IoRequest* request = backlog_.pop();
    if (request == nullptr) return;
    start(*request);
  }
}

void UringEngine::start(IoRequest& request) {
  if (request.moved == request.length) {  // asked for nothing
    told_.push_back({&request, Status{}});
    return;
  }
  io_uring_sqe* sqe = ::io_uring_get_sqe(ring_->get());
  check(sqe != nullptr, "the ring has an entry for each request at the device");
  const auto length =
      static_cast<unsigned>(std::min(request.length - request.moved, options_.max_transfer_bytes));
  ::io_uring_prep_read(sqe, request.fd, request.data + request.moved, length,
                       request.offset.value() + request.moved);
  sqe->rw_flags = flags_of(request.mode);
  ::io_uring_sqe_set_data(sqe, &request);
  submit_annotation(&request);
  ++at_device_;
}

// Submits what is prepared and sleeps until something completes.
void UringEngine::enter() {
  const int result = ::io_uring_submit_and_wait(ring_->get(), 1);
  if (result >= 0 || result == -EINTR) return;
  // The kernel is short of memory for the moment; what was prepared stays prepared for the next
  // round.
  check(result == -EAGAIN || result == -EBUSY || result == -ENOMEM, "the ring can be entered");
  ::sched_yield();
}

void UringEngine::reap() {
  io_uring_cqe* cqe = nullptr;
  while (::io_uring_peek_cqe(ring_->get(), &cqe) == 0) {
    void* const whose = ::io_uring_cqe_get_data(cqe);
    const int result = cqe->res;
    ::io_uring_cqe_seen(ring_->get(), cqe);
    if (whose == &wake_count_) {
      wake_armed_ = false;
      continue;
    }
    --at_device_;
    complete_annotation(whose);
    settle(*static_cast<IoRequest*>(whose), result);
  }
}

void UringEngine::settle(IoRequest& request, int result) {
  if (result == -EINTR || result == -EAGAIN) {
    backlog_.push_front(request);
    return;
  }
  if (result < 0) {
    if (forget_unknown_mode(-result, request.mode)) {
      backlog_.push_front(request);
      return;
    }
    told_.push_back({&request, fail(ErrorCode::kStoreIo, -result)});
    return;
  }
  if (result == 0) {  // the end of the file
    told_.push_back({&request, fail(ErrorCode::kStoreIo, EIO)});
    return;
  }
  request.moved += static_cast<std::size_t>(result);
  if (request.moved < request.length) {
    backlog_.push_front(request);
  } else {
    told_.push_back({&request, Status{}});
  }
}

void UringEngine::tell() {
  // By index and a copy: `done` may free or reuse the request, and may submit (which lands in
  // incoming_).
  for (std::size_t i = 0; i < told_.size(); ++i) {
    const Told told = told_[i];
    told.request->done(*told.request, told.status);
  }
  told_.clear();
}

// After feed(), nothing at the device means that nothing waits. The read of the eventfd must be
// back too, for the kernel writes to our memory with it; the destructor's write brings it.
bool UringEngine::finished() const { return ending_ && at_device_ == 0 && !wake_armed_; }

}  // namespace larder
