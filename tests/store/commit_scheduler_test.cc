// SPDX-License-Identifier: Apache-2.0
// The commit scheduler against a naive database of numbers, alone and with threads.
#include "store/commit_scheduler.h"

#include <map>
#include <string>
#include <thread>

#include "base/random.h"
#include "rig.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {

// Changes are made in place and undone by a roll-back, as a real one's locks would have it.
class Numbers final : public TransactionSource {
 public:
  std::map<std::string, int> now;
  std::vector<Access> begun;
  unsigned commits = 0;
  unsigned conflicts_at_commit = 0, conflicts_at_begin = 0;
  Status commit_answer;

  class Change final : public Transaction {
   public:
    Change(Numbers& all, Access an_access) : access(an_access), all_(all), before_(all.now) {}
    ~Change() override {
      if (!committed_) all_.now = before_;
    }
    Status commit() override {
      if (all_.conflicts_at_commit > 0) {
        --all_.conflicts_at_commit;
        return fail(ErrorCode::kConflict);
      }
      if (!all_.commit_answer) return all_.commit_answer;
      committed_ = true;
      ++all_.commits;
      return {};
    }
    void add(const std::string& name, int what) {
      check(access == Access::kReadWrite, "a read-only transaction is only read");
      all_.now[name] += what;
    }
    const Access access;

   private:
    Numbers& all_;
    const std::map<std::string, int> before_;
    bool committed_ = false;
  };

  Result<std::unique_ptr<Transaction>> begin(Access access) override {
    begun.push_back(access);
    if (conflicts_at_begin > 0) {
      --conflicts_at_begin;
      return fail(ErrorCode::kConflict);
    }
    return std::make_unique<Change>(*this, access);
  }
};

struct Asked : CommitRequest {
  int runs = 0, resets = 0, told = 0;
  Status answer;
  Status result;  // of its run

  Asked(const std::string& name, int what, Urgency an_urgency = Urgency::kEager) {
    urgency = an_urgency;
    run = [this, name, what](Transaction& transaction) {
      ++runs;
      static_cast<Numbers::Change&>(transaction).add(name, what);
      return result;
    };
    reset = [this] { ++resets; };
    done = [this](Status status) {
      ++told;
      answer = status;
    };
  }
  void only_reads() {
    access = Access::kReadOnly;
    run = [this](Transaction&) {
      ++runs;
      return result;
    };
  }
};

struct World {
  SimClock clock;
  Numbers numbers;
  CommitScheduler scheduler;
  explicit World(CommitScheduler::Options options = {.interval_ns = kSecond})
      : scheduler(clock, numbers, options) {}
};

}  // namespace

TEST_CASE("an eager request goes at once and takes the lazy ones along: one commit") {
  World w;
  Asked a("a", 1, Urgency::kLazy), b("b", 2, Urgency::kLazy), c("c", 4);
  w.scheduler.submit(a);
  w.scheduler.submit(b);
  CHECK(w.numbers.commits == 0);
  CHECK(w.scheduler.execute(c));
  CHECK(w.numbers.commits == 1);
  CHECK(w.numbers.now == std::map<std::string, int>{{"a", 1}, {"b", 2}, {"c", 4}});
  for (const Asked* one : {&a, &b, &c}) {
    CHECK(one->runs == 1);
    CHECK(one->resets == 1);
    CHECK(one->told == 1);
    CHECK(one->answer);
  }
}

TEST_CASE("a lazy request waits for the interval since its batch was opened, and no longer") {
  World w;
  Asked a("a", 1, Urgency::kLazy), b("b", 1, Urgency::kLazy);
  w.scheduler.submit(a);
  w.clock.advance(kSecond);
  // The batch is due, so whoever joins it lazily runs it without waiting.
  CHECK(w.scheduler.execute(b));
  CHECK(a.told == 1);
  CHECK(w.numbers.commits == 1);
}

TEST_CASE("an interval of 0 makes lazy requests go at once") {
  World w({.interval_ns = 0});
  Asked a("a", 1, Urgency::kLazy);
  CHECK(w.scheduler.execute(a));
  CHECK(w.numbers.commits == 1);
}

TEST_CASE("a batch is read-only until a writer joins it") {
  World w;
  Asked r1("", 0, Urgency::kLazy), r2("", 0), writer("a", 1);
  r1.only_reads();
  r2.only_reads();
  w.scheduler.submit(r1);
  CHECK(w.scheduler.execute(r2));
  CHECK(w.numbers.begun == std::vector{Access::kReadOnly});
  w.scheduler.submit(r1);
  CHECK(w.scheduler.execute(writer));
  CHECK(w.numbers.begun.back() == Access::kReadWrite);
  CHECK(w.scheduler.counts().read_only == 1);
}

TEST_CASE("a batch whose writer failed is read-only when it runs again") {
  World w;
  Asked reader("", 0, Urgency::kLazy), writer("a", 1);
  reader.only_reads();
  writer.result = fail(ErrorCode::kInvalid);
  w.scheduler.submit(reader);
  CHECK(w.scheduler.execute(writer).error().code == ErrorCode::kInvalid);
  CHECK(w.numbers.begun == std::vector{Access::kReadWrite, Access::kReadOnly, Access::kReadWrite});
  CHECK(reader.answer);
}

TEST_CASE("a failing request is seen twice, alone the second time, and hurts nobody else") {
  World w;
  Asked a("a", 1, Urgency::kLazy), bad("bad", 1, Urgency::kLazy), c("c", 1, Urgency::kLazy),
      worse("worse", 1);
  bad.result = fail(ErrorCode::kInvalid);
  worse.result = fail(ErrorCode::kNotFound);
  w.scheduler.submit(a);
  w.scheduler.submit(bad);
  w.scheduler.submit(c);
  CHECK(w.scheduler.execute(worse).error().code == ErrorCode::kNotFound);
  CHECK(bad.answer.error().code == ErrorCode::kInvalid);
  CHECK(bad.runs == 2);
  CHECK(worse.runs == 2);
  CHECK(a.answer);
  CHECK(a.resets == a.runs);
  CHECK(c.answer);
  CHECK(w.numbers.now == std::map<std::string, int>{{"a", 1}, {"c", 1}});
  CHECK(w.scheduler.counts().alone == 2);
}

TEST_CASE("what failed in company may succeed alone") {
  World w;
  Asked other("a", 1, Urgency::kLazy), fussy("b", 1);
  fussy.result = fail(ErrorCode::kInvalid);
  fussy.reset = [&] {
    if (++fussy.resets == 2) fussy.result = {};
  };
  w.scheduler.submit(other);
  CHECK(w.scheduler.execute(fussy));
  CHECK(w.numbers.now == std::map<std::string, int>{{"a", 1}, {"b", 1}});
}

TEST_CASE("a conflict is charged to nobody: all of it runs again") {
  World w({.interval_ns = kSecond, .tries = 5});
  Asked a("a", 1, Urgency::kLazy), b("b", 1);
  SECTION("at the commit") { w.numbers.conflicts_at_commit = 2; }
  SECTION("at the beginning") { w.numbers.conflicts_at_begin = 2; }
  SECTION("in a request") {
    b.result = fail(ErrorCode::kConflict);
    b.reset = [&] {
      if (++b.resets == 3) b.result = {};
    };
  }
  w.scheduler.submit(a);
  CHECK(w.scheduler.execute(b));
  CHECK(w.numbers.now == std::map<std::string, int>{{"a", 1}, {"b", 1}});
  CHECK(w.scheduler.counts().conflicts == 2);
  CHECK(w.scheduler.counts().alone == 0);
  CHECK(a.told == 1);
}

TEST_CASE("a conflict without end is everybody's error, and nothing is changed") {
  World w({.interval_ns = kSecond, .tries = 3});
  w.numbers.conflicts_at_commit = 1000;
  Asked a("a", 1, Urgency::kLazy), b("b", 1);
  w.scheduler.submit(a);
  CHECK(w.scheduler.execute(b).error().code == ErrorCode::kConflict);
  CHECK(a.answer.error().code == ErrorCode::kConflict);
  CHECK(b.runs == 3);
  CHECK(w.numbers.now.empty());
}

TEST_CASE("a commit that fails is everybody's error") {
  World w;
  w.numbers.commit_answer = fail(ErrorCode::kStoreIo);
  Asked a("a", 1, Urgency::kLazy), b("b", 1);
  w.scheduler.submit(a);
  CHECK(w.scheduler.execute(b).error().code == ErrorCode::kStoreIo);
  CHECK(a.answer.error().code == ErrorCode::kStoreIo);
  CHECK(w.numbers.now.empty());
}

TEST_CASE("a request may be submitted again when it is told") {
  World w;
  Asked tick("a", 1, Urgency::kLazy), push("b", 1);
  tick.done = [&](Status) {
    if (++tick.told < 3) w.scheduler.submit(tick);
  };
  w.scheduler.submit(tick);
  for (int i = 0; i < 4; ++i) CHECK(w.scheduler.execute(push));
  CHECK(tick.told == 3);
}

TEST_CASE("stopping runs what waits") {
  World w;
  w.scheduler.start();
  Asked a("a", 1, Urgency::kLazy);
  w.scheduler.submit(a);
  w.scheduler.stop();
  CHECK(a.told == 1);
  CHECK(w.numbers.now["a"] == 1);
}

TEST_CASE(
    "with threads: each request has its own answer, all share commits, and the outer lock is "
    "held") {
  Numbers numbers;
  Mutex outer{Rank::kObject};
  CommitScheduler scheduler(system_clock(), numbers,
                            {.interval_ns = kMillisecond, .outer = &outer});
  scheduler.start();
  constexpr int kThreads = 8, kEach = 200;
  std::atomic<int> wrong{0};
  int inside = 0;  // under the outer lock
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Random random(Seed{static_cast<std::uint64_t>(t) + 1});
      for (int i = 0; i < kEach; ++i) {
        Asked one(std::to_string(t), 1, random.one_in(4) ? Urgency::kLazy : Urgency::kEager);
        const bool fails = random.one_in(10);
        if (fails) one.result = fail(ErrorCode::kInvalid);
        one.done = [&](Status status) {
          ++inside;
          one.answer = status;
        };
        const Status status = scheduler.execute(one);
        if (status.has_value() == fails || one.answer.has_value() == fails) ++wrong;
        const MutexLock lock(outer);
        if (!fails) continue;
        inside += 1000000;  // as a stranger's change that must not be lost
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  scheduler.stop();
  CHECK(wrong == 0);
  CHECK(inside % 1000000 == kThreads * kEach);
  int sum = 0;
  for (const auto& [name, value] : numbers.now) sum += value;
  CHECK(sum == kThreads * kEach - inside / 1000000);
  CHECK(scheduler.counts().requests == kThreads * kEach);
}
