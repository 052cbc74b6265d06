// SPDX-License-Identifier: Apache-2.0
// Clock and seed: two of the five seams. Nothing above src/base asks the system for time or chance.
#pragma once

#include <larder/units.h>

#include <cstdint>

namespace larder {

// Thread: all calls from any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  // Nanoseconds that never go back; for deadlines, time-outs and durations.
  virtual Nanoseconds mono_ns() const = 0;
  // Nanoseconds since 1970; for comparison with a share's time stamps and for what must survive a
  // restart.
  virtual Nanoseconds wall_ns() const = 0;
};

// The machine's own clocks. Lives for ever.
const Clock& system_clock();

// A seed starts every random choice of a run, so that a run can be repeated. 0 asks for a fresh
// one.
struct Seed {
  std::uint64_t value = 0;
};

}  // namespace larder
