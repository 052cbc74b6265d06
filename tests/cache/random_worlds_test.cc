// SPDX-License-Identifier: Apache-2.0
// Larger worlds than can be explored, at random: three indices, six files, eight operations of all
// kinds, every call and every fault, and the steps of the workers between them. The rules hold
// after each action, and in the end nothing is left. LARDER_SEED=n runs one seed, LARDER_LONG ten
// times as many.
#include <fmt/format.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "base/random.h"
#include "cache/driven_world.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::test;

namespace {

constexpr unsigned kActions = 150;

// What is wrong, and behind which action; empty: nothing.
std::string run(Seed seed) {
  Random random(seed);
  DrivenOptions options;
  options.indices = 3;
  options.files = 6;
  options.operations = 24;
  options.steps_per_run = random.one_in(4) ? 64 : 1;
  options.budget.fill(kActions);
  DrivenWorld world(options);
  for (unsigned i = 0; i < kActions; ++i) {
    // A kind first, then one of it: else the many files drown the few faults.
    const std::vector<Action> possible = world.possible();
    std::vector<Action> chosen;
    while (chosen.empty()) {
      const Do what = random.one_in(2) ? Do::kMachine : static_cast<Do>(random.below(kDos));
      // A withdrawal, or faults, every now and then only: most things should work.
      const bool is_rare = what == Do::kWithdraw || what == Do::kFaults || what == Do::kAbsent;
      if (is_rare && !random.one_in(6)) continue;
      for (const Action& action : possible) {
        if (action.what == what) chosen.push_back(action);
      }
      if (chosen.empty() && random.one_in(8)) chosen = possible;
    }
    const Action action = chosen[random.below(chosen.size())];
    world.act(action);
    if (std::string broken = world.broken_rule(); !broken.empty()) {
      return fmt::format("{} behind action {}: {} {}", broken, i, to_text(action.what),
                         action.number);
    }
  }
  return world.wind_down();
}

}  // namespace

TEST_CASE("random worlds keep the rules and end clean") {
  const char* chosen = std::getenv("LARDER_SEED");
  const std::uint64_t first = chosen ? std::strtoull(chosen, nullptr, 10) : 1;
  const std::uint64_t count = chosen ? 1 : std::getenv("LARDER_LONG") ? 10'000 : 1'000;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    INFO("LARDER_SEED=" << seed);
    REQUIRE(run(Seed{seed}) == "");
  }
}
