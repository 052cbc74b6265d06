// SPDX-License-Identifier: Apache-2.0
#include "vfs/metrics.h"

#include <algorithm>
#include <vector>

namespace larder {
namespace {

enum class Kind : std::uint8_t { kCounter, kGauge, kPages };

// A well-known name, and the counters of ours whose sum it is.
struct Metric {
  Kind kind;
  std::string_view name;
  std::string_view labels;
  std::string_view help;
  std::string_view first, second;
};

constexpr Metric kMetrics[] = {
    {Kind::kPages, "larder_blockcache_blocks", "", "Blocks of 4 KiB that the store holds",
     "store.used_bytes", ""},
    {Kind::kGauge, "larder_blockcache_bytes", "", "Bytes that the store holds", "store.used_bytes",
     ""},
    {Kind::kCounter, "larder_blockcache_hits_total", "", "Reads answered from the cache alone",
     "vfs.warm_reads", ""},
    {Kind::kCounter, "larder_blockcache_miss_total", "", "Reads that waited for the share",
     "vfs.cold_reads", "vfs.uncached_reads"},
    {Kind::kCounter, "larder_blockcache_hit_bytes_total", "", "Bytes answered from the cache",
     "vfs.warm_bytes", ""},
    {Kind::kCounter, "larder_blockcache_miss_bytes_total", "", "Bytes that came from the share",
     "vfs.cold_bytes", ""},
    {Kind::kCounter, "larder_blockcache_writes_total", "", "Fills of the cache", "store.fills", ""},
    {Kind::kCounter, "larder_blockcache_write_bytes_total", "", "Bytes of those fills",
     "store.fill_bytes", ""},
    {Kind::kCounter, "larder_blockcache_drops_total", "", "Fills that were dropped",
     "store.fills_dropped_full", "store.fills_dropped_stale"},
    {Kind::kCounter, "larder_blockcache_evicts_total", "", "Extents evicted to make room",
     "store.evicted_extents", ""},
    {Kind::kCounter, "larder_blockcache_evict_bytes_total", "", "Bytes of those extents",
     "store.evicted_bytes", ""},
    {Kind::kCounter, "larder_fuse_ops_total", "op=\"lookup\"", "Requests of the kernel",
     "vfs.lookups", ""},
    {Kind::kCounter, "larder_fuse_ops_total", "op=\"open\"", "", "vfs.opens", ""},
    {Kind::kCounter, "larder_fuse_ops_total", "op=\"read\"", "", "vfs.reads", ""},
    {Kind::kCounter, "larder_fuse_ops_total", "op=\"write\"", "", "vfs.writes", ""},
    {Kind::kCounter, "larder_fuse_read_size_bytes_total", "", "Bytes answered to reads",
     "vfs.read_bytes", ""},
    {Kind::kCounter, "larder_fuse_written_size_bytes_total", "", "Bytes that the share took",
     "vfs.write_bytes", ""},
    {Kind::kCounter, "larder_fuse_ops_io_errors_total", "", "Requests answered with EIO",
     "fuse.io_errors", ""},
    {Kind::kGauge, "larder_fuse_open_handlers", "", "Open files and directories", "vfs.handles",
     ""},
    {Kind::kGauge, "larder_used_buffer_size_bytes", "",
     "Memory for inodes, listings, fetches and copies", "vfs.memory", ""},
};

using Entries = std::vector<stats::Registry::Entry>;

std::uint64_t value_of(const Entries& entries, std::string_view name) {
  const auto found = std::find_if(entries.begin(), entries.end(),
                                  [&](const auto& entry) { return entry.name == name; });
  return found == entries.end() ? 0 : found->read();
}

// One histogram for all requests, told apart by a label.
void add_durations(stats::PrometheusText& text, const stats::Registry& registry) {
  constexpr std::string_view kPrefix = "op.", kSuffix = "_ns";
  for (const stats::Registry::HistogramEntry& entry : registry.histograms()) {
    std::string_view name = entry.name;
    if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix) || entry.histogram->count() == 0)
      continue;
    name.remove_prefix(kPrefix.size());
    name.remove_suffix(kSuffix.size());
    text.histogram("larder_fuse_ops_durations_histogram_seconds",
                   "Time of requests, of every eighth", *entry.histogram,
                   stats::PrometheusText::label("op", name));
  }
}

}  // namespace

std::string metrics_text(const MetricsOf& mount, const stats::Registry& registry) {
  using stats::PrometheusText;
  PrometheusText text(PrometheusText::label("mountpoint", mount.mountpoint));
  text.gauge("larder_build_info", "The version that runs", 1,
             PrometheusText::label("version", mount.version));
  text.gauge("larder_uptime", "Seconds since the mount",
             static_cast<std::uint64_t>(mount.uptime_ns / kSecond));
  text.gauge("larder_share_up", "Does the share answer (1), or is it slow or away (0)",
             mount.share_state == "ok" ? 1 : 0, PrometheusText::label("state", mount.share_state));
  for (const auto& [tag, state] : mount.stores) {
    text.gauge("larder_store_up", "Is the cache's store in use (1), or has it failed (0)",
               state == "open" ? 1 : 0,
               PrometheusText::label("tag", tag) + "," + PrometheusText::label("state", state));
  }
  const Entries entries = registry.entries();
  for (const Metric& metric : kMetrics) {
    const std::uint64_t value = value_of(entries, metric.first) + value_of(entries, metric.second);
    switch (metric.kind) {
      case Kind::kCounter:
        text.counter(metric.name, metric.help, value, metric.labels);
        break;
      case Kind::kGauge:
        text.gauge(metric.name, metric.help, value, metric.labels);
        break;
      case Kind::kPages:
        text.gauge(metric.name, metric.help, value / kPageSize, metric.labels);
        break;
    }
  }
  for (const stats::Registry::HistogramEntry& entry : registry.histograms()) {
    if (entry.name == "vfs.warm_read_ns") {
      text.histogram("larder_blockcache_read_hist_seconds", "Time of reads from the cache",
                     *entry.histogram);
    } else if (entry.name == "cache.fill_ns") {
      text.histogram("larder_blockcache_write_hist_seconds", "Time of fills of the cache",
                     *entry.histogram);
    }
  }
  text.registry("larder", registry);
  add_durations(text, registry);
  return text.text();
}

}  // namespace larder
