// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <larder/io_engine.h>
#include <larder/reactor.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "scratch.h"

namespace larder {
namespace {

// A file that holds the pattern, version 1.
class PatternFile {
 public:
  explicit PatternFile(std::size_t size) : fd_(test::scratch_file()) {
    std::vector<std::byte> bytes(size);
    for (std::size_t at = 0; at < size; ++at) bytes[at] = test::pattern(at, 1);
    REQUIRE(::pwrite(fd_.get(), bytes.data(), size, 0) == static_cast<ssize_t>(size));
  }
  int get() const { return fd_.get(); }
  static bool holds(std::size_t at, std::span<const std::byte> bytes) {
    return std::all_of(bytes.begin(), bytes.end(),
                       [&](std::byte byte) { return byte == test::pattern(at++, 1); });
  }

 private:
  Fd fd_;
};

std::unique_ptr<Reactor> a_reactor() {
  auto reactor = open_reactor({.entries = 4, .completions = 64});
  REQUIRE(reactor);
  REQUIRE((*reactor)->begin());
  return std::move(*reactor);
}

struct Read : Completion {
  Read() {
    done = [](Completion& self, int n) {
      static_cast<Read&>(self).result = n;
      ++static_cast<Read&>(self).told;
    };
  }
  int result = 0;
  int told = 0;
};

TEST_CASE("a reactor reads, more at once than its queue holds") {
  PatternFile file(64 << 10);
  auto reactor = a_reactor();
  std::vector<Read> reads(50);
  std::vector<std::array<std::byte, 512>> into(reads.size());
  for (std::size_t i = 0; i < reads.size(); ++i)
    reactor->read(file.get(), ByteOffset{i * 512}, into[i], 0, reads[i]);
  for (bool all = false; !all;) {
    reactor->turn();
    all = true;
    for (const Read& read : reads) all = all && read.told != 0;
  }
  for (std::size_t i = 0; i < reads.size(); ++i) {
    CHECK(reads[i].told == 1);
    CHECK(reads[i].result == 512);
    CHECK(file.holds(i * 512, into[i]));
  }
}

TEST_CASE("what is posted runs on the owner's thread, in a turn") {
  auto reactor = a_reactor();
  struct Posted : Work {
    std::thread::id ran_on;
  } work;
  work.run = [](Work& self) { static_cast<Posted&>(self).ran_on = std::this_thread::get_id(); };
  std::thread other([&] { reactor->post(work); });
  while (work.ran_on == std::thread::id()) reactor->turn();
  other.join();
  CHECK(work.ran_on == std::this_thread::get_id());
}

TEST_CASE("a turn ends without an event where it is told how long it may wait") {
  PatternFile file(4096);
  auto reactor = a_reactor();
  CHECK_FALSE(reactor->turn_for(kMillisecond));
  CHECK_FALSE(reactor->turn_for(kMillisecond));
  Read read;
  std::array<std::byte, 512> into;
  reactor->read(file.get(), ByteOffset{0}, into, 0, read);
  while (read.told == 0) CHECK(reactor->turn_for(100 * kSecond));
  CHECK(read.result == 512);
  struct Posted : Work {
    int runs = 0;
  } work;
  work.run = [](Work& self) { ++static_cast<Posted&>(self).runs; };
  reactor->post(work);
  CHECK(reactor->turn_for(100 * kSecond));
  CHECK(work.runs == 1);
}

TEST_CASE("a command that the driver does not know is answered with its error") {
  PatternFile file(4096);
  auto reactor = a_reactor();
  Read told;
  RingCommand command;
  command.fd = file.get();
  command.operation = 77;
  reactor->command(command, told);
  while (told.told == 0) reactor->turn();
  CHECK(told.result == -EOPNOTSUPP);
}

TEST_CASE("on a thread with a ring an engine's reads are done there") {
  const auto choice = GENERATE(EngineChoice::kUring, EngineChoice::kThreads);
  auto engine = open_engine({.choice = choice});
  REQUIRE(engine);
  PatternFile file(1 << 20);
  CHECK_FALSE(engine->engine->reads_on_this_ring());
  auto reactor = a_reactor();
  REQUIRE(engine->engine->reads_on_this_ring());
  struct Request : IoRequest {
    std::thread::id told_on;
    Status status;
  } request;
  std::vector<std::byte> into(100000);
  request.fd = file.get();
  request.offset = ByteOffset{5000};
  request.data = into.data();
  request.length = into.size();
  request.mode = GENERATE(ReadMode::kBuffered, ReadMode::kDropBehind);
  request.done = [](IoRequest& self, Status status) {
    static_cast<Request&>(self).status = status;
    static_cast<Request&>(self).told_on = std::this_thread::get_id();
  };
  engine->engine->submit(request);
  while (request.told_on == std::thread::id()) reactor->turn();
  CHECK(request.told_on == std::this_thread::get_id());
  CHECK(request.status);
  CHECK(file.holds(5000, into));

  SECTION("the end of the file is an error") {
    request.told_on = {};
    request.offset = ByteOffset{(1 << 20) - 10};
    engine->engine->submit(request);
    while (request.told_on == std::thread::id()) reactor->turn();
    CHECK(request.status.error() == Error{ErrorCode::kStoreIo, EIO});
  }
}

TEST_CASE("a read at once takes what is in memory, and says where it would wait") {
  auto engine = open_engine({});
  REQUIRE(engine);
  PatternFile file(256 << 10);
  std::vector<std::byte> into(8192);
  const ReadMode mode = GENERATE(ReadMode::kBuffered, ReadMode::kDropBehind);
  const auto here = engine->engine->read_at_once(file.get(), ByteOffset{4096}, into, mode);
  REQUIRE(here);
  if (*here) CHECK(file.holds(4096, into));
  CHECK(engine->engine->read_at_once(-1, ByteOffset{0}, into, mode).error() ==
        Error{ErrorCode::kStoreIo, EBADF});
}

}  // namespace
}  // namespace larder
