// SPDX-License-Identifier: Apache-2.0
// Statistics: what is measured in rounds, and the marks that are made of it.
//
// Two sides are measured in turn, A B A B ..., so that whatever slows the machine for a while slows
// both; each round gives a ratio of its own, and their median counts. A mean would let one bad
// round decide.
#pragma once

#include <larder/result.h>

#include <functional>
#include <string>
#include <vector>

namespace larder::bench {

struct Spread {
  double median = 0, least = 0, most = 0;
};
// REQUIRES: `values` is not empty.
Spread spread_of(std::vector<double> values);

// The rate of one round: bytes or calls per second.
using Measure = std::function<SetUp<double>(unsigned round)>;

struct Comparison {
  Spread larder, yardstick;
  Spread ratio;  // larder / yardstick, by round
};
SetUp<Comparison> compare(unsigned rounds, const Measure& larder, const Measure& yardstick);

struct Mark {
  enum class Bound { kAtLeast, kAtMost };
  std::string name;
  double value = 0;
  Bound kind = Bound::kAtLeast;
  double bound = 0;

  bool holds() const { return kind == Bound::kAtLeast ? value >= bound : value <= bound; }
  // "mark NAME VALUE >= BOUND ok"
  std::string line() const;
};

}  // namespace larder::bench
