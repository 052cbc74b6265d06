// SPDX-License-Identifier: Apache-2.0
// Sixteen threads on a few files of a real store, with the data calls: acquire, read, write,
// invalidate, rename, relinquish, release of pages, and a cache that is withdrawn and comes back.
// Meant for the thread sanitizer. What it checks itself: no page is of another file, another place
// or an older version than the reader knew of; each call has one end; nothing is left over.
#include <larder/buffer.h>
#include <larder/pages.h>
#include <larder/store_check.h>

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/random.h"
#include "cache/stats.h"
#include "io/thread_pool.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::cache;

namespace {

constexpr unsigned kThreads = 16;
constexpr std::uint64_t kPages = 8;  // of a file
constexpr ByteCount kSize{kPages * kPageSize};

int rounds() {
  const char* chosen = std::getenv("LARDER_STRESS_ROUNDS");
  return chosen != nullptr ? std::atoi(chosen) : 600;
}

// What a page says of itself, at its beginning and at its end.
struct Label {
  std::uint32_t file, page, version;
};

void paint(std::span<std::byte> page, const Label& label) {
  std::memcpy(page.data(), &label, sizeof label);
  std::memcpy(page.data() + page.size() - sizeof label, &label, sizeof label);
}

// The netfs's file: what it is now, whatever of it is cached. A version is in the world before the
// cache hears of it, so both happen under `changing`, as does that a write is of the present one.
struct File {
  static AuxCheck check(void* self, Bytes aux, ByteCount) {
    const std::string now = std::to_string(static_cast<File*>(self)->version.load());
    const bool is_now =
        now.size() == aux.size() && std::memcmp(now.data(), aux.data(), now.size()) == 0;
    return is_now ? AuxCheck::kOkay : AuxCheck::kObsolete;
  }
  std::string aux() const { return std::to_string(version.load()); }

  std::uint32_t number = 0;
  std::atomic<std::uint32_t> version{1};
  Mutex changing{Rank::kInode};
  CookieRef cookie GUARDED_BY(changing);
};

constexpr CookieDefinition kIndexKind{"test.index", ObjectType::kIndex, nullptr};
constexpr CookieDefinition kFileKind{"test.file", ObjectType::kData, File::check};

// So that idle ones are closed all the time.
const FsCacheOptions kFewObjects{.objects = 24, .frun = 50, .fcull = 40, .fstop = 5};

struct Stress;

struct AnyRead : PageRead {
  AnyRead(Stress& the_stress, File& the_file, PageRange range);
  Stress& stress;
  File& file;
  const std::uint32_t knew = file.version.load();
  AlignedBuffer buffer;
};

struct AnyWrite : PageWrite {
  AnyWrite(Stress& the_stress, PageRange range);
  Stress& stress;
  AlignedBuffer buffer;
};

struct Stress {
  Stress(store::Store& the_store, ThreadPool& machine_queue, ThreadPool& answer)
      : store(the_store), fs(machine_queue, answer, system_clock(), kFewObjects), pages(fs) {
    check(fs.add_cache(store).has_value(), "the only cache");
    netfs = *fs.register_netfs("stress", 1);
    for (std::size_t i = 0; i < indices.size(); ++i) {
      indices[i] = fs.acquire(netfs, kIndexKind, bytes("i" + std::to_string(i)), {}, ByteCount{0},
                              nullptr, 1);
    }
    for (std::uint32_t i = 0; i < kThreads; ++i) files[i].number = i;
  }

  static Bytes bytes(const std::string& text) { return std::as_bytes(std::span(text)); }
  static PageRange some_pages(Random& random) {
    const std::uint64_t first = random.below(kPages);
    return {PageIndex{first}, PageCount{1 + random.below(kPages - first)}};
  }

  // Of what was read, each run as it comes.
  void look_at(const AnyRead& read, PageRange run) {
    const std::uint32_t newest = read.file.version.load();
    for (PageIndex page = run.first; page < run.end(); page = page + PageCount{1}) {
      Label head{}, tail{};
      const std::byte* const at =
          read.buffer.data() + (page - read.pages.first).value() * kPageSize;
      std::memcpy(&head, at, sizeof head);
      std::memcpy(&tail, at + kPageSize - sizeof tail, sizeof tail);
      const bool is_right = head.file == read.file.number && head.page == page.value() &&
                            head.version >= read.knew && head.version <= newest &&
                            std::memcmp(&head, &tail, sizeof head) == 0;
      if (!is_right) wrong.fetch_add(1);
      pages_read.fetch_add(1);
    }
  }

  void read(File& file, Random& random) {
    CookieRef cookie;
    std::unique_ptr<AnyRead> one;
    {
      MutexLock lock(file.changing);
      cookie = file.cookie;
      one = std::make_unique<AnyRead>(*this, file, some_pages(random));
    }
    going.fetch_add(1);
    if (pages.read_or_alloc_pages(cookie, *one) == PageResult::kWaits) {
      static_cast<void>(one.release());  // frees itself
    } else {
      going.fetch_sub(1);
    }
  }

  void write(File& file, Random& random) {
    auto one = std::make_unique<AnyWrite>(*this, some_pages(random));
    MutexLock lock(file.changing);
    for (std::uint64_t i = 0; i < one->pages.count.value(); ++i) {
      const auto page = static_cast<std::uint32_t>(one->pages.first.value() + i);
      paint(one->buffer.span().subspan(i * kPageSize, kPageSize),
            {file.number, page, file.version.load()});
    }
    going.fetch_add(1);
    if (pages.write_pages(file.cookie, *one) == PageResult::kDone) {
      static_cast<void>(one.release());  // frees itself
    } else {
      going.fetch_sub(1);
    }
  }

  void invalidate(File& file) {
    MutexLock lock(file.changing);
    file.version.fetch_add(1);
    fs.invalidate(file.cookie, bytes(file.aux()), kSize);
  }

  void come_or_go(File& file, Random& random) {
    CookieRef cookie;
    {
      MutexLock lock(file.changing);
      cookie = std::exchange(file.cookie, nullptr);
    }
    if (cookie) {
      fs.relinquish(std::move(cookie), random.one_in(3) ? Retire::kYes : Retire::kNo);
      return;
    }
    MutexLock lock(file.changing);
    file.cookie = fs.acquire(indices[random.below(indices.size())], kFileKind,
                             bytes("f" + std::to_string(file.number)), bytes(file.aux()), kSize,
                             &file, file.number);
  }

  void thread(std::uint32_t number, Seed seed) {
    Random random(seed);
    File& own = files[number];
    for (int i = 0; i < rounds(); ++i) {
      while (going.load() > 500) std::this_thread::yield();
      File& any = files[random.below(kThreads)];
      done.fetch_add(1);
      switch (random.below(16)) {
        case 0:
          come_or_go(own, random);
          break;
        case 1:
          if (random.one_in(2)) invalidate(any);
          break;
        case 2: {
          MutexLock lock(own.changing);
          fs.rename(own.cookie, indices[random.below(indices.size())],
                    bytes("f" + std::to_string(number)));
          break;
        }
        case 3: {
          MutexLock lock(any.changing);
          pages.maybe_release(any.cookie, some_pages(random));
          break;
        }
        case 4: {
          MutexLock lock(any.changing);
          pages.uncache_pages(any.cookie, some_pages(random));
          pages.alloc_pages(any.cookie, some_pages(random));
          static_cast<void>(fs.attr_changed(any.cookie, kSize));
          break;
        }
        case 5:
          if (random.one_in(8)) static_cast<void>(store.sync());
          break;
        case 6:
        case 7:
        case 8:
        case 9:
          write(any, random);
          break;
        default:
          read(any, random);
          break;
      }
    }
    if (own_cookie(own)) come_or_go(own, random);
  }
  // When all is over, what is written is read.
  void write_and_read_all() {
    Random random(Seed{1});
    for (File& file : files) {
      come_or_go(file, random);
      while (!is_up(file)) std::this_thread::yield();
      write(file, random);
      while (going.load() > 0) std::this_thread::yield();
      for (int i = 0; i < 8; ++i) read(file, random);
      while (going.load() > 0) std::this_thread::yield();
      come_or_go(file, random);
    }
  }
  bool is_up(File& file) {
    MutexLock lock(file.changing);
    Operation tries;  // by which a cookie that was refused an object asks again
    if (fs.submit(file.cookie, tries) != Submitted::kNow) return false;
    fs.complete(tries);
    return true;
  }

  static bool own_cookie(File& file) {
    MutexLock lock(file.changing);
    return file.cookie != nullptr;
  }

  store::Store& store;
  FsCache fs;
  Pages pages;
  CookieRef netfs;
  std::array<CookieRef, 2> indices;
  std::array<File, kThreads> files;
  std::atomic<int> going{0}, wrong{0}, done{0};
  std::atomic<std::uint64_t> pages_read{0};
};

AnyRead::AnyRead(Stress& the_stress, File& the_file, PageRange range)
    : stress(the_stress), file(the_file), buffer(range.count.value() * kPageSize) {
  pages = range;
  into = buffer.span();
  end_io = [](PageRead& self, PageRange are_there) {
    const auto& read = static_cast<AnyRead&>(self);
    read.stress.look_at(read, are_there);
  };
  ended = [](PageRead& self, PageResult) {
    const std::unique_ptr<AnyRead> last(static_cast<AnyRead*>(&self));
    last->stress.going.fetch_sub(1);
  };
}

AnyWrite::AnyWrite(Stress& the_stress, PageRange range)
    : stress(the_stress), buffer(range.count.value() * kPageSize) {
  pages = range;
  data = buffer.span();
  file_size = kSize;
  stored = [](PageWrite& self, Status) {
    const std::unique_ptr<AnyWrite> last(static_cast<AnyWrite*>(&self));
    last->stress.going.fetch_sub(1);
  };
}

void run_all(Stress& stress, Seed seed) {
  std::vector<std::thread> threads;
  std::atomic<unsigned> running{kThreads};
  for (std::uint32_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      stress.thread(i, Seed{seed.value + i});
      running.fetch_sub(1);
    });
  }
  for (int next = 500; running.load() > 0; std::this_thread::yield()) {
    if (stress.done.load() < next) continue;
    next += 500;
    stress.fs.withdraw();
    REQUIRE(stress.fs.add_cache(stress.store));
  }
  for (std::thread& thread : threads) thread.join();
  while (stress.going.load() > 0) std::this_thread::yield();
}

}  // namespace

TEST_CASE("many threads on few files of a real store read nothing wrong and leave nothing behind") {
  const char* chosen = std::getenv("LARDER_SEED");
  const Seed seed = fresh_if_zero(Seed{chosen ? std::strtoull(chosen, nullptr, 10) : 0});
  INFO("LARDER_SEED=" << seed.value);
  std::string path = (std::filesystem::temp_directory_path() / "larder-stress-XXXXXX").string();
  const int fd = ::mkstemp(path.data());
  REQUIRE(fd >= 0);
  ::close(fd);
  auto device = store::open_device({.path = path, .size = store::kSmallestStore, .forbidden = {}});
  REQUIRE(device);
  auto engine = open_engine({.choice = EngineChoice::kThreads, .threads = 2});
  REQUIRE(engine);
  ThreadPool machine({.name = "machine", .threads = 2});
  ThreadPool answer({.name = "answer", .threads = 2});
  auto store = store::Store::open(std::move(*device), {.commit_ns = 2 * kMillisecond},
                                  *engine->engine, machine, system_clock(), Seed{5});
  REQUIRE(store);
  {
    Stress stress(**store, machine, answer);
    run_all(stress, seed);
    stress.write_and_read_all();
    CHECK(stress.wrong == 0);
    CHECK(stress.pages_read > 0);
    stress.fs.withdraw();
    machine.stop();
    answer.stop();
    const Counters& counters = stress.fs.counters();
    CHECK(counters.objects_swept.value() > 0);
    CHECK(counters.objects_live.value() == 0);
    CHECK(counters.ops_pending.value() == 0);
    CHECK(counters.cookies_live.value() == 3);  // the netfs and two indices
  }
  CHECK((*store)->counters().sum_errors.value() == 0);
  CHECK((*store)->counters().fills.value() > 0);
  for (const std::string& line : check_store(**store)) {
    CAPTURE(line);
    CHECK(line.empty());
  }
  (*store)->close();
  std::filesystem::remove(path);
}
