// SPDX-License-Identifier: Apache-2.0
// The registry: lists of names, and their two renderings. Figures are read outside the lock,
// because a computed one may take locks of its own.
#include <fmt/format.h>
#include <larder/result.h>
#include <larder/stats.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace larder::stats {
namespace {

struct Mark {
  const char* name;
  double share;
};
constexpr Mark kMarks[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};

template <class E>
bool has_name(const std::vector<E>& entries, const std::string& name) {
  return std::any_of(entries.begin(), entries.end(),
                     [&name](const E& entry) { return entry.name == name; });
}

// "name value unit  description", without the line's end.
std::string line_of(std::string_view name, std::uint64_t value, Unit unit,
                    std::string_view description) {
  return fmt::format("{} {} {}  {}", name, value, to_text(unit), description);
}

}  // namespace

std::string_view to_text(Unit unit) {
  switch (unit) {
    case Unit::kCount:
      return "count";
    case Unit::kBytes:
      return "bytes";
    case Unit::kNanoseconds:
      return "ns";
    case Unit::kGauge:
      return "gauge";
  }
  check(false, "a unit has a name");
  return {};
}

void Registry::add(std::string name, Unit unit, std::string description, const Counter& counter) {
  add(std::move(name), unit, std::move(description), [&counter] { return counter.value(); });
}

void Registry::add(std::string name, Unit unit, std::string description,
                   std::function<std::uint64_t()> read) {
  const std::lock_guard lock(mutex_);
  check(!has_name(entries_, name) && !has_name(histograms_, name),
        "a figure has a name of its own");
  entries_.push_back({std::move(name), unit, std::move(description), std::move(read)});
}

void Registry::add(std::string name, Unit unit, std::string description,
                   const Histogram& histogram) {
  const std::lock_guard lock(mutex_);
  check(!has_name(entries_, name) && !has_name(histograms_, name),
        "a figure has a name of its own");
  histograms_.push_back({std::move(name), unit, std::move(description), &histogram});
}

std::vector<Registry::Entry> Registry::entries() const {
  const std::lock_guard lock(mutex_);
  return entries_;
}

std::vector<Registry::HistogramEntry> Registry::histograms() const {
  const std::lock_guard lock(mutex_);
  return histograms_;
}

std::string Registry::to_text() const {
  std::vector<std::string> lines;
  for (const Entry& entry : entries()) {
    lines.push_back(line_of(entry.name, entry.read(), entry.unit, entry.description));
  }
  for (const HistogramEntry& entry : histograms()) {
    lines.push_back(
        line_of(entry.name + ".count", entry.histogram->count(), Unit::kCount, entry.description));
    for (const Mark& mark : kMarks) {
      lines.push_back(line_of(fmt::format("{}.{}", entry.name, mark.name),
                              entry.histogram->percentile(mark.share), entry.unit,
                              entry.description));
    }
  }
  // By name alone: the blank after it sorts before any letter, so that "a" stands before "a.b".
  std::sort(lines.begin(), lines.end());
  std::string text;
  for (const std::string& line : lines) text += line + '\n';
  return text;
}

std::string Registry::to_json() const {
  nlohmann::json all = nlohmann::json::object();
  for (const Entry& entry : entries()) {
    all[entry.name] = {{"value", entry.read()},
                       {"unit", stats::to_text(entry.unit)},
                       {"description", entry.description}};
  }
  for (const HistogramEntry& entry : histograms()) {
    nlohmann::json one = {{"count", entry.histogram->count()},
                          {"unit", stats::to_text(entry.unit)},
                          {"description", entry.description}};
    for (const Mark& mark : kMarks) one[mark.name] = entry.histogram->percentile(mark.share);
    all[entry.name] = std::move(one);
  }
  return all.dump();
}

}  // namespace larder::stats
