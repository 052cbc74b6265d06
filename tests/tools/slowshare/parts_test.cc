// SPDX-License-Identifier: Apache-2.0
// Pace, Faults and Gate without a mount: what is due when, what goes wrong where, what is counted.
#include "slowshare/pace.h"

#include <cerrno>
#include <thread>

#include "slowshare/control.h"
#include "slowshare/faults.h"
#include "slowshare/gate.h"
#include "slowshare/options.h"
#include "support/catch.h"
#include "support/sim_clock.h"

namespace larder::slowshare {
namespace {

constexpr std::uint64_t kMega = 1'000'000;

TEST_CASE("calls that overlap wait for their own latency only") {
  const Pace pace(5 * kMillisecond, 0);
  CHECK(pace.call_due(kSecond) == kSecond + 5 * kMillisecond);
  CHECK(pace.call_due(kSecond + 1) == kSecond + 5 * kMillisecond + 1);
}

TEST_CASE("transfers share one line") {
  Pace pace(0, 100 * kMega);
  CHECK(pace.transfer_due(kSecond, kMega) == kSecond + 10 * kMillisecond);
  CHECK(pace.transfer_due(kSecond, kMega) == kSecond + 20 * kMillisecond);
  CHECK(pace.transfer_due(kSecond + 15 * kMillisecond, kMega) == kSecond + 30 * kMillisecond);
}

TEST_CASE("an idle line saves nothing up") {
  Pace pace(0, 100 * kMega);
  CHECK(pace.transfer_due(kSecond, kMega) == kSecond + 10 * kMillisecond);
  CHECK(pace.transfer_due(9 * kSecond, kMega) == 9 * kSecond + 10 * kMillisecond);
}

TEST_CASE("a line without limit takes no time, and lifting a limit forgets its debts") {
  Pace pace(0, 1);
  CHECK(pace.transfer_due(kSecond, 100) == 101 * kSecond);
  pace.set_bandwidth(0);
  CHECK(pace.transfer_due(kSecond, 100 * kMega) == kSecond);
  pace.set_bandwidth(kMega);
  CHECK(pace.transfer_due(kSecond, kMega) == 2 * kSecond);
}

TEST_CASE("a rule matches the last part of a name, and one kind of call where it says so") {
  Faults faults;
  faults.hang({"*.so"});
  faults.fail(EIO, {"data", Call::read});
  CHECK(faults.judge(Call::getattr, {"libc.so"}).hangs);
  CHECK_FALSE(faults.judge(Call::getattr, {"libc.a"}).hangs);
  CHECK(faults.judge(Call::rename, {"a", "b.so"}).hangs);
  CHECK(faults.judge(Call::read, {"data"}).error == EIO);
  CHECK(faults.judge(Call::open, {"data"}).error == 0);
}

TEST_CASE("a star is every request, the root's too") {
  Faults faults;
  faults.hang({"*"});
  CHECK(faults.judge(Call::statfs, {"/"}).hangs);
  CHECK(faults.judge(Call::lookup, {".hidden"}).hangs);
}

TEST_CASE("hang-next counts down and then lets requests through") {
  Faults faults;
  faults.hang_next(2);
  CHECK(faults.judge(Call::read, {"a"}).hangs);
  CHECK(faults.judge(Call::read, {"b"}).hangs);
  CHECK_FALSE(faults.judge(Call::read, {"c"}).hangs);
}

TEST_CASE("release keeps errors, clear does not") {
  Faults faults;
  faults.hang({"*"});
  faults.fail(ENOSPC, {"*"});
  faults.shorten("s");
  faults.release();
  CHECK_FALSE(faults.judge(Call::write, {"a"}).hangs);
  CHECK(faults.judge(Call::write, {"a"}).error == ENOSPC);
  CHECK(faults.shortens("s"));
  faults.clear();
  CHECK(faults.judge(Call::write, {"a"}).error == 0);
  CHECK_FALSE(faults.shortens("s"));
}

TEST_CASE("errors go by name and by number") {
  CHECK(errno_of("EIO") == EIO);
  CHECK(errno_of("116") == ESTALE);
  CHECK(errno_of("EWRONG") == 0);
  CHECK(errno_of("0") == 0);
  CHECK(errno_of("-5") == 0);
  CHECK(errno_of("5x") == 0);
}

TEST_CASE("the gate counts calls by kind and answers with the wanted error") {
  const test::SimClock clock;
  Gate gate(clock, Pace(0, 0));
  gate.fail(EACCES, {"secret"});
  CHECK(gate.enter(Call::open, {"secret"}) == EACCES);
  CHECK(gate.enter(Call::open, {"plain"}) == 0);
  gate.leave();
  gate.leave();
  gate.note(Call::forget, 3);
  gate.transfer(Gate::Way::kRead, 100);
  gate.transfer(Gate::Way::kWrite, 7);
  const std::string text = render(gate.counts(), Rendering::kText);
  CHECK(text.find("calls 5\n") == 0);
  CHECK(text.find("\nopen 2\n") != std::string::npos);
  CHECK(text.find("\nforget 3\n") != std::string::npos);
  CHECK(text.find("\nread_bytes 100\n") != std::string::npos);
  CHECK(text.find("\nwrite_bytes 7\n") != std::string::npos);
  CHECK(text.find("\nfailed 1\n") != std::string::npos);
  CHECK(text.find("\nmost_active 2\n") != std::string::npos);
  CHECK(render(gate.counts(), Rendering::kJson).find("{\"calls\": 5, \"lookup\": 0,") == 0);
  gate.reset();
  CHECK(render(gate.counts(), Rendering::kText).find("calls 0\n") == 0);
}

TEST_CASE("a parked request goes on at release, and at the end of the mount") {
  const test::SimClock clock;
  Gate gate(clock, Pace(0, 0));
  std::uint64_t parked_seen = 0;
  gate.hang({"stuck"});
  SECTION("release") {
    gate.on_parked([&] {
      parked_seen = gate.parked();
      gate.release();
    });
    CHECK(gate.enter(Call::read, {"stuck"}) == 0);
  }
  SECTION("the end") {
    gate.on_parked([&] {
      parked_seen = gate.parked();
      gate.close();
    });
    CHECK(gate.enter(Call::read, {"stuck"}) == ENODEV);
  }
  CHECK(parked_seen == 1);
  CHECK(gate.parked() == 0);
  CHECK(gate.counts().hung == 1);
  CHECK(gate.counts().active == 1);
  gate.leave();
}

TEST_CASE("a read that is to be short gets half") {
  const test::SimClock clock;
  Gate gate(clock, Pace(0, 0));
  gate.shorten("cut*");
  CHECK(gate.read_size("cut.txt", 4096) == 2048);
  CHECK(gate.read_size("cut.txt", 1) == 1);
  CHECK(gate.read_size("whole", 4096) == 4096);
}

TEST_CASE("commands that are not understood are refused with a sentence") {
  const test::SimClock clock;
  Gate gate(clock, Pace(0, 0));
  for (const char* bad : {"", "hang", "hang a b c", "hang a nosuchcall", "hang-next many",
                          "error EIO", "error EWRONG a", "latency 5", "latency", "bandwidth fast",
                          "stats xml", "dance", "short", "release now please"}) {
    CAPTURE(bad);
    const auto done = obey(gate, bad);
    CHECK_FALSE(done.has_value());
    if (!done) CHECK_FALSE(done.error().line.empty());
  }
  CHECK(gate.counts().latency_ns == 0);
  for (const char* good :
       {"latency 5ms", "bandwidth 200M", "hang x read", "error EIO *", "clear"}) {
    CAPTURE(good);
    CHECK(obey(gate, good).has_value());
  }
  CHECK(gate.counts().latency_ns == 5'000'000);
  CHECK(gate.counts().bandwidth_bytes_per_s == 200 * kMega);
}

TEST_CASE("durations and sizes have units") {
  CHECK(parse_duration("2ms") == 2 * kMillisecond);
  CHECK(parse_duration("1.5s") == 1500 * kMillisecond);
  CHECK(parse_duration("250us") == 250'000);
  CHECK(parse_duration("0") == 0);
  CHECK_FALSE(parse_duration("2").has_value());
  CHECK_FALSE(parse_duration("-2ms").has_value());
  CHECK_FALSE(parse_duration("").has_value());
  CHECK(parse_bytes("100M") == 100 * kMega);
  CHECK(parse_bytes("4096") == 4096U);
  CHECK_FALSE(parse_bytes("100T").has_value());
}

TEST_CASE("the command line gives options or a line that says what is wrong") {
  const std::vector<std::string> good = {"-f", "-o", "latency=2ms,parallel=4,ro",
                                         "/a", "/b", "-odirect_io"};
  const auto options = parse_options(good);
  REQUIRE(options.has_value());
  CHECK(options->latency_ns == 2 * kMillisecond);
  CHECK(options->parallel == 4);
  CHECK(options->caching == Caching::kDirect);
  CHECK(options->source == "/a");
  CHECK(options->mountpoint == "/b");
  CHECK(options->mount_words == std::vector<std::string>{"ro"});

  for (const std::vector<std::string>& bad : {std::vector<std::string>{},
                                              {"/a"},
                                              {"/a", "/b", "/c"},
                                              {"-x", "/a", "/b"},
                                              {"/a", "/b", "-o"},
                                              {"-o", "wrong", "/a", "/b"},
                                              {"-o", "parallel=0", "/a", "/b"},
                                              {"-o", "latency", "/a", "/b"},
                                              {"-o", "direct_io=maybe", "/a", "/b"}}) {
    const auto refused = parse_options(bad);
    CHECK_FALSE(refused.has_value());
    if (!refused) CHECK_FALSE(refused.error().line.empty());
  }
}

}  // namespace
}  // namespace larder::slowshare
