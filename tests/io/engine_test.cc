// SPDX-License-Identifier: Apache-2.0
// One suite for both engines, each also with transfers so small that every request is carried on.
// It checks the contract of <larder/io_engine.h> against a real file.
#include <fcntl.h>
#include <larder/io_engine.h>

#include <atomic>
#include <cerrno>
#include <deque>
#include <fstream>
#include <functional>
#include <thread>
#include <vector>

#include "io/scratch.h"
#include "io/thread_engine.h"
#include "io/uring_engine.h"

using namespace larder;
using namespace larder::test;

namespace {

struct EngineCase {
  std::string name;
  bool uring;
  unsigned lanes;  // depth or threads
  std::size_t max_transfer_bytes;
};

const std::vector<EngineCase> kEngines = {
    {"io_uring", true, 64, kMaxTransfer},
    {"io_uring, depth 3, 5000 bytes at a time", true, 3, 5000},
    {"threads", false, 4, kMaxTransfer},
    {"threads, one, 5000 bytes at a time", false, 1, 5000},
};

// nullptr: this machine has no io_uring, which is said.
std::unique_ptr<IoEngine> make_engine(const EngineCase& c) {
  if (!c.uring) {
    return std::make_unique<ThreadEngine>(
        ThreadEngineOptions{.threads = c.lanes, .max_transfer_bytes = c.max_transfer_bytes});
  }
  auto engine = UringEngine::open({.depth = c.lanes, .max_transfer_bytes = c.max_transfer_bytes});
  if (engine) return std::move(*engine);
  WARN("skipped: " << engine.error().line);
  return nullptr;
}

#define FOR_EACH_ENGINE(engine)                                           \
  const auto i_case = GENERATE(range(std::size_t{0}, kEngines.size()));   \
  INFO(kEngines[i_case].name);                                            \
  const std::unique_ptr<IoEngine> engine = make_engine(kEngines[i_case]); \
  if (engine == nullptr) return

// A request that keeps its answer.
struct Kept : IoRequest {
  Kept(Kind k, int file, std::uint64_t at, std::span<std::byte> bytes, Tally& t) : tally(&t) {
    kind = k;
    fd = file;
    offset = ByteOffset{at};
    data = bytes.data();
    length = bytes.size();
    done = [](IoRequest& self, Status answer) {
      Kept& kept = static_cast<Kept&>(self);
      kept.status = answer;
      ++kept.told;
      kept.tally->add();
    };
  }
  Tally* tally;
  Status status = fail(ErrorCode::kCancelled);
  int told = 0;
};

Status run(IoEngine& engine, IoRequest::Kind kind, int fd, std::uint64_t at,
           std::span<std::byte> bytes) {
  Tally tally;
  Kept request(kind, fd, at, bytes, tally);
  engine.submit(request);
  tally.wait_for(1);
  CHECK(request.told == 1);
  return request.status;
}

std::vector<std::byte> content(std::uint64_t at, std::size_t length, std::uint64_t version) {
  std::vector<std::byte> bytes(length);
  for (std::size_t i = 0; i < length; ++i) bytes[i] = pattern(at + i, version);
  return bytes;
}

const Error kEndOfFile{ErrorCode::kStoreIo, EIO};
const Error kBadFd{ErrorCode::kStoreIo, EBADF};

}  // namespace

TEST_CASE("what an engine writes is in the file, and it reads it back") {
  FOR_EACH_ENGINE(engine);
  const Fd file = scratch_file();
  const std::vector<std::byte> bytes = content(3000, 70000, 1);
  REQUIRE(write_and_wait(*engine, file.get(), ByteOffset{3000}, bytes));
  REQUIRE(flush_and_wait(*engine, file.get()));

  std::vector<std::byte> seen(bytes.size());
  REQUIRE(::pread(file.get(), seen.data(), seen.size(), 3000) == static_cast<ssize_t>(seen.size()));
  CHECK((seen == bytes));  // in brackets: not to be printed

  std::fill(seen.begin(), seen.end(), std::byte{0});
  REQUIRE(run(*engine, IoRequest::Kind::kRead, file.get(), 3000, seen));
  CHECK((seen == bytes));  // in brackets: not to be printed

  std::fill(seen.begin(), seen.end(), std::byte{0});
  REQUIRE(engine->read_now(file.get(), ByteOffset{3000}, seen));
  CHECK((seen == bytes));  // in brackets: not to be printed
}

TEST_CASE("a read past the end of the file is an error, not a short answer") {
  FOR_EACH_ENGINE(engine);
  const Fd file = scratch_file();
  REQUIRE(write_and_wait(*engine, file.get(), ByteOffset{0}, content(0, 10000, 1)));
  std::vector<std::byte> seen(10000);
  for (const std::uint64_t at :
       {std::uint64_t{1}, std::uint64_t{9999}, std::uint64_t{10000}, std::uint64_t{1} << 40}) {
    INFO("at " << at);
    CHECK(run(*engine, IoRequest::Kind::kRead, file.get(), at, seen).error() == kEndOfFile);
    CHECK(engine->read_now(file.get(), ByteOffset{at}, seen).error() == kEndOfFile);
  }
  // To the very end, and nothing at all, are no errors.
  CHECK(run(*engine, IoRequest::Kind::kRead, file.get(), 0, seen));
  CHECK(run(*engine, IoRequest::Kind::kRead, file.get(), 10000, {}));
  CHECK(run(*engine, IoRequest::Kind::kWrite, file.get(), 20000, {}));
  CHECK(::lseek(file.get(), 0, SEEK_END) == 10000);
}

TEST_CASE("what the system refuses comes back as its errno") {
  FOR_EACH_ENGINE(engine);
  std::vector<std::byte> bytes(4096);
  for (const auto kind :
       {IoRequest::Kind::kRead, IoRequest::Kind::kWrite, IoRequest::Kind::kFlush}) {
    CHECK(run(*engine, kind, -1, 0, bytes).error() == kBadFd);
  }
  CHECK(run(*engine, IoRequest::Kind::kWriteback, -1, 0, bytes));  // a hint has no errors
  CHECK(engine->read_now(-1, ByteOffset{0}, bytes).error() == kBadFd);
  CHECK(write_and_wait(*engine, -1, ByteOffset{0}, bytes).error() == kBadFd);
  CHECK(flush_and_wait(*engine, -1).error() == kBadFd);

  const Fd full(::open("/dev/full", O_RDWR | O_CLOEXEC));
  REQUIRE(full.valid());
  CHECK(write_and_wait(*engine, full.get(), ByteOffset{0}, bytes).error() ==
        Error{ErrorCode::kStoreIo, ENOSPC});
  // An error of one request leaves the engine as it was.
  const Fd file = scratch_file();
  CHECK(write_and_wait(*engine, file.get(), ByteOffset{0}, bytes));
}

TEST_CASE("more requests than the device takes at once are all told once, from any thread") {
  FOR_EACH_ENGINE(engine);
  constexpr std::size_t kThreads = 4, kEach = 250, kLength = 6000;
  const Fd file = scratch_file();
  Tally tally;
  std::vector<std::vector<std::byte>> bytes;
  std::deque<Kept> requests;
  for (std::size_t i = 0; i < kThreads * kEach; ++i) {
    bytes.push_back(content(i * kLength, kLength, 5));
    requests.emplace_back(IoRequest::Kind::kWrite, file.get(), i * kLength, bytes.back(), tally);
  }
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < kEach; ++i) engine->submit(requests[t * kEach + i]);
    });
  }
  // A thread that submits may end before its requests are done.
  for (std::thread& thread : threads) thread.join();
  tally.wait_for(requests.size());
  for (const Kept& request : requests) {
    REQUIRE(request.status);
    REQUIRE(request.told == 1);
  }
  std::vector<std::byte> seen(requests.size() * kLength);
  REQUIRE(engine->read_now(file.get(), ByteOffset{0}, seen));
  CHECK((seen == content(0, seen.size(), 5)));  // in brackets: not to be printed
}

namespace {

// One region of the file with a life of its own: write, read and compare, flush, at random, each
// begun by the `done` of the one before, with the same request.
struct Region : IoRequest {
  IoEngine* engine = nullptr;
  Tally* ended = nullptr;
  std::uint64_t first = 0;  // of the region
  std::size_t size = 0;
  std::uint64_t version = 0;
  unsigned steps_left = 0;
  unsigned wrong = 0;
  std::vector<std::byte> buffer;
  std::unique_ptr<Random> random;

  void step() {
    if (steps_left-- == 0) return ended->add();
    const std::uint64_t choice = version == 0 ? 0 : random->below(8);
    kind = choice < 3 ? Kind::kWrite : choice < 7 ? Kind::kRead : Kind::kFlush;
    offset = ByteOffset{first};
    length = size;
    if (kind == Kind::kWrite) {
      buffer = content(first, size, ++version);
    } else if (kind == Kind::kRead) {
      // A part of it, at no alignment.
      const std::uint64_t skip = random->below(size);
      offset = ByteOffset{first + skip};
      length = 1 + random->below(size - skip);
      std::fill(buffer.begin(), buffer.end(), std::byte{0});
    }
    data = buffer.data();
    engine->submit(*this);
  }

  void verify(const Status& status) {
    if (!status) ++wrong;
    if (kind != Kind::kRead) return;
    for (std::size_t i = 0; i < length; ++i) {
      if (buffer[i] != pattern(offset.value() + i, version)) ++wrong;
    }
  }
};

}  // namespace

TEST_CASE("thousands of mixed requests move the right bytes to and from the right places") {
  FOR_EACH_ENGINE(engine);
  const Seed seed = seed_of_run();
  INFO("LARDER_SEED=" << seed.value);
  Random random(seed);
  const Fd file = scratch_file();
  Tally ended;
  std::deque<Region> regions(100);
  std::uint64_t at = 0;
  for (Region& region : regions) {
    region.engine = engine.get();
    region.ended = &ended;
    region.fd = file.get();
    region.first = at;
    region.size = 1 + static_cast<std::size_t>(random.below(20000));
    region.steps_left = 40;
    region.random = std::make_unique<Random>(Seed{random.next() | 1});
    region.done = [](IoRequest& self, Status status) {
      Region& r = static_cast<Region&>(self);
      r.verify(status);
      r.step();
    };
    at += region.size;
  }
  for (Region& region : regions) region.step();
  ended.wait_for(regions.size());
  std::vector<std::byte> seen;
  for (const Region& region : regions) {
    REQUIRE(region.wrong == 0);
    seen.resize(region.size);
    REQUIRE(engine->read_now(file.get(), ByteOffset{region.first}, seen));
    REQUIRE((seen == content(region.first, region.size,
                             region.version)));  // in brackets: not to be printed
  }
}

namespace {

constexpr std::size_t kSideBySide = 40, kEachLength = 6000;

// Whoever writes tells of this one and finds the others waiting, side by side in the file.
struct Opener : Kept {
  // `all` in pieces, the first of which is its own.
  Opener(IoEngine& an_engine, int file, std::span<std::byte> all, Tally& t)
      : Kept(Kind::kWrite, file, 0, all.first(kEachLength), t), keep(done), engine(&an_engine) {
    for (std::size_t at = kEachLength; at < all.size(); at += kEachLength)
      others.emplace_back(Kind::kWrite, file, at, all.subspan(at, kEachLength), t);
    done = [](IoRequest& self, Status answer) {
      Opener& opener = static_cast<Opener&>(self);
      for (Kept& one : opener.others) opener.engine->submit(one);
      opener.keep(self, answer);
    };
  }
  void (*keep)(IoRequest&, Status);
  IoEngine* engine;
  std::deque<Kept> others;
};

// Writing system calls of this process so far.
std::uint64_t write_calls() {
  std::ifstream io("/proc/self/io");
  std::string name;
  std::uint64_t value = 0;
  while (io >> name >> value) {
    if (name == "syscw:") return value;
  }
  return 0;
}

}  // namespace

TEST_CASE("writes that wait side by side are few calls, and each is told") {
  FOR_EACH_ENGINE(engine);
  const Fd file = scratch_file();
  std::vector<std::byte> all = content(0, kEachLength * (kSideBySide + 1), 3);
  Tally tally;
  Opener opener(*engine, file.get(), all, tally);
  const std::uint64_t before = write_calls();
  engine->submit(opener);
  tally.wait_for(kSideBySide + 1);
  const std::uint64_t calls = write_calls() - before;
  if (before != 0 && kEngines[i_case].max_transfer_bytes == kMaxTransfer) CHECK(calls < 10);
  for (const Kept& one : opener.others) REQUIRE((one.status && one.told == 1));
  std::vector<std::byte> seen(all.size());
  REQUIRE(engine->read_now(file.get(), ByteOffset{0}, seen));
  CHECK((seen == all));  // in brackets: not to be printed
}

TEST_CASE("where one of the writes side by side fails, only that one hears of it") {
  FOR_EACH_ENGINE(engine);
  const Fd file = scratch_file();
  std::vector<std::byte> all = content(0, kEachLength * (kSideBySide + 1), 3);
  Tally tally;
  Opener opener(*engine, file.get(), all, tally);
  constexpr std::size_t kBroken = kSideBySide / 2;
  opener.others[kBroken - 1].data = reinterpret_cast<std::byte*>(16);  // memory that is not there
  engine->submit(opener);
  tally.wait_for(kSideBySide + 1);
  std::vector<std::byte> seen(kEachLength);
  for (std::size_t i = 1; i <= kSideBySide; ++i) {
    INFO(i);
    const Kept& one = opener.others[i - 1];
    REQUIRE(one.told == 1);
    if (i == kBroken) {
      CHECK(one.status.error() == Error{ErrorCode::kStoreIo, EFAULT});
      continue;
    }
    CHECK(one.status);
    REQUIRE(engine->read_now(file.get(), ByteOffset{i * kEachLength}, seen));
    CHECK((seen == content(i * kEachLength, kEachLength, 3)));  // in brackets: not to be printed
  }
}

TEST_CASE("an engine that ends has told everyone") {
  for (const EngineCase& c : kEngines) {
    INFO(c.name);
    const Fd file = scratch_file();
    std::vector<std::byte> bytes(9000);
    Tally tally;
    std::deque<Kept> requests;
    std::unique_ptr<IoEngine> engine = make_engine(c);
    if (engine == nullptr) continue;
    for (int i = 0; i < 200; ++i) {
      requests.emplace_back(IoRequest::Kind::kWrite, file.get(), 0, bytes, tally);
      engine->submit(requests.back());
    }
    engine.reset();
    CHECK(tally.count() == requests.size());
    for (const Kept& request : requests) REQUIRE(request.status);
  }
}

TEST_CASE("engines come and go without a trace") {
  for (int i = 0; i < 50; ++i) {
    for (const EngineCase& c : kEngines) {
      const std::unique_ptr<IoEngine> engine = make_engine(c);
      if (engine != nullptr && i % 2 == 0) {
        REQUIRE(flush_and_wait(*engine, scratch_file().get()));
      }
    }
  }
  // The lowest free descriptor is as low as before: none was left open.
  const Fd before(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  for (const EngineCase& c : kEngines) make_engine(c);
  const int was = before.get();
  const Fd after(::dup(was));
  CHECK(after.get() <= was + 1);
}
