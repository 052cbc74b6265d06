// SPDX-License-Identifier: Apache-2.0
// Many threads on one store, on a real file: for the thread sanitizer, and for what only threads
// find.
#include <larder/clock.h>

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "base/random.h"
#include "io/thread_pool.h"
#include "rig.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {

constexpr std::uint64_t kFiles = 8;
constexpr std::uint64_t kPages = 512;

// A fill that frees itself.
struct FreeFill : Fill {
  AlignedBuffer buffer;
  std::atomic<int>* in_flight = nullptr;
};

class Stress {
 public:
  explicit Stress(Store& store, int rounds) : store_(store), rounds_(rounds) {
    for (std::uint64_t i = 0; i < kFiles; ++i) {
      auto made = store.create(store.root(), ObjectType::kData, bytes(std::to_string(i)),
                               bytes("0"), ByteCount{kPages * kPageSize});
      check(made.has_value(), "an object can be made");
      files_.push_back(*made);
    }
  }

  void run() {
    std::vector<std::thread> threads;
    filling_ = 2;
    for (std::uint64_t i = 0; i < 2; ++i) threads.emplace_back([this, i] { fill(Seed{100 + i}); });
    for (std::uint64_t i = 0; i < 2; ++i) threads.emplace_back([this, i] { read(Seed{200 + i}); });
    threads.emplace_back([this] { disturb(Seed{300}); });
    threads.emplace_back([this] { resize(); });
    for (std::thread& thread : threads) thread.join();
    while (in_flight_.load() != 0) std::this_thread::yield();
    for (const ObjectRef& file : files_)
      store_.end_session(file, bytes("z"), ByteCount{kPages * kPageSize});
    filling_ = 1;
    fill(Seed{400});
    while (in_flight_.load() != 0) std::this_thread::yield();
    read(Seed{500});
  }
  int wrong() const { return wrong_.load(); }
  std::uint64_t read_pages() const { return read_pages_.load(); }

 private:
  // Content depends on the place alone, so every byte can be told right or wrong at any time.
  void fill(Seed seed) {
    Random random(seed);
    for (int i = 0; i < rounds_; ++i) {
      auto* one = new FreeFill;
      one->object = files_[random.below(kFiles)];
      one->generation = store_.generation(one->object);
      one->first = PageIndex{random.below(kPages - 64)};
      one->buffer = AlignedBuffer((1 + random.below(64)) * kPageSize);
      for (std::uint64_t page = 0; page < one->buffer.size() / kPageSize; ++page) {
        paint(one->buffer.span().subspan(page * kPageSize, kPageSize), 0, one->first.value() + page,
              1);
      }
      one->data = one->buffer.span();
      one->file_size = ByteCount{kPages * kPageSize};
      one->in_flight = &in_flight_;
      one->done = [](Fill& self, Status) {
        auto* done = static_cast<FreeFill*>(&self);
        std::atomic<int>& in_flight = *done->in_flight;
        delete done;
        in_flight.fetch_sub(1);
      };
      in_flight_.fetch_add(1);
      store_.fill(*one);
    }
    filling_.fetch_sub(1);
  }

  void read(Seed seed) {
    Random random(seed);
    AlignedBuffer into(64 * kPageSize), expected(kPageSize);
    for (int i = 0; i < rounds_ || filling_.load() != 0; ++i) {
      const std::uint64_t first = random.below(kPages - 64);
      const PageRange range{PageIndex{first}, PageCount{1 + random.below(64)}};
      const PageCount got = store_.read_now(files_[random.below(kFiles)], range, into.span());
      for (std::uint64_t page = 0; page < got.value(); ++page) {
        paint(expected.span(), 0, first + page, 1);
        if (std::memcmp(expected.data(), into.data() + page * kPageSize, kPageSize) != 0)
          wrong_.fetch_add(1);
      }
      read_pages_.fetch_add(got.value());
    }
  }

  void disturb(Seed seed) {
    Random random(seed);
    for (int i = 0; i < rounds_; ++i) {
      const ObjectRef& file = files_[random.below(kFiles)];
      const PageRange some{PageIndex{random.below(kPages)}, PageCount{1 + random.below(32)}};
      switch (random.below(6)) {
        case 0:
          store_.invalidate(file, bytes("x"), ByteCount{kPages * kPageSize});
          break;
        case 1:
          store_.begin_session(file);
          break;
        case 2:
          store_.end_session(file, bytes("y"), ByteCount{kPages * kPageSize});
          break;
        case 3:
          store_.drop(file, some);
          break;
        case 4:
          store_.put_name(store_.root(), std::to_string(random.below(50)), {});
          break;
        default:
          if (!store_.sync()) wrong_.fetch_add(1);
      }
    }
  }

  // At least once each way, until all has been filled; ends as small as it began.
  void resize() {
    for (int i = 0; i < 2 || i % 2 == 1 || filling_.load() != 0; ++i) {
      if (!store_.resize(ByteCount{kSmallestStore.value() * (i % 2 == 0 ? 2 : 1)}))
        wrong_.fetch_add(1);
    }
  }

  Store& store_;
  const int rounds_;
  std::vector<ObjectRef> files_;
  std::atomic<int> in_flight_{0}, wrong_{0}, filling_{0};
  std::atomic<std::uint64_t> read_pages_{0};
};

}  // namespace

TEST_CASE(
    "threads that fill, read, drop, invalidate, commit and resize at once read nothing wrong") {
  std::string path = (std::filesystem::temp_directory_path() / "larder-stress-XXXXXX").string();
  const int fd = ::mkstemp(path.data());
  REQUIRE(fd >= 0);
  ::close(fd);
  auto device = open_device({.path = path, .size = kSmallestStore, .forbidden = {}});
  REQUIRE(device);
  auto engine = open_engine({.choice = EngineChoice::kThreads, .threads = 2});
  REQUIRE(engine);
  {
    ThreadPool machine({.name = "machine", .threads = 2});
    Options options;
    options.commit_ns = 2 * kMillisecond;
    auto opened =
        Store::open(std::move(*device), options, *engine->engine, machine, system_clock(), Seed{5});
    REQUIRE(opened);
    std::unique_ptr<Store> store = std::move(*opened);
    const char* rounds = std::getenv("LARDER_STRESS_ROUNDS");
    {
      Stress stress(*store, rounds == nullptr ? 300 : std::atoi(rounds));
      stress.run();
      CHECK(stress.wrong() == 0);
      CHECK(stress.read_pages() > 0);
    }
    CHECK(store->sync());
    CHECK(store->state() == State::kOpen);
    CHECK(store->counters().sum_errors.value() == 0);
    CHECK(store->counters().fills.value() > 0);
    CHECK(store->counters().resizes.value() >= 2);
    for (const std::string& line : check_store(*store)) {
      CAPTURE(line);
      CHECK(line.empty());
    }
    store->close();
  }
  std::filesystem::remove(path);
}
