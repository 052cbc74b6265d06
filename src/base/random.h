// SPDX-License-Identifier: Apache-2.0
// Random: numbers from a seed; the same seed gives the same run.
#pragma once

#include <larder/clock.h>

#include <cstdint>
#include <random>

namespace larder {

// Seed 0 becomes a fresh one from the system; print it so that a run can be repeated.
Seed fresh_if_zero(Seed seed);

// Thread: one at a time.
class Random {
 public:
  explicit Random(Seed seed) : engine_(fresh_if_zero(seed).value) {}
  std::uint64_t next() { return engine_(); }
  // Uniform in [0, below). REQUIRES: below > 0.
  std::uint64_t below(std::uint64_t below) {
    return std::uniform_int_distribution<std::uint64_t>(0, below - 1)(engine_);
  }
  bool one_in(std::uint64_t n) { return below(n) == 0; }

 private:
  std::mt19937_64 engine_;
};

}  // namespace larder
