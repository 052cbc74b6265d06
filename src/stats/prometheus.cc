// SPDX-License-Identifier: Apache-2.0
// Figures as Prometheus reads them: text format 0.0.4. Its conventions make the names: a counter
// ends in _total, times are in seconds.
//
// A histogram is shown with the powers of two from 2^10 ns (1 us) to 2^36 ns (69 s) as edges. Each
// is an edge of ours too, so no count is a guess. Its sum is made of the middles of our buckets: it
// is off by 6 % at most.
#include <fmt/format.h>
#include <larder/result.h>
#include <larder/stats.h>

#include <iterator>

namespace larder::stats {
namespace {

constexpr unsigned kFirstPower = 10, kLastPower = 36;

// `special`: what gets a backslash; line ends always do.
std::string escaped(std::string_view text, std::string_view special) {
  std::string out;
  for (const char c : text) {
    if (special.find(c) != special.npos) out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

std::string seconds_text(double ns) { return fmt::format("{:.9g}", ns / 1e9); }

}  // namespace

std::string PrometheusText::label(std::string_view name, std::string_view value) {
  return fmt::format("{}=\"{}\"", name, escaped(value, "\\\""));
}

void PrometheusText::head(std::string_view name, std::string_view type, std::string_view help) {
  if (name == last_) return;  // more samples of the same
  last_ = name;
  fmt::format_to(std::back_inserter(text_), "# HELP {} {}\n# TYPE {} {}\n", name,
                 escaped(help, "\\"), name, type);
}

std::string PrometheusText::labels(std::string_view extra) const {
  if (labels_.empty() && extra.empty()) return "";
  const char* const between = labels_.empty() || extra.empty() ? "" : ",";
  return fmt::format("{{{}{}{}}}", labels_, between, extra);
}

void PrometheusText::counter(std::string_view name, std::string_view help, std::uint64_t value,
                             std::string_view extra) {
  head(name, "counter", help);
  fmt::format_to(std::back_inserter(text_), "{}{} {}\n", name, labels(extra), value);
}

void PrometheusText::gauge(std::string_view name, std::string_view help, std::uint64_t value,
                           std::string_view extra) {
  head(name, "gauge", help);
  fmt::format_to(std::back_inserter(text_), "{}{} {}\n", name, labels(extra), value);
}

void PrometheusText::histogram(std::string_view name, std::string_view help,
                               const Histogram& histogram, std::string_view extra) {
  head(name, "histogram", help);
  std::uint64_t below = 0;
  double sum_ns = 0;
  unsigned bucket = 0;
  const std::string before_edge = extra.empty() ? "" : fmt::format("{},", extra);
  const auto take_until = [&](unsigned end) {
    for (; bucket < end; ++bucket) {
      const std::uint64_t n = histogram.in_bucket(bucket);
      const std::uint64_t low = bucket == 0 ? 0 : Histogram::upper_edge(bucket - 1) + 1;
      below += n;
      sum_ns += static_cast<double>(n) *
                (static_cast<double>(low) + static_cast<double>(Histogram::upper_edge(bucket))) / 2;
    }
  };
  for (unsigned power = kFirstPower; power <= kLastPower; ++power) {
    const std::uint64_t edge = std::uint64_t{1} << power;
    take_until(Histogram::bucket_of(edge));
    fmt::format_to(std::back_inserter(text_), "{}_bucket{} {}\n", name,
                   labels(before_edge + label("le", seconds_text(static_cast<double>(edge)))),
                   below);
  }
  take_until(Histogram::kBuckets);
  fmt::format_to(std::back_inserter(text_), "{}_bucket{} {}\n", name,
                 labels(before_edge + label("le", "+Inf")), below);
  fmt::format_to(std::back_inserter(text_), "{}_sum{} {}\n", name, labels(extra),
                 seconds_text(sum_ns));
  fmt::format_to(std::back_inserter(text_), "{}_count{} {}\n", name, labels(extra), below);
}

void PrometheusText::registry(std::string_view prefix, const Registry& registry) {
  const auto named = [&](std::string_view dotted) {
    std::string name = fmt::format("{}_{}", prefix, dotted);
    for (char& c : name) {
      if (c == '.' || c == '-') c = '_';
    }
    return name;
  };
  for (const Registry::Entry& entry : registry.entries()) {
    if (entry.unit == Unit::kGauge) {
      gauge(named(entry.name), entry.description, entry.read());
    } else {
      counter(named(entry.name) + "_total", entry.description, entry.read());
    }
  }
  for (const Registry::HistogramEntry& entry : registry.histograms()) {
    std::string_view name = entry.name;
    if (name.ends_with("_ns")) name.remove_suffix(3);
    histogram(named(name) + "_seconds", entry.description, *entry.histogram);
  }
}

}  // namespace larder::stats
