// SPDX-License-Identifier: Apache-2.0
// What the file system counts, "vfs.reads" and its like. Thread: any.
#pragma once

#include <larder/stats.h>

namespace larder {

struct VfsCounters {
  stats::Counter reads, read_bytes, warm_reads, warm_bytes, cold_reads, cold_bytes, uncached_reads;
  stats::Counter parked, left, store_passed, copied_bytes, flights, flight_joins, flight_bytes,
      stale_flights;
  stats::Counter fills_skipped, writes, write_bytes, sessions_kept, sessions_dropped;
  stats::Counter lookups, opens, opens_unasked, new_versions, served_unasked;
  stats::Counter excluded_opens, pass_through_opens, pass_through_refused;
  stats::Counter given_back, stale_answers;
  stats::Counter inodes, handles;  // gauges
  stats::Histogram warm_read_ns, cold_read_ns, stage_lookup_ns, stage_store_ns;
  void register_in(stats::Registry& registry);
};

}  // namespace larder
