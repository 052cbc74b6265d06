// SPDX-License-Identifier: Apache-2.0
// Log: lines for whoever runs larder. To standard error in the foreground, to syslog as a daemon;
// spdlog does the work. A line holds all that is needed to understand it; no line per request at
// `info`.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string_view>
#include <utility>

namespace larder {

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarn, kError };
enum class LogTarget : std::uint8_t { kStderr, kSyslog };

// Thread: before threads are started.
void log_to(LogTarget target, LogLevel least);
// The debug= mask, as in the kernel: which floors trace. Changeable while running.
void set_debug_mask(std::uint32_t mask);
std::uint32_t debug_mask();

bool log_enabled(LogLevel level);
void log_line(LogLevel level, std::string_view line);

template <class... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(level)) log_line(level, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace larder
