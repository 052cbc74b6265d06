// SPDX-License-Identifier: Apache-2.0
// larder: mounts a share through a cache. See command_line.h for how it is called.
#include <larder/host.h>
#include <larder/log.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "command_line.h"
#include "commands.h"
#include "daemon.h"
#include "hand_over.h"
#include "mounts.h"
#include "session.h"
#include "undertaker.h"

namespace larder::fuse {
namespace {

// Signals that end the mount. Blocked in all threads; the main one reads them from a descriptor.
sigset_t ending_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) sigaddset(&set, signal);
  return set;
}

// The mount is another larder's by now. What is left to do here is to stay, if that was asked for.
[[noreturn]] void end_handed_over(const CommandLine& line, Starter& starter, HandedOver& handed) {
  for (const std::string& note : handed.notes()) starter.note(note);
  log(LogLevel::kInfo, "{} is mounted at {}", line.options.share, line.options.mountpoint);
  starter.succeeded();
  if (!line.foreground) ::_exit(kExitOk);
  const sigset_t set = ending_signals();
  const Fd signals(::signalfd(-1, &set, SFD_CLOEXEC));
  if (!handed.wait_for_the_end(signals.get()))
    starter.failed(kExitMount, "the larder that served this mount has died");
  log(LogLevel::kInfo, "{} is unmounted", line.options.mountpoint);
  ::_exit(kExitOk);
}

// Gives the mount to the larder that has the store, if one has. Returns if none has.
void try_to_hand_over(const CommandLine& line, Starter& starter) {
  const auto stay = line.foreground ? HandedOver::Stay::kYes : HandedOver::Stay::kNo;
  auto handed = HandedOver::offer(line.options, stay);
  if (!handed) starter.failed(kExitMount, handed.error().line);
  if (*handed) end_handed_over(line, starter, **handed);
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
  ::umask(0);  // the caller's is applied on the share

  try_to_hand_over(line, starter);
  start_undertaker();
  Host host;
  Mounts mounts(host);
  const SetUp<MountRef> mount = mounts.add(options);
  if (!mount) {
    // Somebody may have opened the store just now.
    if (mount.error().error.code == ErrorCode::kStoreLocked) try_to_hand_over(line, starter);
    static_cast<void>(host.close());
    starter.failed(kExitMount, mount.error().line);
  }
  auto commands = Commands::start(host, mounts);
  // Behind all that can fail: a failure is one line.
  for (const std::string& note : (*mount)->mount->notes()) starter.note(note);
  starter.note((*mount)->session->note());
  if (!commands) starter.note(commands.error().line);
  log(LogLevel::kInfo, "{} is mounted at {}", options.share, options.mountpoint);
  starter.succeeded();

  const Fd signals(::signalfd(-1, &set, SFD_CLOEXEC));
  mounts.run(signals.get());
  if (commands) (*commands)->stop();
  if (!host.close())
    log(LogLevel::kWarn,
        "a store does not answer: this ends without it; what it holds is replayed "
        "when it is opened again");
  // Threads of a share or a store that hangs may be left: the end of the process is theirs, without
  // tearing down.
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
