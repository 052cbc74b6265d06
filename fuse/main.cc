// SPDX-License-Identifier: Apache-2.0
// larder: mounts a share through a cache. See command_line.h for how it is called.
#include <larder/log.h>
#include <larder/mount.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "command_line.h"
#include "daemon.h"
#include "session.h"

namespace larder::fuse {
namespace {

// Signals that end the mount. Blocked in all threads; the main one reads them from a descriptor.
sigset_t ending_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) sigaddset(&set, signal);
  return set;
}

void wait_for_the_end(int ended_fd) {
  const sigset_t set = ending_signals();
  const Fd signals(::signalfd(-1, &set, SFD_CLOEXEC));
  std::array<pollfd, 2> waiting{pollfd{ended_fd, POLLIN, 0}, pollfd{signals.get(), POLLIN, 0}};
  while (::poll(waiting.data(), waiting.size(), -1) < 0) {
  }
}

int run(const CommandLine& line) {
  const MountOptions& options = line.options;
  clear_dead_mount(options.mountpoint);
  if (const auto usable = check_mountpoint(options); !usable) {
    std::fprintf(stderr, "larder: %s\n", usable.error().line.c_str());
    return kExitMount;
  }
  if (line.pretend) return kExitOk;
  log_to(line.foreground ? LogTarget::kStderr : LogTarget::kSyslog, options.log);
  Starter starter =
      Starter::begin(line.foreground ? Starter::Where::kForeground : Starter::Where::kBackground);
  const sigset_t set = ending_signals();
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::umask(0);  // the kernel has applied the caller's

  auto mount = Mount::open(options);
  if (!mount) starter.failed(kExitMount, mount.error().line);
  auto session = Session::mount(options, **mount);
  if (!session) {
    (*mount)->close();
    starter.failed(kExitMount, session.error().line);
  }
  // Behind all that can fail: a failure is one line.
  for (const std::string& note : (*mount)->notes()) starter.note(note);
  starter.note((*session)->note());
  log(LogLevel::kInfo, "{} is mounted at {}", options.share, options.mountpoint);
  starter.succeeded();

  wait_for_the_end((*session)->ended_fd());
  (*session)->end();
  (*mount)->close();
  log(LogLevel::kInfo, "{} is unmounted", options.mountpoint);
  // Threads of a share that hangs may be left: the end of the process is theirs, without tearing
  // down.
  std::fflush(nullptr);
  ::_exit(kExitOk);
}

}  // namespace
}  // namespace larder::fuse

int main(int argc, char** argv) {
  using namespace larder::fuse;
  auto parsed = parse_command_line(argc, argv);
  if (const auto* goodbye = std::get_if<Goodbye>(&parsed)) {
    std::fputs(goodbye->text.c_str(), goodbye->code == kExitOk ? stdout : stderr);
    return goodbye->code;
  }
  return run(std::get<CommandLine>(parsed));
}
