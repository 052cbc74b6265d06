// SPDX-License-Identifier: Apache-2.0
#include "bench/janitor.h"

#include <fmt/format.h>
#include <larder/clock.h>
#include <larder/fd.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include <larder/mount_table.h>

namespace larder::bench {
namespace {

namespace fs = std::filesystem;

constexpr int kPatience_ms = 10'000;
constexpr int kStep_ms = 20;

sigset_t ending_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) sigaddset(&signals, signal);
  return signals;
}

// Waits for the worker; a signal for us is handed on to it, the second one as SIGKILL.
int exit_code_of(pid_t worker, const Fd& signals) {
  const Fd watch{static_cast<int>(::syscall(SYS_pidfd_open, worker, 0))};
  int handed_on = 0;
  for (;;) {
    std::array<pollfd, 2> awaited{pollfd{watch.get(), POLLIN, 0}, pollfd{signals.get(), POLLIN, 0}};
    if (::poll(awaited.data(), awaited.size(), -1) < 0) continue;
    signalfd_siginfo info{};
    if (awaited[1].revents != 0 && ::read(signals.get(), &info, sizeof info) > 0) {
      ::kill(worker, handed_on++ == 0 ? SIGTERM : SIGKILL);
    }
    int status = 0;
    if (awaited[0].revents != 0 && ::waitpid(worker, &status, 0) == worker) {
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
  }
}

// By whatever means this user has. Lazily: nothing of ours uses it any more.
void unmount(const std::string& path) {
  if (::umount2(path.c_str(), MNT_DETACH) == 0) return;
  const pid_t child = ::fork();
  if (child == 0) {
    ::execlp("fusermount3", "fusermount3", "-u", "-z", "-q", path.c_str(), nullptr);
    ::_exit(127);
  }
  if (child > 0) ::waitpid(child, nullptr, 0);
}

// Processes whose parent is this one.
std::vector<pid_t> children() {
  std::vector<pid_t> found;
  for (const fs::directory_entry& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "stat");
    std::string line, state;
    std::getline(file, line);
    const std::size_t name_end = line.rfind(')');
    if (name_end == std::string::npos) continue;
    pid_t parent = 0;
    std::istringstream(line.substr(name_end + 1)) >> state >> parent;
    if (parent == ::getpid()) found.push_back(static_cast<pid_t>(std::stol(name)));
  }
  return found;
}

bool all_ended_within(int wait_ms) {
  for (int waited = 0;; waited += kStep_ms) {
    pid_t ended = 0;
    while ((ended = ::waitpid(-1, nullptr, WNOHANG)) > 0) {
    }
    if (ended < 0 && errno == ECHILD) return true;
    if (waited >= wait_ms) return false;
    ::poll(nullptr, 0, kStep_ms);
  }
}

void clean_up(const std::string& directory) {
  // Daemons end when what they serve is unmounted, and whatever else is left when it is told to.
  for (const std::string& path : mounts_below(directory)) unmount(path);
  for (const pid_t child : children()) ::kill(child, SIGTERM);
  if (!all_ended_within(kPatience_ms)) {
    for (const pid_t child : children()) ::kill(child, SIGKILL);
    all_ended_within(kPatience_ms);
  }
  // Never remove through a mount: the files behind it are not ours.
  if (const auto left = mounts_below(directory); !left.empty()) {
    fmt::print(stderr, "larder-bench: {} is still mounted; {} stays\n", left.front(), directory);
    return;
  }
  std::error_code error;
  fs::remove_all(directory, error);
  if (error) fmt::print(stderr, "larder-bench: {}: {}\n", directory, error.message());
}

}  // namespace

int with_janitor(const std::string& base,
                 const std::function<int(const std::string& directory)>& work) {
  std::error_code error;
  std::string directory = (fs::canonical(base, error) / "larder-bench.XXXXXX").string();
  if (error || ::mkdtemp(directory.data()) == nullptr) {
    fmt::print(stderr, "larder-bench: {}: {}\n", base,
               error ? error.message() : std::strerror(errno));
    return 1;
  }
  const sigset_t signals = ending_signals();
  sigset_t before;
  ::sigprocmask(SIG_BLOCK, &signals, &before);
  const Fd incoming{::signalfd(-1, &signals, SFD_CLOEXEC)};
  ::prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL);
  const pid_t janitor = ::getpid();
  std::fflush(nullptr);
  const pid_t worker = ::fork();
  if (worker == 0) {
    ::sigprocmask(SIG_UNBLOCK, &signals, nullptr);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM, 0UL, 0UL, 0UL);
    if (::getppid() != janitor) ::_exit(1);
    const int code = work(directory);
    std::fflush(nullptr);
    ::_exit(code);
  }
  const int code = worker > 0 ? exit_code_of(worker, incoming) : 1;
  clean_up(directory);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  return code;
}

}  // namespace larder::bench
