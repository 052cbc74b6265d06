// SPDX-License-Identifier: Apache-2.0
#include "classic.h"

#include <fcntl.h>
#include <larder/clock.h>
#include <larder/log.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

namespace larder::fuse {
namespace {

// Requests that wait for the share at once. Each holds a buffer, of which only what was touched is
// memory.
constexpr std::size_t kParkedMax = 4096;

// From <linux/fuse.h>; libfuse's headers do not have them.
constexpr unsigned long kDeviceClone = _IOR(229, 0, std::uint32_t);
constexpr std::uint32_t kInitOpcode = 26;
constexpr std::uint32_t kParallelDirops = 1u << 18;
constexpr std::size_t kInitOutFlags = 12;  // offset in fuse_init_out

struct InHeader {
  std::uint32_t length, opcode;
  std::uint64_t unique;
};
struct OutHeader {
  std::uint32_t length;
  std::int32_t error;
  std::uint64_t unique;
};
static_assert(sizeof(InHeader) == 16 && sizeof(OutHeader) == 16);

std::uint64_t init_unique = 0;  // set before INIT is answered, on the only thread there is then

// libfuse 3.14 wants PARALLEL_DIROPS and never says so: without it the kernel sends one look-up a
// directory at a time.
ssize_t answer_init(int fd, const iovec* parts) {
  std::array<std::byte, 256> init{};
  const std::size_t length = std::min(init.size(), parts[1].iov_len);
  std::memcpy(init.data(), parts[1].iov_base, length);
  std::uint32_t flags = 0;
  std::memcpy(&flags, init.data() + kInitOutFlags, sizeof flags);
  flags |= kParallelDirops;
  std::memcpy(init.data() + kInitOutFlags, &flags, sizeof flags);
  std::array<iovec, 2> patched{parts[0], iovec{init.data(), length}};
  return ::writev(fd, patched.data(), 2);
}

ssize_t write_answer(int session_fd, iovec* parts, int count, void*) {
  const int fd = answer_fd() >= 0 ? answer_fd() : session_fd;
  OutHeader header{};
  std::memcpy(&header, parts[0].iov_base, sizeof header);
  if (count == 2 && header.error == 0 && header.unique != 0 && header.unique == init_unique)
    return answer_init(fd, parts);
  return ::writev(fd, parts, count);
}

// We read the device ourselves; libfuse asks that there be one.
ssize_t read_nothing(int, void*, std::size_t, void*) {
  errno = ENOSYS;
  return -1;
}

// Does nothing: its arrival ends a read(2).
void wake_up(int) {}

}  // namespace

unsigned default_threads() { return std::clamp(2 * std::thread::hardware_concurrency(), 4u, 16u); }

ClassicTransport::ClassicTransport(fuse_session* session, unsigned threads, int ended_fd)
    : session_(session), thread_count_(threads), ended_fd_(ended_fd), pool_(kParkedMax) {
  struct sigaction action {};
  action.sa_handler = wake_up;  // without SA_RESTART
  ::sigaction(SIGUSR1, &action, nullptr);
  static const fuse_custom_io io{write_answer, read_nothing, nullptr, nullptr};
  fuse_session_custom_io(session_, &io, fuse_session_fd(session_));
}

ClassicTransport::~ClassicTransport() {
  check(threads_.empty(), "the transport is stopped before it goes");
}

Status ClassicTransport::serve_init() {
  const int fd = fuse_session_fd(session_);
  current().reads = true;
  current().request = pool_.take();
  const std::span<std::byte> raw = current().request->raw();
  ssize_t n = 0;
  do {
    n = ::read(fd, raw.data(), raw.size());
  } while (n < 0 && errno == EINTR);
  if (n < static_cast<ssize_t>(sizeof(InHeader)))
    return fail(ErrorCode::kSystem, n < 0 ? errno : EIO);
  InHeader header{};
  std::memcpy(&header, raw.data(), sizeof header);
  if (header.opcode != kInitOpcode) return fail(ErrorCode::kSystem, EPROTO);
  init_unique = header.unique;
  fuse_buf buffer{};
  buffer.mem = raw.data();
  buffer.size = static_cast<std::size_t>(n);
  fuse_session_process_buf(session_, &buffer);
  init_unique = 0;
  current().reads = false;
  pool_.give_back(std::move(current().request));
  return {};
}

Status ClassicTransport::start() {
  std::uint32_t session_fd = static_cast<std::uint32_t>(fuse_session_fd(session_));
  for (unsigned i = 0; i < thread_count_; ++i) {
    Fd clone(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
    if (!clone.valid() || ::ioctl(clone.get(), kDeviceClone, &session_fd) != 0) {
      // Shared by all: slower, and as right.
      clone.reset(::fcntl(fuse_session_fd(session_), F_DUPFD_CLOEXEC, 0));
    }
    if (!clone.valid()) return fail(ErrorCode::kSystem, errno);
    clones_.push_back(std::move(clone));
  }
  running_.store(thread_count_);
  for (const Fd& clone : clones_) threads_.emplace_back([this, fd = clone.get()] { run(fd); });
  return {};
}

void ClassicTransport::run(int device_fd) {
  pthread_setname_np(pthread_self(), "request");
  sigset_t wake;
  sigemptyset(&wake);
  sigaddset(&wake, SIGUSR1);
  pthread_sigmask(SIG_UNBLOCK, &wake, nullptr);
  answer_fd() = device_fd;
  current().reads = true;
  while (!stopping_.load() && serve_one(device_fd)) {
  }
  current().reads = false;
  current().request.reset();
  if (running_.fetch_sub(1) == 1) ::eventfd_write(ended_fd_, 1);
}

bool ClassicTransport::serve_one(int device_fd) {
  Current& here = current();
  if (!here.request) here.request = pool_.take();
  const std::span<std::byte> raw = here.request->raw();
  const ssize_t n = ::read(device_fd, raw.data(), raw.size());
  if (n < 0) {
    // ENOENT: the request was interrupted before anybody read it.
    if (errno == EINTR || errno == EAGAIN || errno == ENOENT) return true;
    if (errno != ENODEV)
      log(LogLevel::kError, "reading /dev/fuse failed: {}", std::strerror(errno));
    return false;
  }
  here.request->begin(device_fd);
  fuse_buf buffer{};
  buffer.mem = raw.data();
  buffer.size = static_cast<std::size_t>(n);
  fuse_session_process_buf(session_, &buffer);
  return true;
}

void ClassicTransport::stop() {
  stopping_.store(true);
  // A signal that comes just before a read(2) is lost, so it is sent until the thread is gone.
  while (running_.load() != 0) {
    for (std::thread& thread : threads_) ::pthread_kill(thread.native_handle(), SIGUSR1);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

bool ClassicTransport::wait_until_answered(Nanoseconds at_most_ns) {
  const Nanoseconds until_ns = system_clock().mono_ns() + at_most_ns;
  while (pool_.parked() != 0) {
    if (system_clock().mono_ns() >= until_ns) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace larder::fuse
