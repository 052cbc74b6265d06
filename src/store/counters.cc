// SPDX-License-Identifier: Apache-2.0
#include <larder/store.h>

namespace larder::store {

void Counters::register_in(stats::Registry& registry) {
  using stats::Unit;
  const auto add = [&](const char* name, Unit unit, const char* what,
                       const stats::Counter& counter) {
    registry.add(std::string("store.") + name, unit, what, counter);
  };
  add("reads", Unit::kCount, "Reads that were looked for in the store", reads);
  add("read_bytes", Unit::kBytes, "Bytes that the store gave, sums checked", read_bytes);
  add("misses", Unit::kCount, "Reads whose first page was not in the store", misses);
  add("sum_errors", Unit::kCount, "Runs of pages that did not match their sums", sum_errors);
  add("sum_reads", Unit::kCount,
      "Reads of sums that had left memory, or were not asked for since the store was opened",
      sum_reads);
  add("read_errors", Unit::kCount, "Reads that the device failed", read_errors);
  add("fills", Unit::kCount, "Fills that were put in place", fills);
  add("fill_bytes", Unit::kBytes, "Bytes of those fills", fill_bytes);
  add("fills_dropped_full", Unit::kCount, "Fills dropped for lack of room or too many in flight",
      fills_dropped_full);
  add("fills_dropped_stale", Unit::kCount,
      "Fills dropped because the content had changed meanwhile", fills_dropped_stale);
  add("fill_errors", Unit::kCount, "Fills that the device failed", fill_errors);
  add("fill_in_flight_bytes", Unit::kGauge, "Bytes of fills in flight", fill_in_flight_bytes);
  add("zero_pages", Unit::kCount, "Pages of zeros that took no block", zero_pages);
  add("evicted_extents", Unit::kCount, "Extents that went to make room", evicted_extents);
  add("evicted_bytes", Unit::kBytes, "Bytes of those extents", evicted_bytes);
  add("evicted_names", Unit::kCount, "Names that went to make room for others", evicted_names);
  add("quarantined_bytes", Unit::kBytes, "Bytes that are not used again before the next opening",
      quarantined_bytes);
  add("commits", Unit::kCount, "Commits", commits);
  add("flushes", Unit::kCount, "Flushes of the device", flushes);
  add("journal_bytes", Unit::kBytes, "Bytes written to the journal", journal_bytes);
  add("checkpoints", Unit::kCount, "Checkpoints", checkpoints);
  add("checkpoint_bytes", Unit::kBytes, "Bytes written to checkpoint areas", checkpoint_bytes);
  add("replayed_records", Unit::kCount, "Records of the journal replayed at opening",
      replayed_records);
  add("discarded_records", Unit::kCount, "Records that made no sense at opening",
      discarded_records);
  add("bypasses", Unit::kCount, "Times that the store was bypassed since reads or writes failed",
      bypasses);
  add("returns", Unit::kCount, "Times that it came back by itself", returns);
  add("no_room", Unit::kCount, "Fills for which the file system below had no room", no_room);
  add("hangs", Unit::kCount, "Times that reads went past the store since one did not come back",
      hangs);
  add("resizes", Unit::kCount, "Times that the store grew or shrank", resizes);
  add("moved_bytes", Unit::kBytes, "Bytes that moved to other blocks for that", moved_bytes);
  add("expired_extents", Unit::kCount, "Extents that were not used for as long as expire= says",
      expired_extents);
  add("expired_bytes", Unit::kBytes, "Bytes of those extents", expired_bytes);
  add("given_back_bytes", Unit::kBytes,
      "Bytes given back to the disk below for min_free=", given_back_bytes);
  add("fills_dropped_disk", Unit::kCount,
      "Fills dropped since they would take from min_free=", fills_dropped_disk);
  add("disk_free_bytes", Unit::kGauge,
      "Bytes free on the disk below, as last seen for min_free=", disk_free_bytes);
  add("pinned_objects", Unit::kGauge, "Objects whose pages are not evicted", pinned_objects);
  add("objects", Unit::kGauge, "Objects in the store", objects);
  add("names", Unit::kGauge, "Names in the store", names);
  add("extents", Unit::kGauge, "Extents in the store", extents);
  add("capacity_bytes", Unit::kGauge, "Bytes that the data area holds", capacity_bytes);
  add("used_bytes", Unit::kGauge, "Bytes of the data area in use, fills in flight included",
      used_bytes);
  add("waiting_bytes", Unit::kGauge, "Bytes that become free with the next commit", waiting_bytes);
  add("index_bytes", Unit::kGauge, "Memory of the index, sums included, near enough", index_bytes);
  add("free_runs", Unit::kGauge, "Runs of free blocks", free_runs);
  add("largest_free_bytes", Unit::kGauge, "Bytes of the largest of them", largest_free_bytes);
  add("fragmentation_percent", Unit::kGauge,
      "Free bytes that are not in runs of 1 MiB or more, in percent of all free bytes",
      fragmentation_percent);
}

}  // namespace larder::store
