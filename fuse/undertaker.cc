// SPDX-License-Identifier: Apache-2.0
#include "undertaker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <larder/log.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <utility>

namespace larder::fuse {
namespace {

constexpr int kDeathSignal = SIGUSR2;

// Larder's end of the socket; -1: there is no undertaker.
int undertaker_fd = -1;
std::atomic<std::uint64_t> last_id{0};

// With the abort file, a connection comes; without, it goes.
struct Message {
  std::uint64_t id;
};

void send(std::uint64_t id, int abort_fd) {
  Message message{id};
  iovec part{&message, sizeof message};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr packet{};
  packet.msg_iov = &part;
  packet.msg_iovlen = 1;
  if (abort_fd >= 0) {
    packet.msg_control = control.data();
    packet.msg_controllen = control.size();
    cmsghdr* head = CMSG_FIRSTHDR(&packet);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof abort_fd);
    std::memcpy(CMSG_DATA(head), &abort_fd, sizeof abort_fd);
  }
  // Where it cannot be told, larder is as it was without one.
  static_cast<void>(::sendmsg(undertaker_fd, &packet, MSG_NOSIGNAL | MSG_DONTWAIT));
}

// -- the other process

using Connections = std::map<std::uint64_t, Fd>;

// False: larder has gone, descriptors and all.
bool receive(int socket, Connections& connections) {
  Message message{};
  iovec part{&message, sizeof message};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr packet{};
  packet.msg_iov = &part;
  packet.msg_iovlen = 1;
  packet.msg_control = control.data();
  packet.msg_controllen = control.size();
  const ssize_t n = ::recvmsg(socket, &packet, MSG_CMSG_CLOEXEC);
  if (n < 0 && errno == EINTR) return true;
  if (n != sizeof message) return false;
  const cmsghdr* head = CMSG_FIRSTHDR(&packet);
  if (head == nullptr || head->cmsg_type != SCM_RIGHTS) {
    connections.erase(message.id);
    return true;
  }
  int abort_fd = -1;
  std::memcpy(&abort_fd, CMSG_DATA(head), sizeof abort_fd);
  connections[message.id] = Fd(abort_fd);
  return true;
}

[[noreturn]] void attend(Fd socket, pid_t larder) {
  ::prctl(PR_SET_NAME, "undertaker");
  // What ends larder's group by its terminal or by its number does not end this one before.
  ::setpgid(0, 0);
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, nullptr);
  sigset_t death;
  ::sigemptyset(&death);
  ::sigaddset(&death, kDeathSignal);
  ::prctl(PR_SET_PDEATHSIG, kDeathSignal);
  // Nobody who waits for the end of larder's output waits for this one.
  const Fd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (int fd = 0; fd <= 2; ++fd) ::dup2(nothing.get(), fd);
  const int kept = ::dup2(socket.get(), 3);
  ::close_range(4, ~0U, 0);
  static_cast<void>(socket.release());
  if (::chdir("/") != 0) ::_exit(1);
  const Fd died(::signalfd(-1, &death, SFD_CLOEXEC));
  Connections connections;
  bool lives = true;
  while (lives && ::getppid() == larder) {
    std::array<pollfd, 2> waiting{pollfd{kept, POLLIN, 0}, pollfd{died.get(), POLLIN, 0}};
    if (::poll(waiting.data(), waiting.size(), -1) < 0) continue;
    if (waiting[0].revents != 0) lives = receive(kept, connections);
    if (waiting[1].revents != 0) {
      signalfd_siginfo signal{};
      static_cast<void>(!::read(died.get(), &signal, sizeof signal));
      // With a thread that hangs the process is still our parent.
      if (signal.ssi_pid == static_cast<std::uint32_t>(larder)) lives = false;
    }
  }
  // One that has ended is not there any more, and does not mind.
  for (const auto& [id, abort] : connections) static_cast<void>(!::write(abort.get(), "1", 1));
  ::_exit(0);
}

}  // namespace

void start_undertaker() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) return;
  const pid_t larder = ::getpid();
  Fd ours(ends[0]), theirs(ends[1]);
  const pid_t child = ::fork();
  if (child == 0) {
    ours.reset();
    attend(std::move(theirs), larder);
  }
  if (child > 0) undertaker_fd = ours.release();
}

Entrusted::Entrusted(const std::string& device) {
  const std::size_t colon = device.find(':');
  if (undertaker_fd < 0 || colon == std::string::npos) return;
  const std::string path =
      fmt::format("/sys/fs/fuse/connections/{}/abort", device.substr(colon + 1));
  const Fd abort(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!abort.valid()) {
    log(LogLevel::kDebug, "{}: {}", path, std::strerror(errno));
    return;
  }
  id_ = last_id.fetch_add(1) + 1;
  send(id_, abort.get());
}

Entrusted::~Entrusted() {
  if (id_ != 0) send(id_, -1);
}

Entrusted::Entrusted(Entrusted&& other) noexcept : id_(std::exchange(other.id_, 0)) {}

Entrusted& Entrusted::operator=(Entrusted&& other) noexcept {
  std::swap(id_, other.id_);
  return *this;
}

}  // namespace larder::fuse
