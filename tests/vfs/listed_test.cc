// SPDX-License-Identifier: Apache-2.0
// The places of names in listings, and when the kernel may keep one.
#include "vfs/listed.h"

#include <map>
#include <set>
#include <string>

#include "base/random.h"
#include "support/catch.h"

using namespace larder;

namespace {

std::vector<Dirent> named(const std::vector<std::string>& names) {
  std::vector<Dirent> entries;
  for (const std::string& name : names) entries.push_back({.name = name});
  return entries;
}

std::map<std::string, std::uint64_t> places_of(const Listed& listed) {
  std::map<std::string, std::uint64_t> places;
  for (std::size_t i = 0; i < listed.entries.size(); ++i)
    places[listed.entries[i].name] = listed.places[i];
  return places;
}

}  // namespace

TEST_CASE("a name keeps its place while others come and go, and no place is given twice") {
  Places places;
  const ListedRef first = places.number(named({"a", "b", "c"}), 0);
  const ListedRef second = places.number(named({"d", "c", "a"}), 0);
  const auto before = places_of(*first), after = places_of(*second);
  CHECK(after.at("a") == before.at("a"));
  CHECK(after.at("c") == before.at("c"));
  CHECK(after.at("d") > before.at("c"));
  CHECK(std::ranges::is_sorted(second->places));
  // Whoever had read up to "a" goes on with what is there now and was not read yet.
  CHECK(second->entries[second->first_behind(before.at("a"))].name == "c");
}

TEST_CASE("whoever reads a directory that changes all the time sees each name that stays once") {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    INFO("seed " << seed);
    Random random(Seed{seed});
    std::vector<std::string> there;
    for (int i = 0; i < 50; ++i) there.push_back("stays-" + std::to_string(i));
    Places places;
    ListedRef listed = places.number(named(there), 0);
    std::multiset<std::string> seen;
    std::uint64_t offset = Listed::kDotDot;
    for (;;) {
      const std::size_t next = listed->first_behind(offset);
      if (next == listed->entries.size()) break;
      offset = listed->places[next];
      seen.insert(listed->entries[next].name);
      if (random.below(3) != 0) continue;
      std::erase_if(there, [&](const std::string& name) {
        return name.starts_with("comes") && random.below(2) == 0;
      });
      if (random.below(4) == 0) there.push_back("comes-" + std::to_string(random.below(1000)));
      for (std::size_t i = there.size(); i > 1; --i)
        std::swap(there[i - 1], there[random.below(i)]);
      listed = places.number(named(there), 0);
    }
    for (int i = 0; i < 50; ++i) CHECK(seen.count("stays-" + std::to_string(i)) == 1);
  }
}

TEST_CASE("a share that lists a name twice does not give two entries one place") {
  Places places;
  const ListedRef first = places.number(named({"a"}), 0);
  const ListedRef second = places.number(named({"a", "a"}), 0);
  CHECK(second->places[0] < second->places[1]);
}

TEST_CASE("the kernel keeps the listing that an open trusts, and no other") {
  Places places;
  KernelListing kernel;
  const ListedRef first = places.number(named({"a"}), 0);
  SECTION("what was read by one open is kept by the next") {
    CHECK_FALSE(kernel.open(nullptr, 0).keeps);
    kernel.took(*first);
    kernel.close();
    const auto again = kernel.open(first.get(), 0);
    CHECK(again.keeps);
    CHECK(again.fills);
  }
  SECTION("a newer listing makes it go") {
    REQUIRE(kernel.open(first.get(), 0).fills);
    kernel.took(*first);
    kernel.close();
    const ListedRef second = places.number(named({"a", "b"}), 1);
    const auto again = kernel.open(second.get(), 1);
    CHECK_FALSE(again.keeps);
    CHECK(again.fills);
  }
  SECTION("while somebody fills it with an older one, nobody else does") {
    REQUIRE(kernel.open(first.get(), 0).fills);
    const ListedRef second = places.number(named({"a", "b"}), 1);
    CHECK_FALSE(kernel.open(second.get(), 1).fills);  // nobody knows yet of which it will be
    kernel.took(*first);
    CHECK_FALSE(kernel.open(second.get(), 1).fills);
    kernel.close();
    const auto last = kernel.open(second.get(), 1);
    CHECK(last.fills);
    CHECK_FALSE(last.keeps);
  }
  SECTION("what is not trusted is not kept") {
    REQUIRE(kernel.open(nullptr, 0).fills);
    kernel.took(*first);
    kernel.close();
    CHECK_FALSE(kernel.open(nullptr, 5).keeps);
  }
  SECTION("nor beyond the trust of its names, or when one of them is forgotten") {
    REQUIRE(kernel.open(nullptr, 0).fills);
    kernel.took(*first);
    kernel.told_names(*first, 100);
    kernel.close();
    REQUIRE(kernel.open(first.get(), 99).keeps);
    kernel.close();
    SECTION("time") { CHECK_FALSE(kernel.open(first.get(), 100).keeps); }
    SECTION("forgotten") {
      kernel.lost_name();
      CHECK_FALSE(kernel.open(first.get(), 99).keeps);
    }
  }
}
