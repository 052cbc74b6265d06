// SPDX-License-Identifier: Apache-2.0
// What one memo cache counts.
#pragma once

#include <larder/stats.h>

#include <string>

namespace larder::memo {

struct CacheCounters {
  stats::Counter hits, misses, joined, evicted, invalidated, stale;
  stats::Counter entries, weight;  // gauges
  void register_in(stats::Registry& registry, const std::string& prefix) const;
};

}  // namespace larder::memo
