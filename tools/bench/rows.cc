// SPDX-License-Identifier: Apache-2.0
#include "bench/rows.h"

#include <fmt/format.h>

namespace larder::bench {
namespace {

std::string number(double value) {
  return value < 100 ? fmt::format("{:.1f}", value) : fmt::format("{:.0f}", value);
}

}  // namespace

SetUp<Work> work_between(const ctl::Figures& before, const ctl::Figures& after) {
  Work work;
  const std::initializer_list<std::pair<const char*, std::uint64_t*>> counters{
      {"vfs.reads", &work.requests},
      {"vfs.parked", &work.parked},
      {"netfs.data_calls", &work.share_calls},
      {"netfs.bytes_read", &work.share_bytes}};
  for (const auto& [name, into] : counters) {
    const auto first = before.find(name), last = after.find(name);
    if (!first || !last) {
      return complain(ErrorCode::kInvalid, fmt::format("this larder does not count {}", name));
    }
    *into = *last - *first;
  }
  return work;
}

std::string to_text(const Outcome& outcome) {
  std::string text =
      fmt::format("{:<18} {:>10} {:>10} {:<8} {:<15} {:>20} {:>13} {:>9} {:>7} {:>6}\n", "row",
                  "larder", "yardstick", "unit", "yardstick is", "ratio (least-most)",
                  "cpu s (l/y)", "requests", "parked", "share");
  for (const Row& row : outcome.rows) {
    text += fmt::format("{:<18} {:>10} {:>10} {:<8} {:<15} {:>20} {:>13} {:>9} {:>7} {:>6}\n",
                        row.name, number(row.rates.larder.median / row.scale),
                        number(row.rates.yardstick.median / row.scale), row.unit, row.yardstick,
                        fmt::format("{:.2f} ({:.2f}-{:.2f})", row.rates.ratio.median,
                                    row.rates.ratio.least, row.rates.ratio.most),
                        fmt::format("{:.1f}/{:.1f}", row.work.larder_s, row.work.yardstick_s),
                        row.work.requests, row.work.parked, row.work.share_calls);
  }
  text += '\n';
  for (const Mark& mark : outcome.marks) text += mark.line() + '\n';
  return text;
}

}  // namespace larder::bench
