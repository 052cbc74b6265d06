// SPDX-License-Identifier: Apache-2.0
// Which extents go: the queue against a model, S3-FIFO against exact LRU, and that pages, names and
// what is pinned leave each other alone.
#include <fmt/format.h>

#include <cmath>
#include <list>
#include <map>
#include <unordered_map>

#include "base/random.h"
#include "rig.h"
#include "store/fifo.h"
#include "store/index.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {

constexpr ByteCount kMiBytes{1u << 20};

// An index over `blocks` blocks, in which each key is an extent of 16 pages of one object.
class Cache {
 public:
  explicit Cache(std::uint64_t keys) : index_(keys * 16), most_(keys) {
    file_ = index_.add(index_.root(), ObjectType::kData, "file", ObjectId{2});
    for (std::uint64_t i = 0; i < keys; ++i) free_.push_back(i * 16);
  }
  bool get(std::uint64_t key) {
    const Extent* extent = file_->find(PageIndex{key * 16});
    if (extent != nullptr) {
      extent->use();
      return true;
    }
    DeadList dead;
    while (free_.empty()) {
      const auto victim = index_.next_victim();
      if (!victim) continue;
      index_.drop(*victim->object, victim->range, dead);
      free_.push_back(dead.back().block);
    }
    const std::array<std::uint32_t, 16> sums{};
    index_.insert(*file_, {PageIndex{key * 16}, 16, free_.back(), sums, 0, {}}, dead);
    free_.pop_back();
    return false;
  }
  std::uint64_t size() const { return index_.totals().extents; }
  std::uint64_t most() const { return most_; }

 private:
  Index index_;
  ObjectRef file_;
  std::vector<std::uint64_t> free_;
  std::uint64_t most_;
};

class Lru {
 public:
  explicit Lru(std::size_t keys) : most_(keys) {}
  bool get(std::uint64_t key) {
    const auto found = at_.find(key);
    if (found != at_.end()) {
      order_.splice(order_.begin(), order_, found->second);
      return true;
    }
    if (at_.size() == most_) {
      at_.erase(order_.back());
      order_.pop_back();
    }
    order_.push_front(key);
    at_[key] = order_.begin();
    return false;
  }

 private:
  std::size_t most_;
  std::list<std::uint64_t> order_;
  std::unordered_map<std::uint64_t, std::list<std::uint64_t>::iterator> at_;
};

class Zipf {
 public:
  Zipf(std::size_t keys, double skew, Seed seed) : random_(seed) {
    double sum = 0;
    for (std::size_t i = 0; i < keys; ++i) {
      sum += std::pow(static_cast<double>(i + 1), -skew);
      sums_.push_back(sum);
    }
    for (std::size_t i = 0; i < keys; ++i) places_.push_back(i);
    for (std::size_t i = keys; i > 1; --i) std::swap(places_[i - 1], places_[random_.below(i)]);
  }
  std::uint64_t next() {
    const double at = static_cast<double>(random_.below(1u << 30)) / (1u << 30) * sums_.back();
    const auto found = std::lower_bound(sums_.begin(), sums_.end(), at);
    return places_[static_cast<std::size_t>(found - sums_.begin())];
  }

 private:
  Random random_;
  std::vector<double> sums_;
  std::vector<std::uint64_t> places_;
};

}  // namespace

TEST_CASE("a queue gives back in order what was pushed, whatever was taken out of its middle") {
  const Seed seed = test_seed(GENERATE(71u, 72u, 73u));
  CAPTURE(seed.value);
  Random random(seed);
  Fifo fifo;
  std::map<std::uint64_t, std::uint32_t> tickets;  // page -> ticket; pages grow
  const auto renumber = [&](Whose whose, std::uint32_t ticket) {
    REQUIRE(tickets.count(whose.low_page) == 1);
    tickets[whose.low_page] = ticket;
  };
  std::uint64_t next = 0;
  const auto push = [&] {
    const std::uint64_t page = next++;
    tickets[page] = fifo.push({5, page}, renumber);
  };
  // Many that go, few that stay: the holes are put together.
  for (int i = 0; i < 400000; ++i) {
    push();
    if (random.one_in(20)) continue;
    auto victim = tickets.lower_bound(next - 1 - random.below(64));
    if (victim == tickets.end()) --victim;
    fifo.erase(victim->second);
    tickets.erase(victim);
  }
  CHECK(fifo.size() == tickets.size());
  CHECK(fifo.bytes() < 40 * tickets.size() + (2u << 20));
  auto expected = tickets.begin();
  fifo.for_each([&](Whose whose) {
    REQUIRE(expected != tickets.end());
    REQUIRE(whose.low_page == expected->first);
    REQUIRE(whose.slot == 5);
    ++expected;
  });
  while (!fifo.empty()) {
    REQUIRE(fifo.front().low_page == tickets.begin()->first);
    REQUIRE(fifo.front_ticket() == tickets.begin()->second);
    fifo.erase(tickets.begin()->second);
    tickets.erase(tickets.begin());
  }
}

TEST_CASE("Zipf over ten times the size: no worse than exact LRU, and a scan costs little") {
  constexpr std::uint64_t kKeys = 2000;
  const Seed seed = test_seed(81u);
  Zipf zipf(10 * kKeys, 0.9, seed);
  Cache cache(kKeys);
  Lru lru(kKeys);
  const auto ratio = [&](auto& of, int gets, Zipf& source) {
    int hits = 0;
    for (int i = 0; i < gets; ++i) hits += of.get(source.next()) ? 1 : 0;
    return static_cast<double>(hits) / gets;
  };
  Zipf same(10 * kKeys, 0.9, seed);
  (void)ratio(cache, 100000, zipf);
  (void)ratio(lru, 100000, same);
  const double ours = ratio(cache, 100000, zipf);
  const double theirs = ratio(lru, 100000, same);
  CAPTURE(ours, theirs);
  CHECK(ours >= theirs);
  CHECK(cache.size() == cache.most());
  for (std::uint64_t key = 0; key < 10 * kKeys; ++key) (void)cache.get(10 * kKeys + key);
  const double after = ratio(cache, 5000, zipf);
  CAPTURE(after);
  CHECK(after >= 0.9 * ours);
}

TEST_CASE("a walk over many names leaves the pages, and a backup leaves the names") {
  Rig rig;
  const ObjectRef file = rig.make("file", ByteCount{64u << 20});
  const ObjectRef known = rig.make("known", {});
  rig.store->put_name(known, "name", {});
  REQUIRE(rig.fill(file, 0, 256, 1));
  const std::string tail(200, 'n');
  for (int folder = 0; folder < 40; ++folder) {
    const ObjectRef walked = rig.make(fmt::format("folder{}", folder), {});
    for (int i = 0; i < 40; ++i) rig.store->put_name(walked, fmt::format("{}{}", i, tail), {});
    CHECK(rig.store->find_name(known, "name"));
  }
  CHECK(rig.store->counters().evicted_names.value() > 0);
  CHECK(rig.store->counters().evicted_extents.value() == 0);
  CHECK(rig.good(file, 0, 256, 1) == 256);
  const auto names = rig.store->counters().names.value();
  const ObjectRef backup = rig.make("backup", ByteCount{64u << 20});
  for (std::uint64_t i = 0; i < 80; ++i) {
    (void)rig.fill(backup, i * 64, 64, 2);
    REQUIRE(rig.store->sync());
  }
  CHECK(rig.store->counters().evicted_extents.value() > 0);
  CHECK(rig.store->counters().names.value() == names);
  rig.sound();
}

TEST_CASE("what was read twice outlives what was read once, also over a restart") {
  Rig rig;
  const ObjectRef hot = rig.make("hot", kMiBytes);
  REQUIRE(rig.fill(hot, 0, 64, 1));
  CHECK(rig.good(hot, 0, 64, 1) == 64);
  CHECK(rig.good(hot, 0, 64, 1) == 64);
  rig.reopen();
  const ObjectRef backup = rig.make("backup", ByteCount{64u << 20});
  for (std::uint64_t i = 0; i < 100; ++i) {
    (void)rig.fill(backup, i * 64, 64, 2);
    REQUIRE(rig.store->sync());
  }
  CHECK(rig.store->counters().evicted_extents.value() > 0);
  CHECK(rig.good(rig.find("hot"), 0, 64, 1) == 64);
  rig.sound();
}

TEST_CASE("a pass over a file in many reads is one use of its pages, not many") {
  Rig rig;
  const ObjectRef hot = rig.make("hot", kMiBytes);
  REQUIRE(rig.fill(hot, 0, 64, 1));
  CHECK(rig.good(hot, 0, 64, 1) == 64);
  CHECK(rig.good(hot, 0, 64, 1) == 64);
  const ObjectRef backup = rig.make("backup", ByteCount{64u << 20});
  for (std::uint64_t i = 0; i < 100; ++i) {
    (void)rig.fill(backup, i * 64, 64, 2);
    for (std::uint64_t page = 0; page < 64; page += 4) (void)rig.good(backup, i * 64 + page, 4, 2);
    REQUIRE(rig.store->sync());
  }
  CHECK(rig.store->counters().evicted_extents.value() > 0);
  CHECK(rig.good(hot, 0, 64, 1) == 64);
  rig.sound();
}

TEST_CASE("below bstop nothing new is taken, and culling brings the store back to brun") {
  Options options;
  options.culling = {40, 30, 20};
  Rig rig(kSmallestStore, options);
  const ObjectRef file = rig.make("file", ByteCount{64u << 20});
  const auto free = [&] {
    const Counters& c = rig.store->counters();
    return (c.capacity_bytes.value() - c.used_bytes.value() - c.waiting_bytes.value()) * 100 /
           c.capacity_bytes.value();
  };
  Status status;
  for (std::uint64_t i = 0; status && i < 80; ++i) status = rig.fill(file, i * 64, 64, 1);
  REQUIRE_FALSE(status);
  CHECK(status.error().code == ErrorCode::kStoreFull);
  CHECK(free() >= 19);
  for (int i = 0; i < 10; ++i) REQUIRE(rig.store->sync());
  REQUIRE(rig.fill(file, 10000, 1, 1));
  for (int i = 0; i < 3; ++i) {
    rig.store->put_name(rig.store->root(), fmt::format("{}", i), {});
    REQUIRE(rig.store->sync());
  }
  CHECK(free() >= 38);
  rig.sound();
}

TEST_CASE("clear lets go of all, waits for who reads, and objects stay") {
  Rig rig;
  const ByteCount size{64 * kPageSize};
  const ObjectRef file = rig.make("file", size);
  const ObjectRef other = rig.make("other", size);
  REQUIRE(rig.fill(file, 0, 64, 1));
  REQUIRE(rig.fill(other, 0, 64, 2));
  rig.store->put_name(rig.store->root(), "name", {});
  REQUIRE(rig.store->sync());
  AlignedBuffer into(64 * kPageSize);
  ReadPlan plan;
  rig.store->plan_read(file, {PageIndex{0}, PageCount{64}}, into.span(), plan);
  REQUIRE(plan.covered().value() == 64);
  // Who reads has his blocks until he is done, whatever is written meanwhile.
  CHECK(rig.store->clear() >= ByteCount{64 * kPageSize});
  CHECK(rig.store->counters().waiting_bytes.value() == 64 * kPageSize);
  const ObjectRef third = rig.make("third", size);
  REQUIRE(rig.fill(third, 0, 64, 3));
  REQUIRE(rig.store->sync());
  for (const ReadSegment& segment : plan.segments())
    REQUIRE(rig.engine->read_now(-1, segment.at, segment.into));
  CHECK(rig.store->finish_read(plan, {}));
  REQUIRE(rig.store->clear().value() >= 64 * kPageSize);
  CHECK(rig.store->counters().used_bytes.value() == 0);
  CHECK(rig.store->counters().waiting_bytes.value() == 0);
  CHECK_FALSE(rig.store->find_name(rig.store->root(), "name"));
  CHECK(rig.find("file"));
  CHECK(rig.store->cached_pages(file).value() == 0);
  rig.sound();
  rig.kill();
  CHECK(rig.store->cached_pages(rig.find("other")).value() == 0);
  rig.sound();
}
