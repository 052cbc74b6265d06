// SPDX-License-Identifier: Apache-2.0
// Log: lines for whoever runs larder. To standard error in the foreground, to syslog as a daemon;
// spdlog does the work. A line holds all that is needed to understand it; no line per request at
// `info`.
#pragma once

#include <fmt/core.h>

#include <atomic>
#include <cstdint>
#include <string_view>
#include <utility>

namespace larder {

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarn, kError };
enum class LogTarget : std::uint8_t { kStderr, kSyslog };

// Thread: before threads are started.
void log_to(LogTarget target, LogLevel least);
bool log_enabled(LogLevel level);
void log_line(LogLevel level, std::string_view line);

template <class... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(level)) log_line(level, fmt::format(format, std::forward<Args>(args)...));
}

// -- tracing --------------------------------------------------------------------------------------
// The debug= mask, with the kernel's bits: three for each part, for entering a call, leaving it,
// and what happens in between. Changeable while running; a part that is off costs a load and a
// branch.

inline std::atomic<std::uint32_t> debug_bits{0};
inline void set_debug_mask(std::uint32_t mask) {
  debug_bits.store(mask, std::memory_order_relaxed);
}
inline std::uint32_t debug_mask() { return debug_bits.load(std::memory_order_relaxed); }

enum class Part : std::uint8_t { kCache = 0, kCookie = 3, kPage = 6, kOperation = 9 };
enum class Moment : std::uint8_t { kEnter = 0, kLeave = 1, kWithin = 2 };

inline bool traces(Part part, Moment moment) {
  return (debug_mask() >> (static_cast<unsigned>(part) + static_cast<unsigned>(moment)) & 1) != 0;
}
// At the level `info`, with the part's name and the kernel's arrows in front.
void trace_line(Part part, Moment moment, std::string_view line);

template <class... Args>
void trace(Part part, Moment moment, fmt::format_string<Args...> format, Args&&... args) {
  if (traces(part, moment)) [[unlikely]] {
    trace_line(part, moment, fmt::format(format, std::forward<Args>(args)...));
  }
}

}  // namespace larder
