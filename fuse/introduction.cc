// SPDX-License-Identifier: Apache-2.0
#include "introduction.h"

#include <fcntl.h>
#include <larder/fd.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

namespace larder::fuse {
namespace {

// It holds nothing of ours but the pipe, whose end tells that it is done.
[[noreturn]] void look(const char* path, int pipe) {
  ::dup2(pipe, 0);
  ::close_range(1, ~0U, 0);
  struct stat s {};
  static_cast<void>(::stat(path, &s) == 0);
  ::_exit(0);
}

}  // namespace

void introduce(const std::string& path, Nanoseconds at_most_ns) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return;
  const Fd done(ends[0]);
  Fd theirs(ends[1]);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::fork() == 0) look(path.c_str(), theirs.get());
    ::_exit(0);  // so that nobody need wait for the other
  }
  theirs.reset();
  if (child < 0) return;
  ::waitpid(child, nullptr, 0);
  pollfd ended{done.get(), POLLIN, 0};
  ::poll(&ended, 1, static_cast<int>(at_most_ns / kMillisecond));
}

}  // namespace larder::fuse
