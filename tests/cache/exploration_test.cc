// SPDX-License-Identifier: Apache-2.0
// Small worlds, explored to the end: every order of the netfs's calls, the store's faults, a
// withdrawal and the steps of the workers (explorer.h). Two cookies below one parent. In each state
// the rules hold, and from each the world winds down to nothing. The number of states is printed.
//
// The whole world first: one of each kind, all of them together. Then worlds in which a few chosen
// things happen often, and such in which any few of all kinds meet.
//
// What bounds them: each kind happens as often as the test says, and not more; a withdrawal tells
// all objects at one moment; in the whole world, the objects above the parent take their steps at
// once (the last test compares), and a withdrawn cache comes back only in the next. LARDER_LONG
// explores larger ones: two operations, from cookies that nobody has looked up yet, and back again.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "cache/explorer.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::test;

namespace {

struct Budget {
  Do what;
  unsigned times;
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// Not under a sanitizer, which sees in the small worlds what it would see in the large ones.
bool is_long() { return !kSanitized && std::getenv("LARDER_LONG") != nullptr; }

void explore(const char* name, DrivenOptions options) {
  options.operations = 4;
  options.leaves_out_mirrors = true;
  const Explored explored = explore(options);
  std::cout << fmt::format("{}: {} states, {} of them at rest, {} actions, at most {} deep\n", name,
                           explored.states, explored.at_rest.size(), explored.actions,
                           explored.deepest);
  CHECK(explored.broken == "");
  CHECK(explored.states > 100);
}

// `more`: what LARDER_LONG adds.
void explore(const char* name, const std::vector<Budget>& budgets,
             const std::vector<Budget>& more = {}) {
  DrivenOptions options;
  for (const Budget& budget : budgets) {
    options.budget[static_cast<std::size_t>(budget.what)] = budget.times;
  }
  for (const Budget& budget : is_long() ? more : std::vector<Budget>{}) {
    options.budget[static_cast<std::size_t>(budget.what)] += budget.times;
  }
  explore(name, options);
}

// One of each: relinquish (keeping or deleting), withdraw, invalidate, rename (to a free place or
// over the other), error (of the store's look-ups, or found by an operation) and an operation.
DrivenOptions whole_world() {
  DrivenOptions options;
  options.either = {
      {Do::kRelinquish, Do::kRetire}, {Do::kRename, Do::kRenameOver}, {Do::kFaults, Do::kAbort}};
  for (const Do what :
       {Do::kRelinquish, Do::kWithdraw, Do::kInvalidate, Do::kRename, Do::kFaults, Do::kSubmit}) {
    options.budget[static_cast<std::size_t>(what)] = 1;
  }
  options.beginning = {{Do::kAcquire, 0}, {Do::kAcquire, 1}};
  options.begins_settled = true;
  options.above_at_once = true;
  options.comes_back = false;
  return options;
}

// Any `events` of these kinds, in any order and at any moment.
struct Meeting {
  std::vector<Do> kinds;
  unsigned events = 2;
  unsigned files = 2;
  bool begins_settled = true;  // else nothing has been looked up yet
};
void explore(const char* name, const Meeting& meeting) {
  DrivenOptions options;
  options.events = meeting.events;
  options.files = meeting.files;
  options.begins_settled = meeting.begins_settled;
  for (const Do what : meeting.kinds) {
    options.budget[static_cast<std::size_t>(what)] = meeting.events;
  }
  for (std::uint8_t file = 0; file < meeting.files; ++file) {
    options.beginning.push_back({Do::kAcquire, file});
  }
  explore(name, options);
}

const std::vector<Do> kAllKinds = {
    Do::kAcquire,     Do::kRelinquish, Do::kRetire, Do::kAcquireIndex, Do::kRelinquishIndex,
    Do::kRetireIndex, Do::kInvalidate, Do::kUpdate, Do::kRename,       Do::kRenameOver,
    Do::kDisable,     Do::kEnable,     Do::kSubmit, Do::kAbort,        Do::kCancel,
    Do::kAttrChanged, Do::kFaults,     Do::kAbsent, Do::kWithdraw,     Do::kTime};

}  // namespace

TEST_CASE("an exploration finds a rule that is broken, and says by what") {
  DrivenOptions options;
  for (const Do what : {Do::kAcquire, Do::kRelinquish}) {
    options.budget[static_cast<std::size_t>(what)] = 1;
  }
  options.never = cache::State::kDying;
  const Explored dies = larder::test::explore(options);
  INFO(dies.broken);
  CHECK(dies.broken.find("(DYING): it is where no object may be\nby acquire ") !=
        std::string::npos);
  CHECK(dies.broken.find("relinquish ") != std::string::npos);
  options.never = cache::State::kInvalidating;  // nothing is invalidated
  CHECK(larder::test::explore(options).broken == "");
}

TEST_CASE("relinquish, withdraw, invalidate, rename, error, operation: all, in every order") {
  DrivenOptions options = whole_world();
  if (kSanitized) options.events = 3;
  explore("the whole world", options);
}

TEST_CASE("any three of them meet, and the cache that was withdrawn comes back") {
  DrivenOptions options = whole_world();
  options.comes_back = true;
  options.events = is_long() ? 4 : kSanitized ? 2 : 3;
  explore("the cache comes back", options);
}

TEST_CASE("the whole world with two operations, and from the first look-up on") {
  SUCCEED("with LARDER_LONG");
  if (!is_long()) return;
  DrivenOptions options = whole_world();
  options.either.erase(options.either.begin() + 1);
  options.budget[static_cast<std::size_t>(Do::kSubmit)] = 2;
  explore("the whole world, two operations", options);
  options = whole_world();
  options.either.erase(options.either.begin() + 1);
  options.begins_settled = false;
  options.events = 5;
  explore("the whole world, early, any five", options);
}

TEST_CASE("two cookies come and go below one parent that goes too") {
  explore("come and go",
          {{Do::kAcquire, 2}, {Do::kRelinquish, 1}, {Do::kRetire, 1}, {Do::kRelinquishIndex, 1}},
          {{Do::kAcquire, 1}, {Do::kRelinquish, 1}, {Do::kAcquireIndex, 1}});
}

TEST_CASE("the store fails and recovers under two cookies") {
  explore("faults", {{Do::kAcquire, 2}, {Do::kFaults, 1}},
          {{Do::kFaults, 1}, {Do::kRelinquish, 1}});
}

TEST_CASE("a look-up fails, time passes, and the next operation tries again") {
  explore("retries", {{Do::kAcquire, 1}, {Do::kFaults, 2}, {Do::kTime, 1}, {Do::kSubmit, 2}},
          {{Do::kSubmit, 1}, {Do::kRelinquish, 1}});
}

TEST_CASE("the store holds obsolete versions") {
  explore("obsolete", {{Do::kAcquire, 2}, {Do::kAbsent, 1}, {Do::kRelinquish, 1}},
          {{Do::kInvalidate, 1}, {Do::kSubmit, 1}});
}

TEST_CASE("operations meet barriers, invalidations and updates") {
  explore("operations",
          {{Do::kAcquire, 1}, {Do::kSubmit, 2}, {Do::kInvalidate, 1}, {Do::kRelinquish, 1}},
          {{Do::kSubmit, 1}, {Do::kUpdate, 1}, {Do::kCancel, 1}});
}

TEST_CASE("operations are taken back, or find their object broken") {
  explore("aborts", {{Do::kAcquire, 1}, {Do::kSubmit, 3}, {Do::kCancel, 1}, {Do::kAbort, 1}},
          {{Do::kRetire, 1}, {Do::kUpdate, 1}});
}

TEST_CASE("the version changes again and again") {
  explore("versions",
          {{Do::kAcquire, 1}, {Do::kInvalidate, 2}, {Do::kUpdate, 1}, {Do::kAttrChanged, 1}},
          {{Do::kUpdate, 1}, {Do::kSubmit, 1}, {Do::kRetire, 1}});
}

TEST_CASE("the cache is withdrawn under two cookies, and comes back") {
  if (is_long()) explore("withdrawal", {{Do::kAcquire, 2}, {Do::kWithdraw, 1}, {Do::kRetire, 1}});
  explore("withdrawal", Meeting{.kinds = {Do::kWithdraw, Do::kRetire}});
}

TEST_CASE("the cache is withdrawn under an operation") {
  explore("withdrawal under way", {{Do::kAcquire, 1}, {Do::kWithdraw, 1}, {Do::kSubmit, 1}},
          {{Do::kSubmit, 1}, {Do::kRetire, 1}});
}

TEST_CASE("cookies are renamed") {
  explore("renames", {{Do::kAcquire, 2}, {Do::kRename, 1}, {Do::kRelinquish, 1}},
          {{Do::kRename, 1}, {Do::kSubmit, 1}});
}

TEST_CASE("cookies are renamed over each other") {
  explore("renames over", {{Do::kAcquire, 2}, {Do::kRenameOver, 1}},
          {{Do::kAcquire, 1}, {Do::kRelinquish, 1}, {Do::kSubmit, 1}});
}

TEST_CASE("cookies are disabled and enabled") {
  explore("disabling", {{Do::kAcquire, 1}, {Do::kDisable, 2}, {Do::kEnable, 1}, {Do::kSubmit, 1}},
          {{Do::kEnable, 1}, {Do::kRename, 1}});
}

// A withdrawal takes five objects down in every order, so it meets the others at one cookie, above,
// and at two by itself.
TEST_CASE("any three of all kinds of event meet, at two cookies that are up") {
  std::vector<Do> kinds = kAllKinds;
  if (!is_long()) std::erase(kinds, Do::kWithdraw);
  explore("all kinds, two cookies", Meeting{.kinds = kinds, .events = is_long() ? 2u : 3u});
}

TEST_CASE("any two of all kinds of event meet, at a cookie of which nothing has been looked up") {
  explore("all kinds, early", Meeting{.kinds = kAllKinds, .files = 1, .begins_settled = false});
}

TEST_CASE("any four of relinquish, invalidate, rename, error and operation meet") {
  const std::vector<Do> kinds = {Do::kRetire, Do::kInvalidate, Do::kRename,
                                 Do::kFaults, Do::kAbort,      Do::kSubmit};
  explore("any four", Meeting{.kinds = kinds, .events = is_long() ? 5u : 4u});
}

TEST_CASE("any three of these meet a withdrawal") {
  const std::vector<Do> kinds = {Do::kRetire, Do::kInvalidate, Do::kRename,  Do::kFaults,
                                 Do::kAbort,  Do::kSubmit,     Do::kWithdraw};
  if (is_long()) explore("any three", Meeting{.kinds = kinds, .events = 3, .files = 1});
  SUCCEED("with LARDER_LONG");
}

TEST_CASE("any two of all kinds of event meet, at two cookies and at any moment of their lives") {
  if (is_long())
    explore("all kinds, at any moment", Meeting{.kinds = kAllKinds, .begins_settled = false});
  SUCCEED("with LARDER_LONG");
}

TEST_CASE("the steps above the parent, taken at once: the same states at rest") {
  DrivenOptions options = whole_world();
  options.operations = 4;
  options.leaves_out_mirrors = true;
  options.comes_back = true;
  options.events = is_long() ? 3 : kSanitized ? 1 : 2;
  const Explored at_once = larder::test::explore(options);
  options.above_at_once = false;
  const Explored at_any_time = larder::test::explore(options);
  CHECK(at_once.broken == "");
  CHECK(at_any_time.broken == "");
  CHECK(at_once.at_rest == at_any_time.at_rest);
  CHECK(at_once.states < at_any_time.states);
  std::cout << fmt::format("the steps above at once: {} states; at any time: {}; {} at rest\n",
                           at_once.states, at_any_time.states, at_once.at_rest.size());
}
