// SPDX-License-Identifier: Apache-2.0
// Which engine is chosen where io_uring is refused: by a real seccomp filter, as in a container, on
// a thread of its own (a filter is a thread's and cannot be taken off).
#include <larder/io_engine.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <optional>
#include <thread>

#include "io/scratch.h"

using namespace larder;
using namespace larder::test;
using Catch::Matchers::Contains;

namespace {

// From now on `call` fails with `error` on this thread and those that it starts.
bool refuse_call(long call, int error) {
  std::array<sock_filter, 4> code{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

struct Refused {
  SetUp<OpenedEngine> automatic = complain(ErrorCode::kSystem, "seccomp did not take the filter");
  SetUp<OpenedEngine> uring = complain(ErrorCode::kSystem, "seccomp did not take the filter");
};

Refused open_where_refused(long call, int error) {
  Refused opened;
  std::thread([&] {
    if (!refuse_call(call, error)) return;
    opened.automatic = open_engine({});
    opened.uring = open_engine({.choice = EngineChoice::kUring});
  }).join();
  return opened;
}

}  // namespace

TEST_CASE("where io_uring is forbidden the threads take over, and the reason says what to do") {
  struct Case {
    long call;
    int error;
    const char* says;
    const char* advises;
  };
  const Case c = GENERATE(
      Case{SYS_io_uring_setup, EPERM, "io_uring_setup: Operation not permitted", "seccomp"},
      Case{SYS_io_uring_setup, ENOSYS, "io_uring_setup: Function not implemented", "kernel"},
      Case{SYS_io_uring_enter, EPERM, "io_uring_enter: Operation not permitted", "seccomp"},
      Case{SYS_io_uring_setup, ENOMEM, "io_uring_setup: Cannot allocate memory", "ulimit -l"});
  INFO(c.says);
  const Refused opened = open_where_refused(c.call, c.error);

  REQUIRE(opened.automatic);
  CHECK(opened.automatic->engine->name() == "threads");
  // A kernel that has no io_uring at all never comes as far as the second call.
  if (c.call == SYS_io_uring_setup || open_engine({.choice = EngineChoice::kUring})) {
    CHECK_THAT(opened.automatic->reason, Contains("threads: ") && Contains(c.says));
    CHECK_THAT(opened.automatic->reason, Contains(c.advises));
  }
  const Fd file = scratch_file();
  CHECK(write_and_wait(*opened.automatic->engine, file.get(), ByteOffset{0},
                       std::array<std::byte, 10>{}));

  REQUIRE_FALSE(opened.uring);
  CHECK(opened.uring.error().error.code == ErrorCode::kNotSupported);
  CHECK_THAT(opened.uring.error().line, Contains("engine=uring: "));
  CHECK_THAT(opened.uring.error().line, Contains("engine=threads"));
}

TEST_CASE("the engine that was asked for is the one that comes") {
  const auto threads = open_engine({.choice = EngineChoice::kThreads, .threads = 3});
  REQUIRE(threads);
  CHECK(threads->engine->name() == "threads");
  CHECK(threads->reason == "threads: 3, as asked");

  const auto uring = open_engine({.choice = EngineChoice::kUring, .depth = 16});
  if (!uring) {
    WARN("skipped: " << uring.error().line);
    return;
  }
  CHECK(uring->engine->name() == "io_uring");
  CHECK(uring->reason == "io_uring: 16 entries");
  CHECK(open_engine({})->engine->name() == "io_uring");
}

TEST_CASE("an engine without room for a request is refused with a line") {
  CHECK(open_engine({.depth = 0}).error().error.code == ErrorCode::kInvalid);
  CHECK(open_engine({.threads = 0}).error().error.code == ErrorCode::kInvalid);
}
