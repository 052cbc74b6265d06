// SPDX-License-Identifier: Apache-2.0
#include "vfs/leaving.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <limits>
#include <optional>
#include <vector>

#include "support/catch.h"
#include "support/sim_clock.h"
#include "support/step_queue.h"
#include "vfs/signalled.h"

namespace larder {
namespace {

// A request that keeps its answer, and can be interrupted as often as one likes.
class Asked final : public ReplySlot {
 public:
  struct Seen {
    std::optional<Error> error;
    int answers = 0, recycled = 0;
    Listener* listener = nullptr;
  };
  Asked(Seen& seen, std::uint32_t asker) : seen_(seen), asker_(asker) {}
  std::span<std::byte> payload() override { return {}; }
  bool park() override { return true; }
  bool interrupted() override { return false; }
  std::uint32_t asker() override { return asker_; }
  CredentialsRef caller() override { return {}; }
  void listen(Listener* listener) override { seen_.listener = listener; }
  void error(Error e) override {
    seen_.error = e;
    ++seen_.answers;
  }
  void ok() override { ++seen_.answers; }
  void entry(const Entry&) override { ++seen_.answers; }
  void attributes(std::uint64_t, const Attributes&, Nanoseconds) override { ++seen_.answers; }
  void opened(const OpenReply&) override { ++seen_.answers; }
  void created(const Entry&, const OpenReply&) override { ++seen_.answers; }
  void data(std::size_t, ByteCount) override { ++seen_.answers; }
  void written(ByteCount) override { ++seen_.answers; }
  void position(ByteOffset) override { ++seen_.answers; }
  void lock(const LockRange&) override { ++seen_.answers; }
  void link(std::string_view) override { ++seen_.answers; }
  void xattr_size(ByteCount) override { ++seen_.answers; }
  void stat_fs(const struct statvfs&) override { ++seen_.answers; }
  bool add_dirent(std::size_t&, std::size_t, std::string_view, std::uint64_t, std::uint32_t,
                  std::uint64_t) override {
    return true;
  }
  bool add_dirent_plus(std::size_t&, std::size_t, std::string_view, const Entry&,
                       std::uint64_t) override {
    return true;
  }
  void recycle() override {
    ++seen_.recycled;
    delete this;
  }

 private:
  Seen& seen_;
  const std::uint32_t asker_;
};

// Stopped, so that what it is sent stays pending, as it does while one waits for an answer.
class StoppedProcess {
 public:
  StoppedProcess() : id_(::fork()) {
    if (id_ == 0) {
      std::signal(SIGUSR1, [](int) {});
      std::signal(SIGHUP, SIG_DFL);  // whoever runs the tests may ignore it
      std::raise(SIGSTOP);
      ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(id_, &status, WUNTRACED) == id_);
    REQUIRE(WIFSTOPPED(status));
  }
  ~StoppedProcess() {
    ::kill(id_, SIGKILL);
    ::waitpid(id_, nullptr, 0);
  }
  StoppedProcess(const StoppedProcess&) = delete;
  StoppedProcess& operator=(const StoppedProcess&) = delete;

  std::uint32_t id() const { return static_cast<std::uint32_t>(id_); }
  void send(int signal) const { REQUIRE(::kill(id_, signal) == 0); }

 private:
  const pid_t id_;
};

struct World {
  static constexpr Nanoseconds kPatience_ns = 2 * kSecond;
  Reply parked() {
    Reply reply(*new Asked(seen, asker));
    leaving.guard(reply);
    return reply;
  }
  void interrupt() {
    REQUIRE(seen.listener != nullptr);
    seen.listener->heard(*seen.listener);
  }
  // He was told that he was interrupted, and nothing else.
  void check_left() const {
    CHECK(seen.answers == 1);
    REQUIRE(seen.error);
    CHECK(seen.error->sys_errno == EINTR);
    CHECK(seen.recycled == 1);
    CHECK(left.value() == 1);
  }
  void pass(Nanoseconds by_ns) {
    clock.advance(by_ns);
    timers.run_due();
    answers.run_all();
  }

  Asked::Seen seen;
  std::uint32_t asker = 0;
  test::SimClock clock;
  Timers timers{clock};
  test::StepQueue answers;
  stats::Counter left;
  Leaving leaving{clock, timers, answers, kPatience_ns, left};
};

TEST_CASE("a reply that nobody interrupts is answered by its owner, once") {
  World w;
  {
    Reply reply = w.parked();
    CHECK(reply.stay());
    CHECK(reply.stay());
    CHECK(w.seen.listener == nullptr);
    reply.ok();
  }
  CHECK(w.seen.answers == 1);
  CHECK(w.seen.recycled == 1);
  CHECK(w.left.value() == 0);
}

TEST_CASE("who has waited long leaves at once, and his owner's answer is passed over") {
  World w;
  {
    Reply reply = w.parked();
    w.pass(w.kPatience_ns);
    w.interrupt();
    w.interrupt();  // once is enough
    const bool told_first = GENERATE(true, false);
    if (told_first) w.answers.run_all();
    CHECK_FALSE(reply.stay());
    reply.ok();
  }
  w.answers.run_all();
  w.check_left();
}

TEST_CASE("who has not waited long stays until he has, and may be answered before") {
  World w;
  {
    Reply reply = w.parked();
    w.interrupt();
    w.pass(w.kPatience_ns / 2);
    CHECK(w.seen.answers == 0);
    SECTION("answered before") {
      reply.ok();
      w.pass(w.kPatience_ns);
      CHECK_FALSE(w.seen.error);
    }
    SECTION("he leaves") {
      for (int i = 0; i < 30; ++i) w.pass(w.kPatience_ns / 20);
      REQUIRE(w.seen.error);
      CHECK(w.seen.error->sys_errno == EINTR);
      CHECK_FALSE(reply.stay());
    }
    SECTION("the end comes first: nobody leaves any more") {
      w.leaving.end();
      w.pass(w.kPatience_ns);
      CHECK(reply.stay());
      reply.error({ErrorCode::kShutdown});
    }
  }
  CHECK(w.seen.answers == 1);
  CHECK(w.seen.recycled == 1);
}

TEST_CASE("who has a signal that nobody told of leaves all the same") {
  World w;
  const StoppedProcess process;
  w.asker = process.id();
  {
    Reply reply = w.parked();
    SECTION("one that ends him: at the first look") {
      process.send(SIGHUP);
      w.pass(w.kPatience_ns / 10);
      CHECK_FALSE(reply.stay());
    }
    SECTION("one that he catches: when he has waited long") {
      process.send(SIGUSR1);
      w.pass(w.kPatience_ns / 2);
      CHECK(w.seen.answers == 0);
      for (int i = 0; i < 10; ++i) w.pass(w.kPatience_ns / 10);
      CHECK_FALSE(reply.stay());
    }
  }
  w.check_left();
}

TEST_CASE("of those that wait each is looked at, and each once") {
  World w;
  const StoppedProcess process;
  std::array<Asked::Seen, 4> seen;
  std::vector<Reply> replies;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    Reply& reply = replies.emplace_back(*new Asked(seen[i], i % 2 == 0 ? process.id() : 0));
    w.leaving.guard(reply);
  }
  replies[2].ok();
  process.send(SIGHUP);
  w.pass(w.kPatience_ns / 10);
  CHECK(w.timers.run_due() == std::numeric_limits<Nanoseconds>::max());
  CHECK(w.left.value() == 1);
  for (const std::size_t i : {0u, 1u, 3u}) replies[i].ok();
  replies.clear();
  for (const Asked::Seen& one : seen) {
    CHECK(one.answers == 1);
    CHECK(one.recycled == 1);
    CHECK(one.error.has_value() == (&one == &seen[0]));
  }
}

TEST_CASE("who stayed for an answer that did not do may leave again") {
  World w;
  {
    Reply reply = w.parked();
    w.pass(w.kPatience_ns);
    CHECK(reply.stay());
    CHECK(w.seen.listener == nullptr);
    CHECK(reply.slot().is_guarded());
    reply.may_leave();
    w.interrupt();
    w.answers.run_all();
    CHECK_FALSE(reply.stay());
    reply.may_leave();
    CHECK_FALSE(reply.stay());
    reply.ok();
  }
  w.answers.run_all();
  w.check_left();
}

TEST_CASE("a reply that is dropped is answered all the same") {
  World w;
  { Reply reply = w.parked(); }
  CHECK(w.seen.answers == 1);
  REQUIRE(w.seen.error);
  CHECK(w.seen.error->sys_errno == EIO);
}

TEST_CASE("what pending signals mean to a process") {
  const auto status = [](const char* pending, const char* blocked, const char* ignored,
                         const char* caught) {
    return std::string("Name:\tcat\nSigQ:\t0/95963\nSigPnd:\t0000000000000000\nShdPnd:\t") +
           pending + "\nSigBlk:\t" + blocked + "\nSigIgn:\t" + ignored + "\nSigCgt:\t" + caught +
           "\n";
  };
  const char* const none = "0000000000000000";
  const char* const all = "ffffffffffffffff";
  const char* const interrupt = "0000000000000002";
  CHECK(signalled(status(interrupt, none, none, none)) == Signalled::kEnds);
  CHECK(signalled(status(interrupt, interrupt, none, none)) == Signalled::kNothing);
  CHECK(signalled(status(interrupt, none, interrupt, none)) == Signalled::kNothing);
  CHECK(signalled(status(interrupt, none, none, interrupt)) == Signalled::kCaught);
  CHECK(signalled(status(none, none, none, all)) == Signalled::kNothing);
  for (const int harmless :
       {SIGCHLD, SIGURG, SIGWINCH, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU}) {
    const std::string one = fmt::format("{:016x}", std::uint64_t{1} << (harmless - 1));
    CHECK(signalled(status(one.c_str(), none, none, none)) == Signalled::kNothing);
    const bool is_caught = harmless != SIGSTOP;
    CHECK(signalled(status(one.c_str(), none, none, all)) ==
          (is_caught ? Signalled::kCaught : Signalled::kNothing));
  }
  CHECK(signalled(status("0000000000000100", all, none, none)) == Signalled::kEnds);  // SIGKILL
  CHECK_FALSE(signalled(""));
  CHECK_FALSE(signalled("Name:\tcat\n"));
}

}  // namespace
}  // namespace larder
