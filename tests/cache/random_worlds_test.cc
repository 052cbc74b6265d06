// SPDX-License-Identifier: Apache-2.0
// Larger worlds than can be explored, at random: three indices, six files, eight operations of all
// kinds, every call and every fault, and the steps of the workers between them. The rules hold
// after each action, and in the end nothing is left. LARDER_SEED=n runs one seed, LARDER_LONG ten
// times as many.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "cache/driven_world.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::test;

namespace {

constexpr unsigned kActions = 150;

// Every now and then only: most things should work, and live for a while.
bool is_rare(Do what) {
  constexpr std::array kRare = {Do::kWithdraw,    Do::kFaults,     Do::kAbsent,
                                Do::kTime,        Do::kRelinquish, Do::kRelinquishIndex,
                                Do::kRetireIndex, Do::kRetire,     Do::kDisable};
  return std::find(kRare.begin(), kRare.end(), what) != kRare.end();
}

using Counts = std::array<std::uint64_t, kDos>;

// What is wrong, and behind which action; empty: nothing. Counts what was done.
std::string run(Seed seed, Counts& done) {
  Random random(seed);
  DrivenOptions options;
  options.indices = 3;
  options.files = 6;
  options.operations = 24;
  options.steps_per_run = random.one_in(4) ? 64 : 1;
  options.budget.fill(kActions);
  auto world = std::make_unique<DrivenWorld>(options);
  std::string broken;
  for (unsigned i = 0; i < kActions; ++i) {
    // A kind first, then one of it: else the many files drown the few faults.
    const std::vector<Action> possible = world->possible();
    std::vector<Action> chosen;
    while (chosen.empty()) {
      const Do what = random.one_in(2) ? Do::kMachine : static_cast<Do>(random.below(kDos));
      if (is_rare(what) && !random.one_in(6)) continue;
      for (const Action& action : possible) {
        if (action.what == what) chosen.push_back(action);
      }
      if (chosen.empty() && random.one_in(8)) chosen = possible;
    }
    const Action action = chosen[random.below(chosen.size())];
    world->act(action);
    ++done[static_cast<std::size_t>(action.what)];
    broken = world->broken_rule();
    if (broken.empty()) continue;
    broken =
        fmt::format("{} behind action {}: {} {}", broken, i, to_text(action.what), action.number);
    break;
  }
  if (broken.empty()) broken = world->wind_down();
  if (!broken.empty()) static_cast<void>(world.release());  // it might not end
  return broken;
}

}  // namespace

TEST_CASE("random worlds keep the rules and end clean") {
  const char* chosen = std::getenv("LARDER_SEED");
  const std::uint64_t first = chosen ? std::strtoull(chosen, nullptr, 10) : 1;
  const std::uint64_t count = chosen ? 1 : std::getenv("LARDER_LONG") ? 10'000 : 1'000;
  Counts done{};
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    INFO("LARDER_SEED=" << seed);
    REQUIRE(run(Seed{seed}, done) == "");
  }
  // Each kind of action, and often.
  for (std::size_t i = 0; i < kDos; ++i) {
    INFO(to_text(static_cast<Do>(i)) << " " << done[i] << " times");
    CHECK((chosen != nullptr || done[i] >= count / 10));
  }
}
