// SPDX-License-Identifier: Apache-2.0
#include "classic.h"

#include <fcntl.h>
#include <larder/log.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>

#include "courtesy.h"
#include "protocol.h"

namespace larder::fuse {
namespace {

// Does nothing: its arrival ends a read(2).
void wake_up(int) {}

}  // namespace

unsigned default_threads() { return std::clamp(2 * std::thread::hardware_concurrency(), 4u, 16u); }

ClassicTransport::ClassicTransport(const Options& options, TransportStats& stats)
    : options_(options),
      stats_(stats),
      pool_(options.parked_most, stats),
      places_(static_cast<unsigned>(CPU_COUNT(&allowed_processors()))) {
  struct sigaction action {};
  action.sa_handler = wake_up;  // without SA_RESTART
  ::sigaction(SIGUSR1, &action, nullptr);
}

ClassicTransport::~ClassicTransport() {
  check(threads_.empty(), "the transport is stopped before it goes");
}

Status ClassicTransport::start(unsigned threads) {
  const std::lock_guard lock(starting_);
  std::uint32_t session_fd = static_cast<std::uint32_t>(fuse_session_fd(options_.session));
  for (unsigned i = 0; i < threads && !stopping_.load(); ++i) {
    Fd clone(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
    if (!clone.valid() || ::ioctl(clone.get(), kDeviceClone, &session_fd) != 0) {
      // Shared by all: slower, and as right.
      clone.reset(::fcntl(fuse_session_fd(options_.session), F_DUPFD_CLOEXEC, 0));
    }
    if (!clone.valid()) return fail(ErrorCode::kSystem, errno);
    running_.fetch_add(1);
    threads_.emplace_back([this, fd = clone.get()] { run(fd); });
    clones_.push_back(std::move(clone));
  }
  return {};
}

void ClassicTransport::run(int device_fd) {
  pthread_setname_np(pthread_self(), "request");
  be_ordinary();  // where the kernel refused the rings, one of these started it
  sigset_t wake;
  sigemptyset(&wake);
  sigaddset(&wake, SIGUSR1);
  pthread_sigmask(SIG_UNBLOCK, &wake, nullptr);
  answer_fd() = device_fd;
  Reading& here = reading();
  here.reads = true;
  std::optional<Courtesy> courtesy;
  if (options_.wake_in_place && !tag_of_) courtesy.emplace(stats_);  // callers are the rings' there
  while (!stopping_.load() && here.place.enter(places_) && serve_one(device_fd)) {
    if (courtesy) courtesy->look();
  }
  here.place.leave();
  here.reads = false;
  here.request.reset();
  if (running_.fetch_sub(1) == 1) ::eventfd_write(options_.ended_fd, 1);
}

bool ClassicTransport::serve_one(int device_fd) {
  Reading& here = reading();
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
  const auto length = static_cast<std::size_t>(n);
  if (interrupts_nothing(raw.first(length))) return true;
  pool_.hand_to_libfuse(options_.session, here.request, device_fd, length);
  return true;
}

// Puts the tag into an INTERRUPT of a request that came over a ring. libfuse would have the kernel
// ask again for one that it does not know, and the kernel knows none of those here.
bool ClassicTransport::interrupts_nothing(std::span<std::byte> request) const {
  InHeader head{};
  std::uint64_t unique = 0;
  if (!tag_of_ || request.size() < sizeof head + sizeof unique) return false;
  std::memcpy(&head, request.data(), sizeof head);
  if (head.opcode != kInterruptOpcode) return false;
  std::memcpy(&unique, request.data() + sizeof head, sizeof unique);
  const std::uint64_t tag = tag_of_(unique);
  std::memcpy(request.data() + sizeof head, &tag, sizeof tag);
  return tag == 0;
}

void ClassicTransport::stop() {
  stopping_.store(true);
  places_.close();
  const std::lock_guard lock(starting_);
  // A signal that comes just before a read(2) is lost, so it is sent until the thread is gone.
  while (running_.load() != 0) {
    for (std::thread& thread : threads_) ::pthread_kill(thread.native_handle(), SIGUSR1);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace larder::fuse
