// SPDX-License-Identifier: Apache-2.0
#include "memo/cache_counters.h"

namespace larder::memo {

void CacheCounters::register_in(stats::Registry& registry, const std::string& prefix) const {
  using stats::Unit;
  registry.add(prefix + ".hits", Unit::kCount, "questions answered from what was kept", hits);
  registry.add(prefix + ".misses", Unit::kCount, "questions that went to the share", misses);
  registry.add(prefix + ".joined", Unit::kCount, "questions that waited for another's answer",
               joined);
  registry.add(prefix + ".evicted", Unit::kCount, "entries that gave way to others", evicted);
  registry.add(prefix + ".invalidated", Unit::kCount, "entries that were no longer true",
               invalidated);
  registry.add(prefix + ".stale", Unit::kCount, "entries that verification found to be wrong",
               stale);
  registry.add(prefix + ".entries", Unit::kGauge, "entries kept", entries);
  registry.add(prefix + ".weight", Unit::kGauge, "what they weigh", weight);
}

}  // namespace larder::memo
