// SPDX-License-Identifier: Apache-2.0
#include <larder/log.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>

#include <array>

namespace larder {
namespace {

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> first = [] {
    auto made = spdlog::stderr_logger_mt("larder");
    made->set_pattern("larder: %v");
    spdlog::set_default_logger(made);
    return made;
  }();
  return *spdlog::default_logger_raw();
}

}  // namespace

void log_to(LogTarget target, LogLevel least) {
  logger();
  if (target == LogTarget::kSyslog) {
    // No time stamps of our own: syslog and the journal have theirs.
    auto made = spdlog::syslog_logger_mt("larder-daemon", "larder", LOG_PID, LOG_DAEMON);
    made->set_pattern("%v");
    spdlog::set_default_logger(made);
  }
  spdlog::default_logger_raw()->set_level(level_of(least));
}

bool log_enabled(LogLevel level) { return logger().should_log(level_of(level)); }
void log_line(LogLevel level, std::string_view line) { logger().log(level_of(level), "{}", line); }

void trace_line(Part part, Moment moment, std::string_view line) {
  constexpr std::array<std::string_view, 4> kParts{"cache", "cookie", "page", "operation"};
  constexpr std::array<std::string_view, 3> kArrows{"==> ", "<== ", "    "};
  log_line(LogLevel::kInfo, fmt::format("[{}] {}{}", kParts[static_cast<std::size_t>(part) / 3],
                                        kArrows[static_cast<std::size_t>(moment)], line));
}

}  // namespace larder
