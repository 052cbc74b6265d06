// SPDX-License-Identifier: Apache-2.0
// Small worlds, explored to the end: every order of the netfs's calls, the store's faults, a
// withdrawal and the steps of the workers. From a state, each possible action is tried in a fresh
// world that was led there; states that are the same by fingerprint are visited once, and what
// comes to the same by symmetry is left out (DrivenOptions::leaves_out_mirrors). In each the rules
// hold, and from each the world winds down to nothing. The number of states is printed.
//
// Two cookies below one parent. First worlds in which a few chosen things happen often, then such
// in which any few of all kinds of event meet. LARDER_LONG explores larger ones.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "cache/driven_world.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::test;

namespace {

struct Budget {
  Do what;
  unsigned times;
};

struct Explored {
  std::size_t states = 0, actions = 0, deepest = 0;
};

// How a state was reached first.
struct Step {
  std::size_t from;  // another step; 0: from the beginning
  Action action;
  unsigned depth;
  std::vector<Action> possible;  // from there
};

std::vector<Action> path_to(const std::vector<Step>& steps, std::size_t at) {
  std::vector<Action> path;
  for (; at != 0; at = steps[at].from) path.push_back(steps[at].action);
  std::reverse(path.begin(), path.end());
  return path;
}

std::string told(const std::vector<Action>& path) {
  std::string text;
  for (const Action& action : path) {
    text += fmt::format("{} {}; ", to_text(action.what), action.number);
  }
  return text;
}

Explored explore(const DrivenOptions& options) {
  Explored explored;
  std::unordered_set<std::string> seen;
  std::vector<Step> steps{{0, {}, 0, DrivenWorld(options).possible()}};
  for (std::size_t here = 0; here < steps.size(); ++here) {
    const std::vector<Action> path = path_to(steps, here);
    const std::vector<Action> possible = std::move(steps[here].possible);
    for (const Action& next : possible) {
      ++explored.actions;
      auto world = std::make_unique<DrivenWorld>(options);
      for (const Action& action : path) world->act(action);
      world->act(next);
      if (!seen.insert(world->fingerprint()).second) continue;
      steps.push_back({here, next, steps[here].depth + 1, world->possible()});
      std::string broken = world->broken_rule();
      if (broken.empty()) broken = world->wind_down();
      if (broken.empty()) continue;
      static_cast<void>(world.release());  // it might not end
      FAIL(broken << "\nby " << told(path_to(steps, steps.size() - 1)));
    }
  }
  explored.states = seen.size();
  explored.deepest = steps.back().depth;
  return explored;
}

// Not under a sanitizer, which sees in the small worlds what it would see in the large ones.
bool is_long() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return false;
#else
  return std::getenv("LARDER_LONG") != nullptr;
#endif
}

void explore(const char* name, DrivenOptions options) {
  options.operations = 4;
  options.leaves_out_mirrors = true;
  const Explored explored = explore(options);
  std::cout << fmt::format("{}: {} states, {} actions, at most {} deep\n", name, explored.states,
                           explored.actions, explored.deepest);
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
