// SPDX-License-Identifier: Apache-2.0
// Many threads on few cookies: acquire, operations of all types, update, invalidate, rename,
// relinquish, index_of, the control files, and a cache that is withdrawn and comes back. Meant for
// the thread sanitizer; what it checks itself is that every operation has one fate and that nothing
// is left over.
#include <array>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/random.h"
#include "cache/world.h"
#include "io/thread_pool.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::cache;
using namespace larder::test;

namespace {

constexpr unsigned kThreads = 16;
constexpr int kRounds = 1200;

struct Stress;

struct StressOperation : Operation {
  Stress* stress = nullptr;
  Submitted answer = Submitted::kNever;
  bool taken_back = false;
  std::atomic<int> runs{0};
  std::atomic<int> cancels{0};
};

// What a cookie's netfs_data points to: freed as soon as relinquish has returned.
struct NetfsData {
  std::atomic<int> asked{0};
};

struct Stress {
  Stress()
      : machine({.name = "machine", .threads = 2}),
        answer({.name = "answer", .threads = 2}),
        fs(machine, answer, system_clock(), {}) {
    if (!fs.add_backend(std::make_unique<ScriptedBackend>())) std::abort();
    netfs = *fs.register_netfs("posix", 1);
    for (CookieRef& index : indices) {
      index =
          fs.acquire(netfs, index_definition, bytes_of("i" + std::to_string(&index - &indices[0])),
                     {}, ByteCount{0}, nullptr, 1);
    }
  }

  CookieRef any(Random& random) {
    MutexLock lock(mutex);
    return shared[random.below(kThreads)];
  }
  void share(unsigned thread, CookieRef cookie) {
    MutexLock lock(mutex);
    shared[thread] = std::move(cookie);
  }

  void submit_one(Random& random, std::vector<std::unique_ptr<StressOperation>>& mine) {
    auto operation = std::make_unique<StressOperation>();
    operation->stress = this;
    operation->type = static_cast<OperationType>(random.below(3));
    operation->kind = static_cast<OperationKind>(random.below(kOperationKinds));
    operation->sharing = random.one_in(5) ? Sharing::kExclusive : Sharing::kShareable;
    operation->run = [](Operation& self) {
      auto& o = static_cast<StressOperation&>(self);
      o.runs.fetch_add(1);
      o.stress->fs.complete(self);
    };
    operation->cancelled = [](Operation& self) {
      static_cast<StressOperation&>(self).cancels.fetch_add(1);
    };
    operation->answer = fs.submit(any(random), *operation);
    if (operation->answer == Submitted::kNow && operation->type == OperationType::kMyThread) {
      operation->runs.fetch_add(1);
      fs.complete(*operation);
    } else if (operation->answer == Submitted::kLater && random.one_in(4)) {
      operation->taken_back = fs.cancel(*operation);
    }
    mine.push_back(std::move(operation));
  }

  void thread(unsigned number, std::uint64_t seed) {
    Random random(Seed{seed + number});
    std::vector<std::unique_ptr<StressOperation>>& mine = operations[number];
    std::unique_ptr<NetfsData> data;
    CookieRef cookie;
    const std::string key = "f" + std::to_string(number);
    for (int i = 0; i < kRounds; ++i) {
      rounds.fetch_add(1);
      switch (random.below(14)) {
        case 0:
          if (cookie) {
            share(number, nullptr);
            fs.relinquish(std::move(cookie), random.one_in(2) ? Retire::kYes : Retire::kNo);
            data.reset();
          } else {
            data = std::make_unique<NetfsData>();
            cookie = fs.acquire(indices[random.below(2)], data_definition, bytes_of(key), {},
                                ByteCount{1}, data.get(), number);
            share(number, cookie);
          }
          break;
        case 1:
          fs.update(any(random), bytes_of("u"), ByteCount{1});
          break;
        case 2:
          if (random.one_in(4)) fs.invalidate(any(random), bytes_of("v"), ByteCount{1});
          break;
        case 3:
          if (random.one_in(16)) fs.rename(cookie, indices[random.below(2)], bytes_of(key));
          break;
        case 12:
          if (!cookie) break;
          if (random.one_in(2)) {
            fs.disable(cookie, random.one_in(2) ? Retire::kYes : Retire::kNo);
          } else {
            fs.enable(cookie, bytes_of("e"), ByteCount{1});
          }
          break;
        case 13:
          if (random.one_in(8)) static_cast<void>(fs.attr_changed(any(random), ByteCount{2}));
          fs.check_consistency(any(random), bytes_of("u"));
          break;
        case 4:
          fs.index_of(indices[random.below(2)]);
          break;
        case 5:
          if (random.one_in(64)) check(!text_of_all().empty(), "there is always a header");
          break;
        default:
          submit_one(random, mine);
          break;
      }
    }
    share(number, nullptr);
    if (cookie) fs.relinquish(std::move(cookie), Retire::kNo);
  }

  std::string text_of_all() {
    return read_all(fs.objects("KB")) + read_all(fs.operations()) + fs.netfs_text() +
           fs.stats_text() + fs.histogram_text();
  }

  ThreadPool machine;
  ThreadPool answer;
  CookieDefinition index_definition{"test.index", ObjectType::kIndex, nullptr};
  CookieDefinition data_definition{
      "test.data", ObjectType::kData, [](void* data, Bytes, ByteCount) {
        return static_cast<AuxCheck>(static_cast<NetfsData*>(data)->asked.fetch_add(1) % 3);
      }};
  FsCache fs;
  CookieRef netfs;
  std::atomic<int> rounds{0};
  std::array<CookieRef, 2> indices;
  Mutex mutex{Rank::kMount};
  std::array<CookieRef, kThreads> shared GUARDED_BY(mutex);
  std::array<std::vector<std::unique_ptr<StressOperation>>, kThreads> operations;
};

}  // namespace

TEST_CASE("many threads on few cookies leave nothing behind") {
  const char* chosen = std::getenv("LARDER_SEED");
  const Seed seed = fresh_if_zero(Seed{chosen ? std::strtoull(chosen, nullptr, 10) : 0});
  INFO("LARDER_SEED=" << seed.value);
  Stress stress;
  std::vector<std::thread> threads;
  std::atomic<unsigned> running{kThreads};
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      stress.thread(i, seed.value);
      running.fetch_sub(1);
    });
  }
  for (int next = 0; running.load() > 0; std::this_thread::yield()) {
    if (stress.rounds.load() < next) continue;
    next += 500;
    stress.fs.withdraw();
    REQUIRE(stress.fs.add_backend(std::make_unique<ScriptedBackend>()));
  }
  for (std::thread& thread : threads) thread.join();
  stress.fs.withdraw();
  stress.machine.stop();
  stress.answer.stop();

  for (const auto& mine : stress.operations) {
    for (const auto& o : mine) {
      CHECK((o->answer == Submitted::kNever) + o->runs + o->cancels + o->taken_back == 1);
    }
  }
  stats::Registry registry;
  stress.fs.register_in(registry);
  for (const auto& entry : registry.entries()) {
    if (entry.name == "cache.objects_live" || entry.name == "cache.ops_pending")
      CHECK(entry.read() == 0);
    if (entry.name == "cache.cookies_live") CHECK(entry.read() == 3);
  }
}
