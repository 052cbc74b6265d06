// SPDX-License-Identifier: Apache-2.0
#include "ctl/top.h"

#include <fmt/format.h>
#include <larder/clock.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <sstream>
#include <utility>
#include <vector>

#include "ctl/status.h"

namespace larder::ctl {
namespace {

constexpr std::size_t kFiles = 10;
constexpr std::size_t kOperations = 12;

std::string time_text(std::optional<std::uint64_t> ns) {
  if (!ns || *ns == 0) return "-";
  const auto value = static_cast<double>(*ns);
  if (value >= 1e9) return fmt::format("{:.1f} s", value / 1e9);
  if (value >= 1e6) return fmt::format("{:.1f} ms", value / 1e6);
  return fmt::format("{:.1f} us", value / 1e3);
}

// Differences between two readings, per second.
class Rates {
 public:
  Rates(const Reading& before, const Reading& after)
      : before_(before),
        after_(after),
        seconds_(std::max(static_cast<double>(after.at_mono_ns - before.at_mono_ns) / 1e9, 1e-3)) {}

  double of(std::string_view counter) const {
    const std::uint64_t then = before_.figures.counter(counter);
    const std::uint64_t now = after_.figures.counter(counter);
    return now < then ? 0 : static_cast<double>(now - then) / seconds_;
  }
  std::string bytes(std::string_view counter) const {
    return bytes_text(static_cast<std::uint64_t>(of(counter))) + "/s";
  }
  double seconds() const { return seconds_; }

 private:
  const Reading& before_;
  const Reading& after_;
  const double seconds_;
};

std::string latency_row(const Figures& figures, const std::string& histogram) {
  return fmt::format("{:>10}{:>10}{:>10}", time_text(figures.percentile(histogram, "p50")),
                     time_text(figures.percentile(histogram, "p90")),
                     time_text(figures.percentile(histogram, "p99")));
}

// "op.read" of all that the mount counts, the busiest first.
std::vector<std::pair<double, std::string>> operations_of(const Rates& rates,
                                                          const Figures& figures) {
  std::vector<std::pair<double, std::string>> found;
  for (const auto& [name, value] : figures.all().items()) {
    if (!name.starts_with("op.") || name.ends_with("_ns") || figures.counter(name) == 0) continue;
    found.emplace_back(rates.of(name), name.substr(3));
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  return found;
}

struct FileUse {
  std::uint64_t requests = 0, bytes = 0;
};
std::map<std::string, FileUse> files_in(const std::string& busy) {
  std::map<std::string, FileUse> files;
  std::istringstream lines(busy);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    FileUse use;
    std::string path;
    if (words >> use.requests >> use.bytes && std::getline(words >> std::ws, path))
      files[path] = use;
  }
  return files;
}

void add_files(std::string& page, const Reading& before, const Reading& after, double seconds,
               std::size_t rows) {
  const auto then = files_in(before.busy);
  std::vector<std::pair<FileUse, std::string>> files;
  for (const auto& [path, use] : files_in(after.busy)) {
    const auto at = then.find(path);
    const FileUse was = at == then.end() ? FileUse{} : at->second;
    if (use.requests <= was.requests) continue;
    files.push_back({{use.requests - was.requests, use.bytes - was.bytes}, path});
  }
  std::sort(files.begin(), files.end(),
            [](const auto& a, const auto& b) { return a.first.requests > b.first.requests; });
  if (files.empty()) return;
  page +=
      fmt::format("\n{:>12}{:>14}  busiest files (of every eighth read)\n", "reads/s", "bytes/s");
  for (std::size_t i = 0; i < std::min(rows, files.size()); ++i) {
    const auto per_second = [&](std::uint64_t n) { return static_cast<double>(n) / seconds; };
    page += fmt::format("{:>12.0f}{:>14}  {}\n", per_second(files[i].first.requests),
                        bytes_text(static_cast<std::uint64_t>(per_second(files[i].first.bytes))),
                        files[i].second);
  }
}

}  // namespace

SetUp<Reading> take_reading(const Control& control) {
  TRY(const std::string text, control.read("stats.json"));
  TRY(Figures figures, Figures::parse(text));
  const SetUp<std::string> busy = control.read("busy");
  return Reading{std::move(figures), busy.value_or(""), system_clock().mono_ns()};
}

std::string top_page(const Reading& before, const Reading& after, const std::string& mountpoint,
                     std::size_t rows) {
  const Rates rates(before, after);
  const Figures& now = after.figures;
  const auto operations = operations_of(rates, now);
  double all = 0;
  for (const auto& [rate, name] : operations) all += rate;
  std::string page =
      fmt::format("{}  share {}  store {}  transport {}\n{:.0f} operations/s, {:.0f} reads/s\n\n",
                  mountpoint, now.text("share", "state"), now.text("store", "state"),
                  now.text("", "transport"), all, rates.of("vfs.reads"));
  // What the kernel answers from its own pages (hot) never reaches larder, so it cannot be counted.
  page += fmt::format("{:<22}{:>14}\n", "from", "bytes/s");
  page += fmt::format("{:<22}{:>14}\n", "hot (the kernel)", "not seen");
  page += fmt::format("{:<22}{:>14}\n", "warm (the store)", rates.bytes("vfs.warm_bytes"));
  page += fmt::format("{:<22}{:>14}\n", "cold (the share)", rates.bytes("vfs.cold_bytes"));
  page += fmt::format("{:<22}{:>14}\n\n", "written to the share", rates.bytes("vfs.write_bytes"));
  page +=
      fmt::format("{:<14}{:>10}{:>10}{:>10}{:>10}\n", "operation", "per s", "p50", "p90", "p99");
  for (std::size_t i = 0; i < std::min(kOperations, operations.size()); ++i)
    page += fmt::format("{:<14}{:>10.0f}{}\n", operations[i].second, operations[i].first,
                        latency_row(now, fmt::format("op.{}_ns", operations[i].second)));
  page += fmt::format("\n{:<24}{:>10}{:>10}{:>10}\n", "stage", "p50", "p90", "p99");
  for (const char* stage : {"queue", "lookup", "store", "share", "reply"})
    page += fmt::format("{:<24}{}\n", stage, latency_row(now, fmt::format("stage.{}_ns", stage)));
  add_files(page, before, after, rates.seconds(), rows);
  return page;
}

SetUp<std::string> top(const Control& control, const TopOptions& options) {
  const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  TRY(Reading before, take_reading(control));
  for (unsigned page = 0; options.count == 0 || page < options.count; ++page) {
    ::poll(nullptr, 0, static_cast<int>(options.interval_s * 1000));
    TRY(Reading after, take_reading(control));
    fmt::print("{}{}{}", terminal ? "\x1b[H\x1b[2J" : "",
               top_page(before, after, control.mountpoint(), kFiles), terminal ? "" : "\n");
    if (std::fflush(stdout) != 0) break;
    before = std::move(after);
  }
  return std::string();
}

}  // namespace larder::ctl
