// SPDX-License-Identifier: Apache-2.0
#include "bench/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <fstream>
#include <sstream>

namespace larder::bench {
namespace {

constexpr Nanoseconds kPatience = 10 * kSecond;

// Standard output and error to the log, input from nowhere.
class Redirection {
 public:
  explicit Redirection(const std::string& log) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_addopen(&actions_, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions_, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                     0600);
    posix_spawn_file_actions_adddup2(&actions_, 1, 2);
  }
  ~Redirection() { posix_spawn_file_actions_destroy(&actions_); }
  Redirection(const Redirection&) = delete;
  Redirection& operator=(const Redirection&) = delete;
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

}  // namespace

Child::Child(pid_t pid, Fd watch, std::string log)
    : pid_(pid), watch_(std::move(watch)), log_(std::move(log)) {}

Child::Child(Child&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      watch_(std::move(other.watch_)),
      log_(std::move(other.log_)),
      code_(other.code_) {}

Child::~Child() {
  if (pid_ < 0 || code_) return;
  ::kill(pid_, SIGTERM);
  if (wait(kPatience)) return;
  ::kill(pid_, SIGKILL);
  wait(kPatience);
}

SetUp<Child> Child::start(const std::vector<std::string>& argv, const std::string& log) {
  const Redirection redirection(log);
  std::vector<std::string> copies = argv;
  std::vector<char*> words;
  for (std::string& copy : copies) words.push_back(copy.data());
  words.push_back(nullptr);
  pid_t pid = -1;
  const int error =
      ::posix_spawnp(&pid, words[0], redirection.get(), nullptr, words.data(), environ);
  if (error != 0) {
    return complain(ErrorCode::kSystem,
                    fmt::format("cannot start {}: {}", argv[0], std::strerror(error)), error);
  }
  Fd watch{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
  return Child(pid, std::move(watch), log);
}

std::optional<int> Child::wait(Nanoseconds wait) {
  if (code_) return code_;
  pollfd ended{watch_.get(), POLLIN, 0};
  ::poll(&ended, 1, static_cast<int>(wait / kMillisecond));
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return code_;
}

double Child::processor_s() const {
  std::ifstream file(fmt::format("/proc/{}/stat", pid_));
  std::string line;
  std::getline(file, line);
  // Behind the name, which may hold anything: state is field 3, utime and stime are 14 and 15.
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(line.substr(name_end + 1));
  std::string skip;
  for (int field = 3; field < 14; ++field) fields >> skip;
  double user = 0, system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

double Child::resident_mib() const {
  std::ifstream file(fmt::format("/proc/{}/statm", pid_));
  double total_pages = 0, resident_pages = 0;
  file >> total_pages >> resident_pages;
  return resident_pages * static_cast<double>(::sysconf(_SC_PAGESIZE)) / (1 << 20);
}

std::string Child::last_words() const {
  std::ifstream file(log_);
  std::string line, last;
  std::vector<std::string> lines;
  while (std::getline(file, line)) {
    if (!line.empty()) lines.push_back(line);
  }
  for (std::size_t i = lines.size() > 3 ? lines.size() - 3 : 0; i < lines.size(); ++i) {
    last += (last.empty() ? "" : " / ") + lines[i];
  }
  return last.empty() ? "it said nothing" : last;
}

SetUp<std::monostate> run(const std::vector<std::string>& argv, const std::string& log) {
  TRY(Child child, Child::start(argv, log));
  std::optional<int> code;
  while (!(code = child.wait(kSecond))) {
  }
  if (*code == 0) return std::monostate{};
  return complain(ErrorCode::kSystem,
                  fmt::format("{} ended with {}: {}", argv[0], *code, child.last_words()));
}

}  // namespace larder::bench
