// SPDX-License-Identifier: Apache-2.0
// Readers: plain pread(2) in a loop, without O_DIRECT, as programs read. (With O_DIRECT a
// passthrough would go to the disk, and whatever is compared with it would win for nothing.)
// Thread: any; they start their own.
#pragma once

#include <larder/result.h>
#include <larder/units.h>

#include <cstdint>
#include <string>
#include <variant>

namespace larder::bench {

// Bytes per second over whole passes of `block` bytes, for at least `seconds`.
SetUp<double> read_sequential(const std::string& path, std::size_t block, double seconds);

struct RandomRead {
  std::size_t block = 4096;
  unsigned jobs = 1;  // each a thread with a descriptor of its own, one read at a time
  double seconds = 1;
  std::uint64_t seed = 1;  // which places; the same for both sides of a round
};
// Reads per second.
SetUp<double> read_random(const std::string& path, const RandomRead& how);

// Writes `bytes` of noise with a time stamp of an hour ago: a version so old is never racy.
SetUp<std::monostate> write_noise(const std::string& path, ByteCount bytes, std::uint64_t seed);

// A complaint where the two differ: a fast reader of wrong bytes is worth nothing.
SetUp<std::monostate> compare_files(const std::string& a, const std::string& b);

}  // namespace larder::bench
