// SPDX-License-Identifier: Apache-2.0
// The buckets of a Histogram: values below 16 have one each; above, eight to every power of two.
// What is beyond the last edge (2^43 - 1) is counted in the last bucket. Reads and records do not
// wait for each other, so a percentile taken while values arrive is of some moment near by, not of
// an instant.
#include <larder/result.h>
#include <larder/stats.h>

#include <algorithm>
#include <bit>
#include <cmath>

namespace larder::stats {
namespace {
constexpr unsigned kSteps = 1u << Histogram::kStepsLog2;
}

unsigned Histogram::bucket_of(std::uint64_t value) {
  if (value < kSteps) return static_cast<unsigned>(value);
  // The top bit names the power, the three below it the step.
  const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - 1 - kStepsLog2;
  const unsigned step = static_cast<unsigned>(value >> shift) - kSteps;
  return std::min((shift + 1) * kSteps + step, kBuckets - 1);
}

std::uint64_t Histogram::upper_edge(unsigned bucket) {
  check(bucket < kBuckets, "a bucket is one of the histogram's");
  if (bucket < kSteps) return bucket;
  const unsigned shift = bucket / kSteps - 1;
  const std::uint64_t step = bucket % kSteps + kSteps;
  return ((step + 1) << shift) - 1;
}

void Histogram::record(std::uint64_t value) {
  buckets_[bucket_of(value)].fetch_add(1, std::memory_order_relaxed);
}

std::uint64_t Histogram::count() const {
  std::uint64_t sum = 0;
  for (const auto& bucket : buckets_) sum += bucket.load(std::memory_order_relaxed);
  return sum;
}

std::uint64_t Histogram::percentile(double share) const {
  // A copy first: the total and the walk must be of the same figures.
  std::array<std::uint64_t, kBuckets> seen;
  std::uint64_t total = 0;
  for (unsigned i = 0; i < kBuckets; ++i) {
    seen[i] = buckets_[i].load(std::memory_order_relaxed);
    total += seen[i];
  }
  if (total == 0) return 0;
  const double wanted = std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(total));
  std::uint64_t left = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(wanted), 1, total);
  for (unsigned i = 0; i < kBuckets; ++i) {
    if (seen[i] >= left) return upper_edge(i);
    left -= seen[i];
  }
  return upper_edge(kBuckets - 1);
}

}  // namespace larder::stats
