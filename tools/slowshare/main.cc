// SPDX-License-Identifier: Apache-2.0
// slowshare: a directory passed through as a FUSE file system, slowed and broken on purpose, so
// that what runs on top of it can be measured and tested against a slow share on any machine.
// `slowshare --help` tells the options and the control commands.
//
// A request's way: Crew (a thread takes it) -> Request (through the Gate: counted, hung, failed,
// delayed)
// -> the operation on the Source -> answer. The control socket steers the Gate.
//
// The process: it forks first; the child mounts, answers INIT, says so to its parent and serves. It
// ends at umount, SIGTERM, SIGINT and SIGHUP, also while requests hang: they are refused then.
#include <fcntl.h>
#include <fmt/format.h>
#include <larder/clock.h>
#include <larder/fd.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "slowshare/control.h"
#include "slowshare/crew.h"
#include "slowshare/init.h"
#include "slowshare/mounted.h"
#include "slowshare/options.h"
#include "slowshare/source.h"

namespace larder::slowshare {
namespace {

int complain_and_exit_code(const std::string& line) {
  fmt::print(stderr, "slowshare: {}\n", line);
  return 1;
}

// The parent's end of the fork: waits for the child's word and leaves with its exit code. In the
// child: the descriptor to say the word on.
Fd fork_daemon() {
  std::array<int, 2> ends = {-1, -1};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) std::exit(complain_and_exit_code(std::strerror(errno)));
  Fd reading{ends[0]};
  Fd writing{ends[1]};
  const pid_t child = fork();
  if (child < 0) std::exit(complain_and_exit_code(std::strerror(errno)));
  if (child > 0) {
    writing.reset();
    char code = 1;  // stays where the child died
    while (read(reading.get(), &code, 1) < 0 && errno == EINTR) {
    }
    _exit(code);
  }
  setsid();
  return writing;
}

void say_mounted(Fd word) {
  if (!word.valid()) return;
  const Fd null{open("/dev/null", O_RDWR | O_CLOEXEC)};
  for (int fd = 0; fd < 3; ++fd) dup2(null.get(), fd);
  if (chdir("/") != 0) _exit(1);  // keeps no other mount busy
  const char code = 0;
  if (write(word.get(), &code, 1) != 1) _exit(1);
}

// An inode holds a descriptor, so as many as the system gives.
void raise_descriptor_limit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

struct SessionEnd {
  void operator()(fuse_session* session) const { fuse_session_destroy(session); }
};
using Session = std::unique_ptr<fuse_session, SessionEnd>;

Session new_session(const Options& options, Source& source) {
  fuse_args arguments = FUSE_ARGS_INIT(0, nullptr);
  char* list = nullptr;
  fuse_opt_add_opt(&list, "default_permissions,subtype=slowshare");
  fuse_opt_add_opt_escaped(&list, ("fsname=" + options.source).c_str());
  for (const std::string& word : options.mount_words) fuse_opt_add_opt(&list, word.c_str());
  fuse_opt_add_arg(&arguments, "slowshare");
  fuse_opt_add_arg(&arguments, "-o");
  fuse_opt_add_arg(&arguments, list);
  Session session{fuse_session_new(&arguments, &operations(), sizeof(fuse_lowlevel_ops), &source)};
  fuse_opt_free_args(&arguments);
  std::free(list);
  return session;
}

// Signals come through a descriptor; block them before there are threads.
Fd signal_descriptor() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return Fd{signalfd(-1, &signals, SFD_CLOEXEC)};
}

// Until a signal comes or the mount is over. A lazy unmount with requests that hang would never be
// over: it counts as the end as well.
void wait_for_end(const Fd& signals, const Crew& crew, const Gate& gate,
                  const std::string& device) {
  const Fd mounts{open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC)};
  while (true) {
    std::array<pollfd, 3> wanted = {
        {{signals.get(), POLLIN, 0}, {crew.over_fd(), POLLIN, 0}, {mounts.get(), POLLPRI, 0}}};
    if (poll(wanted.data(), wanted.size(), -1) < 0) continue;
    if (wanted[0].revents != 0 || wanted[1].revents != 0) return;
    if (wanted[2].revents != 0 && !is_mounted(device) && gate.parked() > 0) return;
  }
}

// The life of the mount; the exit code.
int serve(const Options& options, const std::string& mountpoint, Source& source, Fd word) {
  const Fd signals = signal_descriptor();
  const Session session = new_session(options, source);
  if (session == nullptr) return 1;  // libfuse has said why
  std::unique_ptr<ControlServer> control;
  if (!options.control.empty()) {
    auto listening = ControlServer::listen(source.gate(), options.control);
    if (!listening) return complain_and_exit_code(listening.error().line);
    control = std::move(*listening);
  }
  if (fuse_session_mount(session.get(), mountpoint.c_str()) != 0) return 1;
  Crew crew(session.get(), source.gate(), options.parallel);
  source.gate().on_parked([&crew] { crew.replace_parked(); });
  if (const Status init = answer_init(session.get()); !init) {
    fuse_session_unmount(session.get());
    return complain_and_exit_code("INIT: " + to_text(init.error()));
  }
  const std::string device = device_mounted_at(mountpoint);
  if (options.readahead_bytes != 0 && !set_readahead(device, options.readahead_bytes)) {
    fmt::print(stderr, "slowshare: readahead= needs root; the kernel's own stays\n");
  }
  crew.start();
  if (control != nullptr) control->start();
  say_mounted(std::move(word));

  wait_for_end(signals, crew, source.gate(), device);
  const bool all_ended = crew.stop();
  control.reset();
  fuse_session_unmount(session.get());
  if (!all_ended) _exit(0);  // a thread hangs in the source itself and holds what would be freed
  return 0;
}

int mount_and_serve(Options options) {
  if (!options.control.empty()) options.control = std::filesystem::absolute(options.control);
  std::array<char, PATH_MAX> resolved;
  if (realpath(options.mountpoint.c_str(), resolved.data()) == nullptr) {
    return complain_and_exit_code(fmt::format("{}: {}", options.mountpoint, std::strerror(errno)));
  }
  Fd root{open(options.source.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!root.valid()) {
    return complain_and_exit_code(fmt::format("{}: {}", options.source, std::strerror(errno)));
  }
  Fd word;
  if (options.stay == Options::Stay::kBackground) word = fork_daemon();
  umask(0);  // the kernel has applied the caller's
  raise_descriptor_limit();
  // Waits are as short as asked for, not rounded up by 50 us.
  prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);

  Gate gate(system_clock(), Pace(options.latency_ns, options.bandwidth_bytes_per_s));
  Source source(std::move(root), gate, options.timeouts, options.caching, options.name_case);
  return serve(options, resolved.data(), source, std::move(word));
}

std::string joined(const std::vector<std::string>& words, std::size_t from) {
  std::string text;
  for (std::size_t i = from; i < words.size(); ++i) text += (i == from ? "" : " ") + words[i];
  return text;
}

int run(const std::vector<std::string>& arguments) {
  if (!arguments.empty() && (arguments[0] == "--help" || arguments[0] == "-h")) {
    fmt::print("{}", usage());
    return 0;
  }
  if (arguments.size() >= 3 && arguments[0] == "--ctl") {
    return run_client(arguments[1], joined(arguments, 2));
  }
  SetUp<Options> options = parse_options(arguments);
  if (!options) {
    return complain_and_exit_code(options.error().line + " (slowshare --help tells the options)");
  }
  return mount_and_serve(std::move(*options));
}

}  // namespace
}  // namespace larder::slowshare

int main(int argc, char** argv) {
  return larder::slowshare::run(std::vector<std::string>(argv + 1, argv + argc));
}
