// SPDX-License-Identifier: Apache-2.0
#include "daemon.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace larder::fuse {
namespace {

// Waits for the child's one byte: its exit code so far. A child that died without it has failed.
[[noreturn]] void wait_for_child(int pipe, pid_t child) {
  unsigned char code = kExitMount;
  ssize_t n = 0;
  do {
    n = ::read(pipe, &code, 1);
  } while (n < 0 && errno == EINTR);
  if (n == 1) ::_exit(code);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status))
    std::fprintf(stderr, "larder: ended by signal %d before it was mounted\n", WTERMSIG(status));
  ::_exit(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : kExitMount);
}

}  // namespace

Starter Starter::begin(Where where) {
  if (where == Where::kForeground) return Starter(Fd(), Fd());
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    std::perror("larder: pipe");
    std::exit(kExitMount);
  }
  const pid_t child = ::fork();
  if (child < 0) {
    std::perror("larder: fork");
    std::exit(kExitMount);
  }
  if (child > 0) {
    ::close(ends[1]);
    wait_for_child(ends[0], child);
  }
  ::close(ends[0]);
  ::setsid();
  if (::chdir("/") != 0) std::perror("larder: chdir");
  // At once, and not when the mount stands: share threads keep a copy of 0, 1 and 2 in a table of
  // their own, and whoever waits for the end of our output would wait for them.
  Fd terminal(::fcntl(2, F_DUPFD_CLOEXEC, 3));
  const Fd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (int fd = 0; fd <= 2; ++fd) ::dup2(nothing.get(), fd);
  return Starter(Fd(ends[1]), std::move(terminal));
}

void Starter::succeeded() {
  if (!pipe_.valid()) return;
  terminal_.reset();
  const unsigned char code = kExitOk;
  if (::write(pipe_.get(), &code, 1) != 1) return;
  pipe_.reset();
}

void Starter::failed(int code, const std::string& line) {
  note(line);
  const auto byte = static_cast<unsigned char>(code);
  if (pipe_.valid() && ::write(pipe_.get(), &byte, 1) != 1) ::_exit(code);
  // Threads of a share that hangs may still run: nothing of theirs is torn down.
  std::fflush(nullptr);
  ::_exit(code);
}

void Starter::note(const std::string& line) {
  ::dprintf(terminal_.valid() ? terminal_.get() : 2, "larder: %s\n", line.c_str());
}

}  // namespace larder::fuse
