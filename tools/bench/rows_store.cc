// SPDX-License-Identifier: Apache-2.0
// `larder-bench store`: the single-file store without a mount.
#include "bench/rows_store.h"

#include <fmt/format.h>

namespace larder::bench {

SetUp<Outcome> measure_store(const Plan& plan) {
  Outcome all;
  for (const auto part : {measure_store_reads, measure_store_fills, measure_store_peers,
                          measure_store_eviction, measure_store_index, measure_store_commits}) {
    TRY(const Outcome outcome, part(plan));
    for (const Row& row : outcome.rows) fmt::print(stderr, "larder-bench: {} done\n", row.name);
    all.rows.insert(all.rows.end(), outcome.rows.begin(), outcome.rows.end());
    all.marks.insert(all.marks.end(), outcome.marks.begin(), outcome.marks.end());
  }
  return all;
}

}  // namespace larder::bench
