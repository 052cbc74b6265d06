// SPDX-License-Identifier: Apache-2.0
// Small worlds, explored to the end: every order of the netfs's calls, the store's faults, a
// withdrawal and the steps of the workers. From a state, each possible action is tried in a fresh
// world that was led there; states that are the same by fingerprint are visited once. In each the
// rules hold, and from each the world winds down to nothing. The number of states is printed.
//
// Two cookies below one parent; what may happen to them is chosen so that each world is small.
// LARDER_LONG explores larger ones.
#include <fmt/format.h>

#include <cstdlib>
#include <deque>
#include <iostream>
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
  std::deque<std::vector<Action>> frontier{{}};
  while (!frontier.empty()) {
    const std::vector<Action> path = std::move(frontier.front());
    frontier.pop_front();
    std::vector<Action> possible;
    {
      DrivenWorld world(options);
      for (const Action& action : path) world.act(action);
      possible = world.possible();
    }
    for (const Action& next : possible) {
      ++explored.actions;
      DrivenWorld world(options);
      for (const Action& action : path) world.act(action);
      world.act(next);
      if (!seen.insert(world.fingerprint()).second) continue;
      std::vector<Action> there = path;
      there.push_back(next);
      explored.deepest = std::max(explored.deepest, there.size());
      std::string broken = world.broken_rule();
      if (broken.empty()) broken = world.wind_down();
      if (!broken.empty()) FAIL(broken << "\nby " << told(there));
      frontier.push_back(std::move(there));
    }
  }
  explored.states = seen.size();
  return explored;
}

// `more`: what LARDER_LONG adds.
void explore(const char* name, const std::vector<Budget>& budgets,
             const std::vector<Budget>& more = {}) {
  DrivenOptions options;
  options.operations = 4;
  for (const Budget& budget : budgets) {
    options.budget[static_cast<std::size_t>(budget.what)] = budget.times;
  }
  if (std::getenv("LARDER_LONG") != nullptr) {
    for (const Budget& budget : more) {
      options.budget[static_cast<std::size_t>(budget.what)] += budget.times;
    }
  }
  const Explored explored = explore(options);
  std::cout << fmt::format("{}: {} states, {} actions, at most {} deep\n", name, explored.states,
                           explored.actions, explored.deepest);
  CHECK(explored.states > 100);
}

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
  explore("withdrawal", {{Do::kAcquire, 2}, {Do::kWithdraw, 1}}, {{Do::kRetire, 1}});
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
