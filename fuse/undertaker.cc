// SPDX-License-Identifier: Apache-2.0
#include "undertaker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <larder/local_socket.h>
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
#include <mutex>
#include <optional>
#include <utility>

namespace larder::fuse {
namespace {

constexpr int kDeathSignal = SIGUSR2;

// Larder's end of the socket; null: there is no undertaker. Nobody waits for a packet to be taken.
LocalSocket* undertaker = nullptr;
std::mutex undertaker_mutex;
std::atomic<std::uint64_t> last_id{0};

// A packet is the number of a connection. With its abort file it comes; without, it goes.
void tell(std::uint64_t id, int abort_fd) {
  const std::lock_guard lock(undertaker_mutex);
  // Where it cannot be told, larder is as it was without one.
  static_cast<void>(undertaker->send(std::to_string(id), abort_fd));
}

// -- the other process

using Connections = std::map<std::string, Fd>;  // by their numbers

// False: larder has gone, descriptors and all.
bool receive(LocalSocket& larder, Connections& connections) {
  Result<std::optional<Packet>> packet = larder.receive();
  if (!packet || !*packet) return false;
  if ((*packet)->fd.valid())
    connections[(*packet)->text] = std::move((*packet)->fd);
  else
    connections.erase((*packet)->text);
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
  LocalSocket to_larder{Fd(::dup2(socket.get(), 3))};
  ::close_range(4, ~0U, 0);
  static_cast<void>(socket.release());
  if (::chdir("/") != 0) ::_exit(1);
  const Fd died(::signalfd(-1, &death, SFD_CLOEXEC));
  Connections connections;
  bool lives = true;
  while (lives && ::getppid() == larder) {
    std::array<pollfd, 2> waiting{pollfd{to_larder.fd(), POLLIN, 0}, pollfd{died.get(), POLLIN, 0}};
    if (::poll(waiting.data(), waiting.size(), -1) < 0) continue;
    if (waiting[0].revents != 0) lives = receive(to_larder, connections);
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
  if (child < 0) return;
  undertaker = new LocalSocket(std::move(ours));  // for as long as the process
  undertaker->set_patience(kMillisecond);
}

Entrusted::Entrusted(const std::string& device) {
  const std::size_t colon = device.find(':');
  if (undertaker == nullptr || colon == std::string::npos) return;
  const std::string path =
      fmt::format("/sys/fs/fuse/connections/{}/abort", device.substr(colon + 1));
  const Fd abort(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!abort.valid()) {
    log(LogLevel::kDebug, "{}: {}", path, std::strerror(errno));
    return;
  }
  id_ = last_id.fetch_add(1) + 1;
  tell(id_, abort.get());
}

Entrusted::~Entrusted() {
  if (id_ != 0) tell(id_, -1);
}

Entrusted::Entrusted(Entrusted&& other) noexcept : id_(std::exchange(other.id_, 0)) {}

Entrusted& Entrusted::operator=(Entrusted&& other) noexcept {
  std::swap(id_, other.id_);
  return *this;
}

}  // namespace larder::fuse
