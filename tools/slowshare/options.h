// SPDX-License-Identifier: Apache-2.0
// Options of the command line, and the values that the control commands share with it.
#pragma once

#include <larder/result.h>
#include <larder/units.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "slowshare/source.h"

namespace larder::slowshare {

struct Options {
  Nanoseconds latency_ns = 0;
  std::uint64_t bandwidth_bytes_per_s = 0;  // 0: no limit
  unsigned parallel = 16;
  std::string control;  // path of the control socket; empty: none
  Timeouts timeouts;
  Caching caching = Caching::kPages;
  NameCase name_case = NameCase::kTells;
  std::uint64_t readahead_bytes = 0;     // 0: the kernel's own
  std::vector<std::string> mount_words;  // handed on to the kernel: allow_other, ro
  enum class Stay : std::uint8_t { kBackground, kForeground } stay = Stay::kBackground;
  std::string source;
  std::string mountpoint;
};

// The text of --help.
std::string_view usage();

SetUp<Options> parse_options(std::span<const std::string> arguments);

// "250us", "2ms", "1.5s", "0"
std::optional<Nanoseconds> parse_duration(std::string_view text);
// "100M": K, M, G are powers of 1000, as bandwidths are told; "0" is no limit.
std::optional<std::uint64_t> parse_bytes(std::string_view text);

}  // namespace larder::slowshare
