// SPDX-License-Identifier: Apache-2.0
#include "bench/statistics.h"

#include <fmt/format.h>

#include <algorithm>

namespace larder::bench {

Spread spread_of(std::vector<double> values) {
  check(!values.empty(), "a spread needs values");
  std::ranges::sort(values);
  const std::size_t half = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
  return {median, values.front(), values.back()};
}

SetUp<Comparison> compare(unsigned rounds, const Measure& larder, const Measure& yardstick) {
  std::vector<double> ours, theirs, ratios;
  for (unsigned round = 0; round < rounds; ++round) {
    TRY(const double our, larder(round));
    TRY(const double their, yardstick(round));
    if (our <= 0 || their <= 0) return complain(ErrorCode::kInvalid, "a round measured nothing");
    ours.push_back(our);
    theirs.push_back(their);
    ratios.push_back(our / their);
  }
  return Comparison{spread_of(ours), spread_of(theirs), spread_of(ratios)};
}

std::string Mark::line() const {
  return fmt::format("mark {} {:.2f} {} {:.2f} {}", name, value,
                     kind == Bound::kAtLeast ? ">=" : "<=", bound, holds() ? "ok" : "short");
}

}  // namespace larder::bench
