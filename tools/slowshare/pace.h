// SPDX-License-Identifier: Apache-2.0
// Pace: when a call may be answered. It knows arithmetic and no clock: whoever asks says what time
// it is, so that tests need no time at all.
//
// Latency is per call: calls that overlap wait side by side. Bandwidth is one line for all: bytes
// go over it one after another, so two transfers take as long as their sum, and a line that was
// idle owes nothing. A bandwidth of 0 is a line without limit.
//
// Thread: one at a time (the Gate locks).
#pragma once

#include <larder/units.h>

#include <algorithm>
#include <cstdint>

namespace larder::slowshare {

class Pace {
 public:
  Pace(Nanoseconds latency_ns, std::uint64_t bandwidth_bytes_per_s)
      : latency_ns_(latency_ns), bandwidth_(bandwidth_bytes_per_s) {}

  Nanoseconds latency_ns() const { return latency_ns_; }
  std::uint64_t bandwidth_bytes_per_s() const { return bandwidth_; }
  void set_latency(Nanoseconds latency_ns) { latency_ns_ = latency_ns; }
  // What was promised before keeps its time, unless the line has no limit any more.
  void set_bandwidth(std::uint64_t bytes_per_s) {
    bandwidth_ = bytes_per_s;
    if (bandwidth_ == 0) line_free_at_ns_ = 0;
  }

  // When a call that came at `now_ns` has waited its latency.
  Nanoseconds call_due(Nanoseconds now_ns) const { return now_ns + latency_ns_; }

  // Puts `bytes` on the line at `now_ns`; when the last of them has arrived.
  Nanoseconds transfer_due(Nanoseconds now_ns, std::uint64_t bytes) {
    if (bandwidth_ == 0) return now_ns;
    const double seconds = static_cast<double>(bytes) / static_cast<double>(bandwidth_);
    const auto takes_ns = static_cast<Nanoseconds>(seconds * static_cast<double>(kSecond));
    line_free_at_ns_ = std::max(line_free_at_ns_, now_ns) + takes_ns;
    return line_free_at_ns_;
  }

 private:
  Nanoseconds latency_ns_;
  std::uint64_t bandwidth_;
  Nanoseconds line_free_at_ns_ = 0;
};

}  // namespace larder::slowshare
