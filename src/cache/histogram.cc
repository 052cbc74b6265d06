// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <fmt/core.h>

#include "cache/stats.h"

namespace larder::cache {

void JiffyHistogram::record(Nanoseconds duration_ns) {
  constexpr Nanoseconds kJiffy = kSecond / static_cast<Nanoseconds>(kHz);
  const Nanoseconds jiffy =
      std::clamp<Nanoseconds>(duration_ns / kJiffy, 0, static_cast<Nanoseconds>(kHz) - 1);
  rows_[static_cast<std::size_t>(jiffy)].fetch_add(1, std::memory_order_relaxed);
}

std::string histogram_text(const Histograms& h) {
  std::string text =
      "JIFS  SECS  OBJ INST  OP RUNS   OBJ RUNS  RETRV DLY RETRIEVLS\n"
      "===== ===== ========= ========= ========= ========= =========\n";
  for (std::size_t i = 0; i < JiffyHistogram::kHz; ++i) {
    const std::array<std::uint64_t, 5> row = {h.object_instantiate.at(i), h.operation_runs.at(i),
                                              h.object_runs.at(i), h.retrieval_delays.at(i),
                                              h.retrievals.at(i)};
    if (std::all_of(row.begin(), row.end(), [](std::uint64_t n) { return n == 0; })) continue;
    text += fmt::format("{:4}  0.{:03} {:9} {:9} {:9} {:9} {:9}\n", i,
                        i * 1000 / JiffyHistogram::kHz, row[0], row[1], row[2], row[3], row[4]);
  }
  return text;
}

}  // namespace larder::cache
