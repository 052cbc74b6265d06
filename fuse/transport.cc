// SPDX-License-Identifier: Apache-2.0
#include "transport.h"

#include <fmt/format.h>
#include <larder/clock.h>
#include <larder/log.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

#include "ops.h"

namespace larder::fuse {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr const char* kSwitch = "/sys/module/fuse/parameters/enable_uring";

ssize_t write_answer(int, iovec* parts, int count, void* userdata) {
  return static_cast<Served*>(userdata)->transport->write(parts, count);
}

// We read the device ourselves; libfuse asks that there be one.
ssize_t read_nothing(int, void*, std::size_t, void*) {
  errno = ENOSYS;
  return -1;
}

// Into the answer to an open, at its end.
void name_backing(BackingId backing, const iovec& answer) {
  if (answer.iov_len < sizeof(OpenOut)) return;
  std::byte* const at = static_cast<std::byte*>(answer.iov_base) + answer.iov_len - sizeof(OpenOut);
  OpenOut out{};
  std::memcpy(&out, at, sizeof out);
  out.flags |= kOpenPassThrough;
  out.backing = static_cast<std::int32_t>(backing.value());
  std::memcpy(at, &out, sizeof out);
}

ByteCount memory_of(const MountOptions& options) {
  if (options.transport_memory.value() != 0) return options.transport_memory;
  const auto pages = static_cast<std::uint64_t>(std::max(::sysconf(_SC_PHYS_PAGES), 0L));
  return ByteCount{std::clamp(pages * kPageSize / 8, 64 * kMiB, 1024 * kMiB)};
}

// Why the kernel does not offer it, and what would help.
std::string why_not_offered() {
  if (std::ifstream(kSwitch).good())
    return fmt::format(
        "the kernel's FUSE over io_uring is off: as root, `echo Y > {}` and mount "
        "again; `options fuse enable_uring=1` in /etc/modprobe.d keeps it on",
        kSwitch);
  return "this kernel has no FUSE over io_uring; Linux 6.14 or later, built with "
         "CONFIG_FUSE_IO_URING, has";
}

}  // namespace

Transport::Transport(fuse_session* session, const MountOptions& options, Mount& mount, int ended_fd)
    : session_(session),
      options_(options),
      mount_(mount),
      memory_(memory_of(options)),
      classic_(
          {session, ended_fd, memory_.value() / ClassicRequest::kMemory, options.wake_in_place},
          mount.transport_stats()) {
  static const fuse_custom_io io = [] {
    fuse_custom_io hooks{};
    hooks.writev = write_answer;
    hooks.read = read_nothing;
    return hooks;
  }();
  fuse_session_custom_io(session_, &io, fuse_session_fd(session_));
  mount_.set_pass_through(backing_files_);
}

Transport::~Transport() = default;

unsigned Transport::classic_threads() const {
  return options_.threads != 0 ? options_.threads : default_threads();
}

void Transport::name(std::string name, std::string note) {
  note_ =
      fmt::format("requests come over {}: {}", name == "uring" ? "io_uring" : "/dev/fuse", note);
  mount_.set_transport(std::move(name));
}

Status Transport::start() {
  if (const Status served = serve_init(); !served) return served;
  // One stays for what never comes over a ring.
  if (rings_)
    classic_.find_tags_by([this](std::uint64_t unique) { return rings_->tag_of(unique); });
  const Status started = classic_.start(rings_ ? 1 : classic_threads());
  if (started && rings_) rings_->start([this](int sys_errno) { fall_back(sys_errno); });
  return started;
}

Status Transport::serve_init() {
  const int fd = fuse_session_fd(session_);
  AlignedBuffer buffer(ClassicRequest::kMemory);
  ssize_t n = 0;
  do {
    n = ::read(fd, buffer.data(), buffer.size());
  } while (n < 0 && errno == EINTR);
  if (n < static_cast<ssize_t>(sizeof(InHeader)))
    return fail(ErrorCode::kSystem, n < 0 ? errno : EIO);
  const std::span<const std::byte> request = buffer.span().first(static_cast<std::size_t>(n));
  InHeader head{};
  std::memcpy(&head, request.data(), sizeof head);
  if (head.opcode != kInitOpcode) return fail(ErrorCode::kSystem, EPROTO);
  offer_ = read_init(request);
  init_pending_ = true;
  fuse_buf whole{};
  whole.mem = buffer.data();
  whole.size = request.size();
  fuse_session_process_buf(session_, &whole);
  if (init_pending_ || init_errno_ != 0)
    return fail(ErrorCode::kSystem, init_errno_ != 0 ? init_errno_ : EPROTO);
  return {};
}

ssize_t Transport::write(const iovec* parts, int count) {
  OutHeader head{};
  std::memcpy(&head, parts[0].iov_base, sizeof head);
  if (answer_backing() != kNoBacking && count == 2) name_backing(answer_backing(), parts[1]);
  if (RingTag::is_tag(head.unique) && rings_) {
    rings_->answer(head.unique, parts, count);
    return static_cast<ssize_t>(head.length);
  }
  if (init_pending_ && head.unique == offer_.unique) {
    init_pending_ = false;
    if (head.error == 0 && count == 2) return answer_init(parts);
  }
  return ::writev(answer_fd() >= 0 ? answer_fd() : fuse_session_fd(session_), parts, count);
}

// All that can fail is done before the answer is written: behind it, requests wait for the rings.
ssize_t Transport::answer_init(const iovec* parts) {
  choose(offer_);
  // libfuse 3.14 wants PARALLEL_DIROPS and never says so: without it the kernel sends one look-up a
  // directory at a time.
  InitAmendment amendment;
  if (options_.kernel.parallel_dirops) amendment.flags = offer_.flags & kParallelDirops;
  if (rings_) {
    amendment.flags |= kOverRing;
    amendment.max_bytes = static_cast<std::uint32_t>(rings_->layout().payload_bytes);
  }
  const bool pass_through = wants_pass_through(options_) && (offer_.flags & kPassThrough) != 0;
  if (pass_through) {
    amendment.flags |= kPassThrough;
    amendment.stack_depth = BackingFiles::kStackDepth;
  }
  const auto* answer = static_cast<const std::byte*>(parts[1].iov_base);
  InitOut out = amend({answer, parts[1].iov_len}, amendment);
  OutHeader head{};
  std::memcpy(&head, parts[0].iov_base, sizeof head);
  head.length = sizeof head + sizeof out;
  const std::array<iovec, 2> amended{iovec{&head, sizeof head}, iovec{&out, sizeof out}};
  const ssize_t written = ::writev(fuse_session_fd(session_), amended.data(), amended.size());
  if (written < 0) init_errno_ = errno;
  if (written >= 0 && pass_through) backing_files_->start(fuse_session_fd(session_));
  return written;
}

void Transport::choose(const InitOffer& offer) {
  if (options_.transport == TransportChoice::kClassic) return name("classic", "as asked");
  std::string reason;
  if ((offer.flags & kOverRing) == 0) {
    reason = why_not_offered();
  } else {
    auto rings =
        Rings::prepare({session_, memory_, options_.wake_in_place}, mount_.transport_stats());
    if (rings) {
      rings_ = std::move(*rings);
      return name("uring",
                  fmt::format("{} rings, {} entries of {} KiB each", rings_->ring_count(),
                              rings_->layout().depth, rings_->layout().payload_bytes >> 10));
    }
    reason = rings.error().line;
  }
  if (options_.transport == TransportChoice::kUring)
    log(LogLevel::kWarn, "transport=uring cannot be had: {}", reason);
  name("classic", reason);
}

// The kernel takes no entry, and sends everything over /dev/fuse by itself from here on.
void Transport::fall_back(int sys_errno) {
  log(LogLevel::kWarn,
      "the kernel does not take the rings ({}); requests come over /dev/fuse: `dmesg | grep fuse` "
      "may say why",
      std::strerror(sys_errno));
  mount_.set_transport("classic");
  if (const Status started = classic_.start(classic_threads()); !started)
    log(LogLevel::kError, "threads for /dev/fuse: {}", to_text(started.error()));
}

void Transport::stop() {
  if (rings_) rings_->refuse();
  classic_.stop();
  backing_files_->stop();
}

bool Transport::wait_until_answered(Nanoseconds at_most_ns) {
  const Nanoseconds until_ns = system_clock().mono_ns() + at_most_ns;
  while (classic_.parked() != 0 || (rings_ && rings_->parked() != 0)) {
    if (system_clock().mono_ns() >= until_ns) {
      // Who is answered late must find its entry: it goes with the process.
      (void)rings_.release();
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (rings_) rings_->join();
  return true;
}

}  // namespace larder::fuse
