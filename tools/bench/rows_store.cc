// SPDX-License-Identifier: Apache-2.0
// `larder-bench store`: the single-file store without a mount.
#include "bench/rows_store.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace larder::bench {

SetUp<Outcome> measure_store(const Plan& plan) {
  Outcome all;
  struct Part {
    std::string_view name;
    SetUp<Outcome> (*measure)(const Plan& plan);
  };
  constexpr auto kParts = std::to_array<Part>({{"reads", measure_store_reads},
                                               {"fills", measure_store_fills},
                                               {"peers", measure_store_peers},
                                               {"eviction", measure_store_eviction},
                                               {"index", measure_store_index},
                                               {"commits", measure_store_commits}});
  for (const Part& part : kParts) {
    if (!plan.only.empty() && plan.only != part.name) continue;
    TRY(const Outcome outcome, part.measure(plan));
    for (const Row& row : outcome.rows) fmt::print(stderr, "larder-bench: {} done\n", row.name);
    all.rows.insert(all.rows.end(), outcome.rows.begin(), outcome.rows.end());
    all.marks.insert(all.marks.end(), outcome.marks.begin(), outcome.marks.end());
  }
  return all;
}

}  // namespace larder::bench
