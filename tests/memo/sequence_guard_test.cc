// SPDX-License-Identifier: Apache-2.0
#include <larder/flight.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "memo/run_seed.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::memo;
using namespace larder::test;

TEST_CASE("an invalidation reaches the key and all below it, nothing above and nothing beside") {
  SequenceGuard guard;
  auto file = guard.begin(TreeKey::of(7u, "names", "a.txt"));
  auto names = guard.begin(TreeKey::of(7u, "names"));
  auto directory = guard.begin(TreeKey::of(7u));
  auto other = guard.begin(TreeKey::of(8u, "names"));
  auto all = guard.begin(TreeKey());

  guard.invalidate(TreeKey::of(7u, "names", "b.txt"));
  CHECK(guard.unchanged(file));
  guard.invalidate(TreeKey::of(7u, "names"));
  CHECK_FALSE(guard.unchanged(file));
  CHECK_FALSE(guard.unchanged(names));
  CHECK(guard.unchanged(directory));
  CHECK(guard.unchanged(other));
  // What begins now knows nothing of it.
  CHECK(guard.unchanged(guard.begin(TreeKey::of(7u, "names", "a.txt"))));
  CHECK(guard.unchanged(all));
  guard.invalidate(TreeKey());
  CHECK_FALSE(guard.unchanged(directory));
  CHECK_FALSE(guard.unchanged(other));
  CHECK_FALSE(guard.unchanged(all));
}

TEST_CASE("a number is not the name that looks like it") {
  SequenceGuard guard;
  const auto number = guard.begin(TreeKey::of(7u));
  const auto name = guard.begin(TreeKey::of("7"));
  guard.invalidate(TreeKey::of("7"));
  CHECK(guard.unchanged(number));
  CHECK_FALSE(guard.unchanged(name));
}

TEST_CASE("an unchanged stamp keeps, a changed one does not") {
  SequenceGuard guard;
  const auto stamp = guard.begin(TreeKey::of(1u, "attributes"));
  int kept = 0;
  CHECK(guard.keep_if_unchanged(stamp, [&] { ++kept; }));
  guard.invalidate(TreeKey::of(1u));
  CHECK_FALSE(guard.keep_if_unchanged(stamp, [&] { ++kept; }));
  CHECK(kept == 1);
}

TEST_CASE("a stamp may be moved, and is let go once") {
  SequenceGuard guard;
  {
    auto first = guard.begin(TreeKey::of(1u, 2u));
    SequenceGuard::Stamp second(std::move(first));
    auto third = guard.begin(TreeKey::of(3u));
    CHECK(guard.nodes() == 3);
    third = std::move(second);
    guard.invalidate(TreeKey::of(1u));
    CHECK_FALSE(guard.unchanged(third));
    third.reset();
    third.reset();
  }
  CHECK(guard.nodes() == 0);
}

TEST_CASE("keys without stamps cost nothing, however many are invalidated") {
  SequenceGuard guard;
  const auto stamp = guard.begin(TreeKey::of(0u, "x"));
  for (std::uint64_t i = 0; i < 10000; ++i) {
    guard.invalidate(TreeKey::of(i, "names"));
    guard.invalidate(TreeKey::of(i));
    (void)guard.begin(TreeKey::of(i, "names", "gone at once"));
  }
  CHECK(guard.nodes() == 2);
}

namespace {

TreeKey random_key(Random& random) {
  // Few parts and few values, so that keys meet often.
  const std::uint64_t depth = random.below(4);
  const auto part = [&] { return random.below(3); };
  switch (depth) {
    case 0:
      return random.one_in(4) ? TreeKey() : TreeKey::of(part());
    case 1:
      return TreeKey::of(part());
    case 2:
      return TreeKey::of(part(), random.one_in(2) ? "names" : "data");
    default:
      return TreeKey::of(part(), "names", part(), part());
  }
}

// The naive model: all that is remembered of a stamp is whether it was reached.
struct Held {
  TreeKey key;
  SequenceGuard::Stamp stamp;
  bool reached = false;
};

std::size_t prefixes_of(const std::vector<Held>& held) {
  std::vector<std::vector<KeyPart>> paths;
  for (const Held& h : held) {
    std::vector<KeyPart> path;
    for (const KeyPart& part : h.key.parts()) {
      path.push_back(part);
      if (std::find(paths.begin(), paths.end(), path) == paths.end()) paths.push_back(path);
    }
  }
  return paths.size();
}

}  // namespace

TEST_CASE("the guard agrees with a list of all stamps") {
  const Seed seed = seed_of_run();
  INFO("LARDER_SEED=" << seed.value);
  Random random(seed);
  SequenceGuard guard;
  std::vector<Held> held;
  std::size_t reached = 0, kept = 0;
  for (int step = 0; step < 20000; ++step) {
    const std::uint64_t choice = random.below(10);
    if (choice < 4 && held.size() < 30) {
      TreeKey key = random_key(random);
      SequenceGuard::Stamp stamp = guard.begin(key);
      held.push_back({std::move(key), std::move(stamp)});
    } else if (choice < 6 && !held.empty()) {
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(random.below(held.size())));
    } else if (choice < 7) {
      const TreeKey prefix = random_key(random);
      guard.invalidate(prefix);
      for (Held& h : held) h.reached = h.reached || h.key.begins_with(prefix);
    } else if (!held.empty()) {
      const Held& h = held[static_cast<std::size_t>(random.below(held.size()))];
      bool ran = false;
      REQUIRE(guard.keep_if_unchanged(h.stamp, [&] { ran = true; }) == !h.reached);
      REQUIRE(ran == !h.reached);
      ++(h.reached ? reached : kept);
    }
    if (step % 50 != 0) continue;
    for (const Held& h : held) REQUIRE(guard.unchanged(h.stamp) == !h.reached);
    REQUIRE(guard.nodes() == prefixes_of(held));
  }
  CHECK(reached > 100);
  CHECK(kept > 100);
  held.clear();
  CHECK(guard.nodes() == 0);
}

TEST_CASE("what is kept under a stamp is never older than the last invalidation that has ended") {
  constexpr std::uint64_t kKeys = 4, kRounds = 4000;
  SequenceGuard guard;
  // A share, a cache of it, and the version that everybody may rely on: one each for every key.
  struct Entry {
    std::atomic<std::uint64_t> share{1}, cache{0}, announced{0};
  };
  std::vector<Entry> entries(kKeys);
  std::atomic<std::uint64_t> stale{0}, kept{0};
  const auto change = [&](Entry& entry, const TreeKey& key) {
    const std::uint64_t version = ++entry.share;
    guard.invalidate(key);
    entry.cache = 0;
    std::uint64_t before = entry.announced;
    while (before < version && !entry.announced.compare_exchange_weak(before, version)) {
    }
  };
  const auto read = [&](Entry& entry, const TreeKey& key) {
    const std::uint64_t least = entry.announced;
    const std::uint64_t cached = entry.cache;
    if (cached != 0 && cached < least) ++stale;
    const auto stamp = guard.begin(key);
    const std::uint64_t fetched = entry.share;
    if (guard.keep_if_unchanged(stamp, [&] { entry.cache = fetched; })) ++kept;
  };
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Random random(Seed{t + 1});
      for (std::uint64_t i = 0; i < kRounds; ++i) {
        const std::uint64_t which = random.below(kKeys);
        const TreeKey key = TreeKey::of(which, "names", which);
        if (t == 0) {
          change(entries[which], random.one_in(2) ? key : TreeKey::of(which));
        } else {
          read(entries[which], key);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(stale == 0);
  CHECK(kept > 0);
  CHECK(guard.nodes() == 0);
}
