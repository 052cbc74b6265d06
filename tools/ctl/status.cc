// SPDX-License-Identifier: Apache-2.0
#include "ctl/status.h"

#include <fmt/format.h>
#include <larder/options.h>

#include <array>
#include <iterator>
#include <sstream>

namespace larder::ctl {
namespace {

// Counters that a healthy mount has at 0, and what they say to a human.
struct Trouble {
  std::string_view counter, words;
};
constexpr auto kTroubles = std::to_array<Trouble>({
    {"netfs.deadlines", "calls to the share were not answered in time"},
    {"netfs.refused", "calls were refused because too many waited for the share"},
    {"netfs.slow_trips", "times the share became slow"},
    {"netfs.away_trips", "times the share was away"},
    {"store.read_errors", "reads of the store failed"},
    {"store.sum_errors", "pages of the store did not match their sums and were fetched again"},
    {"store.fill_errors", "fills of the store failed"},
    {"store.quarantined_bytes", "bytes of the store are not used any more"},
});

void row(std::string& page, std::string_view name, const std::string& value) {
  if (!value.empty()) page += fmt::format("  {:<10}{}\n", name, value);
}

// "97.5 %" of part in all; "-" where there is nothing.
std::string percent(std::uint64_t part, std::uint64_t all) {
  if (all == 0) return "-";
  return fmt::format("{:.1f} %", 100.0 * static_cast<double>(part) / static_cast<double>(all));
}

std::string span_text(std::uint64_t seconds) {
  const std::uint64_t minutes = seconds / 60, hours = minutes / 60, days = hours / 24;
  if (days > 0) return fmt::format("{} d {} h", days, hours % 24);
  if (hours > 0) return fmt::format("{} h {} min", hours, minutes % 60);
  if (minutes > 0) return fmt::format("{} min {} s", minutes, seconds % 60);
  return fmt::format("{} s", seconds);
}

std::string latency_text(std::uint64_t ns) {
  if (ns >= 1'000'000'000) return fmt::format("{:.1f} s", static_cast<double>(ns) / 1e9);
  if (ns >= 1'000'000) return fmt::format("{:.1f} ms", static_cast<double>(ns) / 1e6);
  return fmt::format("{:.0f} us", static_cast<double>(ns) / 1e3);
}

// "a, b" of those that say something.
std::string joined(std::initializer_list<std::string> parts) {
  std::string all;
  for (const std::string& part : parts) {
    if (!part.empty()) all += (all.empty() ? "" : ", ") + part;
  }
  return all;
}

void share_part(std::string& page, const Figures& figures) {
  page += "share\n";
  row(page, "path", figures.text("share", "path"));
  row(page, "identity",
      joined({figures.text("share", "netfs"), figures.text("share", "identity")}));
  row(page, "state", figures.text("share", "state"));
  row(page, "calls",
      fmt::format("{}, of which for data {}; {} under way", figures.counter("netfs.calls"),
                  figures.counter("netfs.data_calls"), figures.counter("netfs.in_flight")));
  const auto half = figures.percentile("netfs.latency", "p50");
  const auto most = figures.percentile("netfs.latency", "p99");
  if (half && most) {
    row(page, "latency",
        fmt::format("half below {}, 99 % below {}", latency_text(*half), latency_text(*most)));
  }
  row(page, "bytes",
      fmt::format("{} read, {} written", bytes_text(figures.counter("netfs.bytes_read")),
                  bytes_text(figures.counter("netfs.bytes_written"))));
}

void store_part(std::string& page, const Figures& figures) {
  const std::uint64_t used = figures.counter("store.used_bytes");
  const std::uint64_t capacity = figures.counter("store.capacity_bytes");
  page += "store\n";
  row(page, "path", figures.text("store", "path"));
  row(page, "state", figures.text("store", "state"));
  row(page, "used",
      fmt::format("{} of {} ({})", bytes_text(used), bytes_text(capacity),
                  percent(used, capacity)));
  row(page, "holds",
      fmt::format("{} objects, {} names, {} extents", figures.counter("store.objects"),
                  figures.counter("store.names"), figures.counter("store.extents")));
  if (const std::uint64_t evicted = figures.counter("store.evicted_bytes"); evicted > 0) {
    row(page, "evicted",
        fmt::format("{} in {} extents", bytes_text(evicted),
                    figures.counter("store.evicted_extents")));
  }
}

void reads_part(std::string& page, const Figures& figures) {
  const std::uint64_t warm = figures.counter("vfs.warm_reads"),
                      cold = figures.counter("vfs.cold_reads");
  const std::uint64_t warm_bytes = figures.counter("vfs.warm_bytes");
  const std::uint64_t cold_bytes = figures.counter("vfs.cold_bytes");
  page += "reads\n";
  row(page, "warm",
      fmt::format("{} ({}), {} ({})", warm, percent(warm, warm + cold), bytes_text(warm_bytes),
                  percent(warm_bytes, warm_bytes + cold_bytes)));
  row(page, "cold", fmt::format("{}, {}", cold, bytes_text(cold_bytes)));
  row(page, "requests",
      fmt::format("{} look-ups, {} opens, {} reads, {} writes ({})", figures.counter("vfs.lookups"),
                  figures.counter("vfs.opens"), figures.counter("vfs.reads"),
                  figures.counter("vfs.writes"), bytes_text(figures.counter("vfs.write_bytes"))));
}

void troubles_part(std::string& page, const Figures& figures) {
  page += "errors\n";
  bool any = false;
  for (const Trouble& trouble : kTroubles) {
    const std::uint64_t times = figures.counter(trouble.counter);
    if (times == 0) continue;
    any = true;
    page += fmt::format("  {} {}\n", times, trouble.words);
  }
  if (!any) page += "  none\n";
}

void options_part(std::string& page, const std::string& options) {
  page += "options (where not the default)\n";
  bool any = false;
  const nlohmann::json given = options_object(options);
  for (const OptionSpec& spec : option_table()) {
    const std::string name(spec.name);
    if (!given.contains(name) || given[name].get<std::string>() == spec.fallback) continue;
    any = true;
    page += fmt::format("  {}={}\n", name, given[name].get<std::string>());
  }
  if (!any) page += "  none\n";
}

}  // namespace

std::string bytes_text(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 5> kUnits{"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double size = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (size >= 1023.95 && unit + 1 < kUnits.size()) {
    size /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", size, kUnits[unit]);
}

nlohmann::json options_object(const std::string& options) {
  nlohmann::json object = nlohmann::json::object();
  std::istringstream lines(options);
  std::string line;
  while (std::getline(lines, line)) {
    const std::size_t equals = line.find('=');
    if (equals != std::string::npos) object[line.substr(0, equals)] = line.substr(equals + 1);
  }
  return object;
}

std::string status_page(const Figures& figures, const std::string& options,
                        const std::string& mountpoint) {
  std::string page =
      fmt::format("larder {} on {}, up {}\n", figures.text("", "version"), mountpoint,
                  span_text(std::stoull("0" + figures.text("", "uptime_s"))));
  row(page, "transport", joined({figures.text("", "transport"), figures.text("", "engine")}));
  share_part(page, figures);
  store_part(page, figures);
  reads_part(page, figures);
  troubles_part(page, figures);
  options_part(page, options);
  return page;
}

}  // namespace larder::ctl
