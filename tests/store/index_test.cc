// SPDX-License-Identifier: Apache-2.0
// The index against a naive model: which page of which object lies in which block, page by page.
#include "store/index.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "rig.h"
#include "store/invariants.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {

constexpr std::uint64_t kBlocks = 4000, kPages = 120;

std::uint32_t sum_of(std::uint64_t block) {
  return static_cast<std::uint32_t>(block * 2654435761u);
}

// An index, and what it should be.
class Pair {
 public:
  explicit Pair(Seed seed) : random_(seed), index_(kBlocks) {
    for (std::uint64_t block = 0; block < kBlocks; ++block) free_.insert(block);
  }

  void step() {
    if (pages_.size() < 3) return add();
    switch (random_.below(12)) {
      case 0:
        return add();
      case 1:
        return retire();
      case 2:
        return rename();
      case 3:
      case 4:
        return drop(any(), {PageIndex{random_.below(kPages)}, PageCount{1 + random_.below(30)}});
      case 5:
        return evict();
      case 6:
        return read();
      default:
        return insert();
    }
  }

  void agrees() {
    Lines lines;
    check_index(index_, lines);
    for (const std::string& line : lines) FAIL_CHECK(line);
    std::map<Key, std::uint64_t> seen;
    index_.for_each_extent([&](Object& object, const Extent& extent) {
      for (PageIndex page = extent.first(); page < extent.end(); page += PageCount{1})
        seen[{object.id.value(), page.value()}] = extent.zeros() ? kNoBlock : extent.block_of(page);
    });
    std::map<Key, std::uint64_t> expected;
    for (const auto& [id, pages] : pages_) {
      for (const auto& [page, block] : pages) expected[{id, page}] = block;
    }
    REQUIRE(seen == expected);
    std::array<std::uint32_t, 1> sum{};
    for (const auto& [key, block] : expected) {
      if (block == kNoBlock) continue;
      REQUIRE(index_.sums().get(block, sum));
      if (sum[0] != sum_of(block)) REQUIRE(sum[0] == sum_of(block));
    }
  }

  // As a checkpoint would have it, and back.
  void survives_a_checkpoint() {
    Index copy(kBlocks);
    std::vector<std::byte> bytes;
    index_.for_each_record([&](const Record& record) { encode(record, bytes); });
    DeadList dead;
    for (Bytes rest = bytes; !rest.empty();) {
      const auto record = decode_next(rest);
      REQUIRE(record);
      REQUIRE(copy.apply(*record, kBlocks, dead));
    }
    CHECK(dead.empty());
    CHECK(copy.totals() == index_.totals());
    std::vector<std::byte> again;
    copy.for_each_record([&](const Record& record) { encode(record, again); });
    CHECK(sorted(bytes) == sorted(again));
  }

 private:
  using Key = std::pair<std::uint64_t, std::uint64_t>;

  static std::vector<std::string> sorted(Bytes rest) {
    std::vector<std::string> all;
    while (!rest.empty()) {
      const std::size_t length = record_length(rest);
      all.emplace_back(view(rest.first(length)));
      rest = rest.subspan(length);
    }
    std::sort(all.begin(), all.end());
    return all;
  }

  Object& any() {
    auto at = pages_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(random_.below(pages_.size())));
    return *index_.by_id(ObjectId{at->first});
  }

  void add() {
    Object& parent = pages_.empty() || random_.one_in(2) ? index_.root() : any();
    if (parent.type != ObjectType::kIndex) return;
    const std::string key = std::to_string(++names_);
    const auto type = random_.one_in(3) ? ObjectType::kIndex : ObjectType::kData;
    const ObjectRef made = index_.add(parent, type, key, index_.next_id());
    index_.set_next_id(ObjectId{made->id.value() + 1});
    index_.set_identity(*made, "aux", ByteCount{kPages * kPageSize});
    pages_[made->id.value()];
  }

  // The blocks that came free are those that the model lets go.
  void let_go(const DeadList& dead, std::multiset<std::uint64_t> expected) {
    std::multiset<std::uint64_t> seen;
    for (const BlockRun& run : dead) {
      for (std::uint64_t block = run.block; block < run.end(); ++block) seen.insert(block);
    }
    expected.erase(kNoBlock);
    REQUIRE(seen == expected);
    free_.insert(seen.begin(), seen.end());
  }
  std::multiset<std::uint64_t> take(std::uint64_t id, PageRange range) {
    std::multiset<std::uint64_t> blocks;
    auto& pages = pages_[id];
    for (PageIndex page = range.first; page < range.end(); page += PageCount{1}) {
      if (const auto at = pages.find(page.value()); at != pages.end()) {
        blocks.insert(at->second);
        pages.erase(at);
      }
    }
    return blocks;
  }

  void insert() {
    Object& object = any();
    if (object.type != ObjectType::kData) return;
    const std::uint64_t id = object.id.value();
    const PageIndex first{random_.below(kPages)};
    const auto count = static_cast<std::uint32_t>(1 + random_.below(40));
    NewExtent extent{first, count, kNoBlock, {}, 0, {}};
    std::vector<std::uint32_t> sums;
    if (!random_.one_in(5)) {
      const auto run = free_run(count);
      if (!run) return;
      extent.block = *run;
      for (std::uint64_t block = *run; block < *run + count; ++block) {
        sums.push_back(sum_of(block));
        free_.erase(block);
      }
      extent.sums = sums;
    }
    DeadList dead;
    index_.insert(object, extent, dead);
    let_go(dead, take(id, {first, PageCount{count}}));
    for (std::uint32_t i = 0; i < count; ++i)
      pages_[id][first.value() + i] = extent.block == kNoBlock ? kNoBlock : extent.block + i;
  }
  std::optional<std::uint64_t> free_run(std::uint64_t count) {
    const std::uint64_t from = random_.below(kBlocks - count);
    for (std::uint64_t block = from; block < from + count; ++block) {
      if (free_.count(block) == 0) return std::nullopt;
    }
    return from;
  }

  void drop(Object& object, PageRange range) {
    DeadList dead;
    index_.drop(object, range, dead);
    let_go(dead, take(object.id.value(), range));
  }
  void evict() {
    const auto victim = index_.next_victim();
    if (victim) drop(*victim->object, victim->range);
  }
  void read() {
    Object& object = any();
    const MutexLock lock(object.mutex());
    for (const Extent& extent : object.extents) extent.use();
  }

  void retire() {
    if (!random_.one_in(3)) return;
    Object& object = any();
    std::multiset<std::uint64_t> blocks;
    for (const std::uint64_t id : below(object)) {
      for (const auto& [page, block] : pages_[id]) blocks.insert(block);
      pages_.erase(id);
    }
    DeadList dead;
    index_.retire(object, dead);
    let_go(dead, blocks);
  }
  std::vector<std::uint64_t> below(const Object& top) {
    std::vector<std::uint64_t> ids;
    for (const auto& [id, pages] : pages_) {
      for (const Object* at = index_.by_id(ObjectId{id}); at != nullptr; at = at->parent) {
        if (at == &top) ids.push_back(id);
      }
    }
    return ids;
  }

  void rename() {
    Object& object = any();
    Object& parent = random_.one_in(3) ? index_.root() : any();
    if (parent.type != ObjectType::kIndex) return;
    DeadList dead;
    const auto inside = below(object);
    const bool loops = std::find(inside.begin(), inside.end(), parent.id.value()) != inside.end();
    CHECK(index_.rename(object, parent, std::to_string(++names_), dead) == !loops);
    CHECK(dead.empty());
  }

  Random random_;
  Index index_;
  std::set<std::uint64_t> free_;
  std::map<std::uint64_t, std::map<std::uint64_t, std::uint64_t>> pages_;  // id -> page -> block
  std::uint64_t names_ = 0;
};

}  // namespace

TEST_CASE("random changes of the index agree with a naive one, also by way of a checkpoint") {
  for (const Seed seed : test_seeds(81, 20, 3000)) {
    CAPTURE(seed.value);
    Pair pair(seed);
    for (int i = 0; i < 400; ++i) {
      pair.step();
      if (i % 20 == 19) pair.agrees();
    }
    pair.survives_a_checkpoint();
  }
}
