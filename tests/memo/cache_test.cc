// SPDX-License-Identifier: Apache-2.0
#include "memo/cache.h"

#include <array>
#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "memo/run_seed.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::memo;
using namespace larder::test;

namespace {

using Texts = Cache<std::string>;
const TreeKey kKey = TreeKey::of(7u, "link");
const Error kIo{ErrorCode::kShareAnswer, 5};

Texts::Kept text(std::string value) {
  return std::make_shared<const std::string>(std::move(value));
}
Texts::Waiter into(std::vector<std::string>& told) {
  return [&told](const Texts::Answer& answer) {
    told.push_back(!answer ? "error" : *answer ? **answer : "none");
  };
}
Hook counting(int& runs) {
  return make_hook([&runs] { ++runs; });
}

struct Rig {
  explicit Rig(Texts::Options options = {.name = "texts"}) : cache(guard, std::move(options)) {}
  // What a caller that has to compute does: "asks" for `value`.
  std::string ask(const TreeKey& key, const std::string& value, Hook hook = nullptr) {
    std::vector<std::string> told;
    auto ticket = cache.get(key, {.waiter = into(told), .hook = std::move(hook)});
    if (ticket) {
      ++computed;
      cache.land(std::move(*ticket), text(value));
    }
    return told.at(0);
  }
  SequenceGuard guard;
  Texts cache;
  int computed = 0;
};

}  // namespace

TEST_CASE("a value is computed once, kept, and found") {
  Rig rig;
  CHECK(rig.ask(kKey, "a") == "a");
  CHECK(rig.ask(kKey, "b") == "a");
  CHECK(rig.computed == 1);
  CHECK(rig.cache.counters().hits.value() == 1);
  CHECK(rig.cache.counters().misses.value() == 1);
}

TEST_CASE("callers who come while it is computed wait for the one computation") {
  Rig rig;
  std::vector<std::string> told;
  auto ticket = rig.cache.get(kKey, {.waiter = into(told)});
  REQUIRE(ticket);
  CHECK_FALSE(rig.cache.get(kKey, {.waiter = into(told)}));
  CHECK_FALSE(rig.cache.get(kKey, {.waiter = into(told)}));
  CHECK(told.empty());
  CHECK(rig.cache.land(std::move(*ticket), text("a")));
  CHECK(told == std::vector<std::string>{"a", "a", "a"});
  CHECK(rig.cache.counters().joined.value() == 2);
}

TEST_CASE("a failure is told to all who wait and kept by nobody") {
  Rig rig;
  std::vector<std::string> told;
  auto ticket = rig.cache.get(kKey, {.waiter = into(told)});
  CHECK_FALSE(rig.cache.get(kKey, {.waiter = into(told)}));
  rig.cache.land(std::move(*ticket), fail(kIo));
  CHECK(told == std::vector<std::string>{"error", "error"});
  CHECK(rig.ask(kKey, "b") == "b");
  { auto dropped = rig.cache.get(TreeKey::of(8u), {.waiter = into(told)}); }
  CHECK(told.back() == "error");
  CHECK_FALSE(rig.cache.peek(TreeKey::of(8u)));
}

TEST_CASE("what raced with an invalidation answers who waited and is not kept") {
  Rig rig;
  const std::array<TreeKey, 3> prefixes = {kKey, TreeKey::of(7u), TreeKey()};
  const TreeKey& prefix = prefixes.at(GENERATE(0u, 1u, 2u));
  std::vector<std::string> old, fresh;
  auto first = rig.cache.get(kKey, {.waiter = into(old)});
  rig.cache.invalidate(prefix);
  // It began before: nobody joins it any more.
  auto second = rig.cache.get(kKey, {.waiter = into(fresh)});
  REQUIRE(second);
  SECTION("the old one lands first") {
    CHECK_FALSE(rig.cache.land(std::move(*first), text("old")));
    CHECK_FALSE(rig.cache.peek(kKey));
    CHECK(rig.cache.land(std::move(*second), text("new")));
  }
  SECTION("the old one lands last") {
    CHECK(rig.cache.land(std::move(*second), text("new")));
    CHECK_FALSE(rig.cache.land(std::move(*first), text("old")));
  }
  CHECK(old == std::vector<std::string>{"old"});
  CHECK(fresh == std::vector<std::string>{"new"});
  CHECK(**rig.cache.peek(kKey) == "new");
}

TEST_CASE("an invalidation of other keys keeps nothing out") {
  Rig rig;
  std::vector<std::string> told;
  auto ticket = rig.cache.get(kKey, {.waiter = into(told)});
  rig.cache.invalidate(TreeKey::of(8u));
  rig.cache.invalidate(TreeKey::of(7u, "names"));
  rig.cache.invalidate(TreeKey::of(7u, "link", "below"));
  CHECK(rig.cache.land(std::move(*ticket), text("a")));
}

TEST_CASE("a prefix takes everything below it in one step, and nothing beside it") {
  Rig rig;
  for (unsigned file : {1u, 2u, 11u})
    for (const char* name : {"a", "b"}) rig.ask(TreeKey::of(file, "names", name), name);
  rig.ask(TreeKey::of(1u), "itself");
  rig.ask(TreeKey::of("1", "names", "a"), "a name is not a number");
  rig.cache.invalidate(TreeKey::of(1u));
  CHECK(rig.cache.counters().invalidated.value() == 3);
  CHECK_FALSE(rig.cache.peek(TreeKey::of(1u, "names", "a")));
  CHECK(rig.cache.peek(TreeKey::of(2u, "names", "a")));
  CHECK(rig.cache.peek(TreeKey::of(11u, "names", "a")));
  CHECK(rig.cache.peek(TreeKey::of("1", "names", "a")));
  rig.cache.clear();
  CHECK(rig.cache.weight() == 0);
}

TEST_CASE("a hook runs once, however often it was attached, when the value goes") {
  Rig rig;
  int runs = 0, others = 0;
  const Hook hook = counting(runs);
  rig.ask(kKey, "a", hook);
  rig.ask(kKey, "a", hook);
  rig.ask(kKey, "a", counting(others));
  CHECK(runs == 0);
  SECTION("invalidated") { rig.cache.invalidate(kKey); }
  SECTION("replaced") { rig.cache.prefill(kKey, text("b")); }
  SECTION("given up for room") { rig.cache.shed(1); }
  CHECK(runs == 1);
  CHECK(others == 1);
  rig.cache.clear();
  CHECK(runs == 1);
}

TEST_CASE("a hook of what was never kept runs before the waiters hear") {
  Rig rig;
  int runs = 0;
  int seen = -1;
  auto ticket = rig.cache.get(
      kKey, {.waiter = [&](const Texts::Answer&) { seen = runs; }, .hook = counting(runs)});
  SECTION("it failed") { rig.cache.land(std::move(*ticket), fail(kIo)); }
  SECTION("it raced") {
    rig.cache.invalidate(kKey);
    rig.cache.land(std::move(*ticket), text("a"));
  }
  CHECK(seen == 1);
  CHECK(runs == 1);
}

TEST_CASE("when an inner entry goes, the outer ones built on it go too") {
  SequenceGuard guard;
  Texts inner(guard, {.name = "inner"});
  Texts outer(guard, {.name = "outer"});
  const TreeKey in = TreeKey::of("in"), out = TreeKey::of("out"), far = TreeKey::of("far");
  inner.prefill(in, text("1"));
  std::vector<std::string> told;
  auto computing = outer.get(out, {.waiter = into(told)});
  CHECK_FALSE(inner.get(in, {.waiter = into(told), .hook = outer.invalidator(out)}));
  SECTION("built and kept before") {
    CHECK(outer.land(std::move(*computing), text("1+")));
    auto further = outer.get(far, {.waiter = into(told)});
    CHECK_FALSE(outer.get(out, {.waiter = into(told), .hook = outer.invalidator(far)}));
    CHECK(outer.land(std::move(*further), text("1++")));
    inner.invalidate(in);
    CHECK_FALSE(outer.peek(far));
  }
  SECTION("while it is being built") {
    inner.invalidate(in);
    CHECK_FALSE(outer.land(std::move(*computing), text("1+")));
  }
  CHECK_FALSE(outer.peek(out));
}

TEST_CASE("what is put in without asking bars the older computation") {
  Rig rig;
  std::vector<std::string> told;
  auto ticket = rig.cache.get(kKey, {.waiter = into(told)});
  rig.cache.prefill(kKey, text("known"));
  CHECK(rig.ask(kKey, "x") == "known");
  CHECK_FALSE(rig.cache.land(std::move(*ticket), text("old")));
  CHECK(told == std::vector<std::string>{"old"});
  CHECK(rig.ask(kKey, "x") == "known");
}

TEST_CASE("many keys cost one question for those that are missing") {
  Rig rig;
  const TreeKey a = TreeKey::of("a"), b = TreeKey::of("b"), c = TreeKey::of("c"),
                d = TreeKey::of("d");
  rig.ask(a, "A");
  std::vector<std::string> early, late;
  auto flying = rig.cache.get(b, {.waiter = into(early)});
  std::vector<Texts::Answer> all;
  const std::vector<TreeKey> keys = {a, b, c, d};
  auto missing =
      rig.cache.get_many(keys, [&](std::vector<Texts::Answer> answers) { all = answers; });
  REQUIRE(missing.size() == 2);
  // Each has an entry of its own at once, which others join.
  CHECK_FALSE(rig.cache.get(c, {.waiter = into(late)}));
  absl::flat_hash_map<TreeKey, Texts::Kept> found;
  SECTION("the question is answered, but for one key") {
    found.emplace(c, text("C"));
    rig.cache.land_many(std::move(missing), std::move(found));
    CHECK(all.empty());
    rig.cache.land(std::move(*flying), text("B"));
    REQUIRE(all.size() == 4);
    CHECK(**all[0] == "A");
    CHECK(**all[1] == "B");
    CHECK(**all[2] == "C");
    CHECK(*all[3] == nullptr);
    CHECK(late == std::vector<std::string>{"C"});
    CHECK(rig.ask(d, "x") == "none");  // known to be none, too
  }
  SECTION("the question fails") {
    rig.cache.land(std::move(*flying), text("B"));
    rig.cache.land_many(std::move(missing), fail(kIo));
    REQUIRE(all.size() == 4);
    CHECK(all[0]);
    CHECK_FALSE(all[2]);
    CHECK_FALSE(all[3]);
    CHECK(late == std::vector<std::string>{"error"});
    CHECK(rig.ask(c, "again") == "again");
  }
}

TEST_CASE("what is all kept is answered at once, and an empty list too") {
  Rig rig;
  rig.ask(kKey, "a");
  int told = 0;
  const std::vector<TreeKey> keys = {kKey};
  CHECK(rig.cache.get_many(keys, [&](const std::vector<Texts::Answer>&) { ++told; }).empty());
  CHECK(rig.cache.get_many({}, [&](const std::vector<Texts::Answer>&) { ++told; }).empty());
  CHECK(told == 2);
}

TEST_CASE("verification computes each find anew and complains where it differs") {
  std::vector<TreeKey> stale;
  Rig rig({.name = "texts",
           .equal = [](const std::string& x, const std::string& y) { return x == y; },
           .on_stale = [&](const TreeKey& key) { stale.push_back(key); }});
  rig.ask(kKey, "a");
  const Verify how = GENERATE(Verify::kServe, Verify::kRefuse);
  rig.cache.set_verify(how);
  CHECK(rig.ask(kKey, "a") == "a");
  CHECK(rig.computed == 2);
  CHECK(stale.empty());
  CHECK(rig.ask(kKey, "b") == (how == Verify::kServe ? "b" : "error"));
  CHECK(stale == std::vector<TreeKey>{kKey});
  CHECK(rig.cache.counters().stale.value() == 1);
  rig.cache.set_verify(Verify::kNo);
  CHECK(rig.ask(kKey, "c") != "a");
}

TEST_CASE("entries count by their content, and the least recently found goes first") {
  Rig rig(
      {.name = "texts", .capacity = 50, .weigh = [](const std::string& s) { return s.size(); }});
  const TreeKey a = TreeKey::of("a"), b = TreeKey::of("b"), c = TreeKey::of("c");
  rig.ask(a, std::string(20, 'a'));
  rig.ask(b, std::string(20, 'b'));
  rig.ask(a, "found");
  rig.ask(c, std::string(20, 'c'));
  CHECK_FALSE(rig.cache.peek(b));
  CHECK(rig.cache.peek(a));
  CHECK(rig.cache.weight() == 40);
  rig.ask(TreeKey::of("empty"), "");  // a list of none counts one, so that they are bounded too
  CHECK(rig.cache.weight() == 41);
  rig.ask(TreeKey::of("large"), std::string(51, 'x'));
  CHECK_FALSE(rig.cache.peek(TreeKey::of("large")));
  CHECK(rig.cache.weight() == 41);  // and nothing had to go for it
  rig.cache.shed(1);
  CHECK(rig.cache.weight() == 21);
}

TEST_CASE("one factor scales every cache") {
  const double before = size_factor();
  set_size_factor(0.5);
  {
    Rig rig({.name = "texts", .capacity = 4});
    for (unsigned i = 0; i < 4; ++i) rig.ask(TreeKey::of(i), "x");
    CHECK(rig.cache.weight() == 2);
  }
  set_size_factor(0);
  {
    Rig rig;
    rig.ask(kKey, "a");
    CHECK(rig.ask(kKey, "b") == "b");  // shared while it is computed, kept never
  }
  set_size_factor(before);
}

TEST_CASE("what is not accepted is computed anew") {
  Rig rig;
  rig.ask(kKey, "old");
  std::vector<std::string> told;
  auto ticket = rig.cache.get(kKey, {.waiter = into(told), .accept = [](const Texts::Kept& kept) {
                                       return *kept != "old";
                                     }});
  REQUIRE(ticket);
  // One that is being computed is newer than what is kept.
  CHECK_FALSE(rig.cache.get(kKey, {.waiter = into(told)}));
  rig.cache.land(std::move(*ticket), text("new"));
  CHECK(told == std::vector<std::string>{"new", "new"});
}

TEST_CASE("the figures of a cache bear its name") {
  stats::Registry registry;
  Rig rig({.name = "links"});
  rig.cache.register_in(registry);
  rig.ask(kKey, "a");
  rig.ask(kKey, "a");
  CHECK(registry.to_text().find("memo.links.hits") != std::string::npos);
}

// Random questions, landings and invalidations in any order: no answer is older than the last
// invalidation before its question.
TEST_CASE("no answer is older than the last invalidation before it was asked for") {
  Random random(seed_of_run());
  struct Open {
    TreeKey key;
    std::uint64_t value;  // of the share when it was asked
    Cache<std::uint64_t>::Ticket ticket;
  };
  SequenceGuard guard;
  Cache<std::uint64_t> cache(guard, {.name = "model", .capacity = 5});
  std::uint64_t share = 0;
  std::map<TreeKey, std::uint64_t> least;  // what the key must show at least
  const auto key_of = [&] { return TreeKey::of(random.below(2), "n", random.below(3)); };
  std::vector<Open> open;
  std::uint64_t finds = 0;
  for (int i = 0; i < 20'000; ++i) {
    switch (random.below(4)) {
      case 0: {
        ++share;
        const std::uint64_t file = random.below(2);
        const TreeKey key = key_of();
        const bool whole = random.one_in(3);
        for (std::uint64_t f = 0; f < 2; ++f)
          for (std::uint64_t n = 0; n < 3; ++n) {
            const TreeKey k = TreeKey::of(f, "n", n);
            if (whole ? f == file : k == key) least[k] = share;
          }
        cache.invalidate(whole ? TreeKey::of(file) : key);
        break;
      }
      case 1:
      case 2: {
        const TreeKey key = key_of();
        auto ticket = cache.get(
            key, {.waiter = [&finds, floor = least[key]](const Cache<std::uint64_t>::Answer& a) {
              REQUIRE(a);
              REQUIRE(**a >= floor);
              ++finds;
            }});
        if (ticket) open.push_back({key, share, std::move(*ticket)});
        break;
      }
      case 3: {
        if (open.empty()) break;
        const std::size_t at = random.below(open.size());
        Open landing = std::move(open[at]);
        open.erase(open.begin() + static_cast<std::ptrdiff_t>(at));
        cache.land(std::move(landing.ticket), std::make_shared<const std::uint64_t>(landing.value));
        break;
      }
    }
    REQUIRE(cache.weight() <= 5);
  }
  while (!open.empty()) {
    cache.land(std::move(open.back().ticket),
               std::make_shared<const std::uint64_t>(open.back().value));
    open.pop_back();
  }
  CHECK(finds > 5'000);
  CHECK(cache.counters().hits.value() > 0);
  CHECK(guard.nodes() == 0);
}

TEST_CASE("many threads never find what was invalidated before they asked") {
  SequenceGuard guard;
  Cache<std::uint64_t> cache(guard, {.name = "stress", .capacity = 8});
  std::array<std::atomic<std::uint64_t>, 12> share{}, least{};
  std::atomic<std::uint64_t> wrong{0}, answers{0};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Random random(Seed{t + 1});
      for (int i = 0; i < 10'000; ++i) {
        const std::uint64_t which = random.below(share.size());
        const TreeKey key = TreeKey::of(which % 3, which);
        if (t == 0) {
          const std::uint64_t now = share[which].fetch_add(1) + 1;
          cache.invalidate(random.one_in(4) ? TreeKey::of(which % 3) : key);
          least[which].store(now);
          continue;
        }
        const std::uint64_t floor = least[which].load();
        auto ticket = cache.get(key, {.waiter = [&, floor](const Cache<std::uint64_t>::Answer& a) {
                                  if (!a || **a < floor) wrong.fetch_add(1);
                                  answers.fetch_add(1);
                                }});
        if (ticket)
          cache.land(std::move(*ticket),
                     std::make_shared<const std::uint64_t>(share[which].load()));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(answers == 30'000);
}
