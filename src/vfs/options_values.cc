// SPDX-License-Identifier: Apache-2.0
// Values of options: durations, sizes and numbers, read exactly or not at all.
//
// Whatever is accepted is printed back as the same value: there is no rounding, no wrapping and no
// trailing rubbish. So the text of a running mount's options can be given to the next one.
#include "vfs/options_values.h"

#include <fmt/format.h>
#include <larder/device.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <filesystem>
#include <system_error>

namespace larder {
namespace {

constexpr Nanoseconds kMinute = 60 * kSecond;
constexpr Nanoseconds kHour = 60 * kMinute;
constexpr Nanoseconds kDay = 24 * kHour;
constexpr Nanoseconds kLongest = 100 * 365 * kDay;

struct TimeUnit {
  std::string_view name;
  Nanoseconds length;
};
// Longest first: a duration is printed in the first that divides it. No days: "36h" reads well
// enough.
constexpr std::array<TimeUnit, 6> kTimeUnits{
    {{"h", kHour}, {"m", kMinute}, {"s", kSecond}, {"ms", kMillisecond}, {"us", 1000}, {"ns", 1}}};

constexpr std::string_view kSizeLetters = "KMGT";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::size_t digits_at(std::string_view text, std::size_t from) {
  std::size_t end = from;
  while (end < text.size() && is_digit(text[end])) ++end;
  return end - from;
}

std::optional<Nanoseconds> unit_length(std::string_view name, Nanoseconds bare) {
  if (name.empty()) return bare;
  if (name == "d") return kDay;
  for (const TimeUnit& unit : kTimeUnits) {
    if (unit.name == name) return unit.length;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::uint64_t> parse_number(std::string_view text, int base) {
  std::uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value, base);
  if (text.empty() || error != std::errc{} || stopped != end) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> parse_number_within(std::string_view text, std::uint64_t least,
                                                 std::uint64_t most) {
  const std::optional<std::uint64_t> value = parse_number(text, 10);
  if (!value || *value < least || *value > most) return std::nullopt;
  return value;
}

std::optional<Nanoseconds> parse_duration_in(std::string_view text, Nanoseconds bare) {
  const std::size_t whole = digits_at(text, 0);
  std::size_t fraction = 0;
  std::size_t end = whole;
  if (whole > 0 && end < text.size() && text[end] == '.') {
    fraction = digits_at(text, end + 1);
    if (fraction == 0) return std::nullopt;
    end += 1 + fraction;
  }
  if (whole == 0 || whole > 19 || fraction > 15) return std::nullopt;
  const std::optional<Nanoseconds> unit = unit_length(text.substr(end), bare);
  const std::optional<std::uint64_t> number = parse_number(text.substr(0, whole), 10);
  if (!unit || !number) return std::nullopt;
  if (*number > static_cast<std::uint64_t>(kLongest / *unit)) return std::nullopt;
  Nanoseconds time = static_cast<Nanoseconds>(*number) * *unit;

  // Nothing is rounded: "0.5ns" is refused.
  __extension__ using Wide = __int128;
  Wide part = 0, scale = 1;
  for (const char digit : text.substr(whole, fraction == 0 ? 0 : 1 + fraction)) {
    if (digit == '.') continue;
    part = part * 10 + (digit - '0');
    scale *= 10;
  }
  part *= *unit;
  if (part % scale != 0) return std::nullopt;
  time += static_cast<Nanoseconds>(part / scale);
  if (time > kLongest) return std::nullopt;
  return time;
}

std::optional<Nanoseconds> parse_duration(std::string_view text) {
  return parse_duration_in(text, kSecond);
}

std::string duration_text(Nanoseconds time) {
  if (time == 0) return "0";
  for (const TimeUnit& unit : kTimeUnits) {
    if (time % unit.length == 0) return fmt::format("{}{}", time / unit.length, unit.name);
  }
  return fmt::format("{}ns", time);
}

std::optional<ByteCount> parse_size(std::string_view text) {
  unsigned shift = 0;
  if (!text.empty() && !is_digit(text.back())) {
    const char letter = static_cast<char>(text.back() & ~0x20);  // either case
    const std::size_t at = kSizeLetters.find(letter);
    if (at == std::string_view::npos) return std::nullopt;
    shift = 10 * (static_cast<unsigned>(at) + 1);
    text.remove_suffix(1);
  }
  const std::optional<std::uint64_t> number = parse_number(text, 10);
  // Offsets are signed 64 bits in the kernel.
  if (!number || *number > (std::uint64_t{INT64_MAX} >> shift)) return std::nullopt;
  return ByteCount{*number << shift};
}

std::string size_text(ByteCount size) {
  for (std::size_t i = kSizeLetters.size(); i > 0; --i) {
    const std::uint64_t unit = std::uint64_t{1} << (10 * i);
    if (size.value() >= unit && size.value() % unit == 0) {
      return fmt::format("{}{}", size.value() / unit, kSizeLetters[i - 1]);
    }
  }
  return fmt::format("{}", size.value());
}

std::optional<std::vector<std::string>> parse_patterns(std::string_view text) {
  std::vector<std::string> patterns;
  if (text == "none") return patterns;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(':', begin), text.size());
    if (end == begin) return std::nullopt;
    patterns.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return patterns;
}

std::string patterns_text(const std::vector<std::string>& patterns) {
  if (patterns.empty()) return "none";
  std::string text;
  for (const std::string& pattern : patterns) text += (text.empty() ? "" : ":") + pattern;
  return text;
}

bool wants_pass_through(const MountOptions& options) {
  return !options.nocache.empty() && options.creds == Creds::kLarder &&
         options.permissions == Permissions::kLocal && !options.writeback_cache &&
         options.settings.coherency != Coherency::kStrict && !options.direct_io && !options.verify;
}

// It stands in the columns of `caches` and in log lines.
bool is_tag(std::string_view text) {
  return !text.empty() && text.size() <= 32 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '.' ||
           c == '_' || c == '-';
  });
}

// A path may hold colons, a size does not.
std::optional<CacheSpec> parse_cache(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == text.npos || !is_tag(text.substr(0, colon))) return std::nullopt;
  CacheSpec cache;
  cache.tag = text.substr(0, colon);
  text.remove_prefix(colon + 1);
  const std::size_t last = text.rfind(':');
  if (last != text.npos) {
    const std::optional<ByteCount> size = parse_size(text.substr(last + 1));
    if (!size || *size < store::kSmallestStore) return std::nullopt;
    cache.size = *size;
    text = text.substr(0, last);
  }
  if (text.empty() || text.back() == '/') return std::nullopt;
  std::error_code error;
  const auto path = std::filesystem::absolute(std::filesystem::path(text), error);
  if (error) return std::nullopt;
  cache.store = path.string();
  return cache;
}

std::string cache_text(const CacheSpec& cache) {
  std::string text = cache.tag + ":" + cache.store;
  if (cache.size.value() != 0) text += ":" + size_text(cache.size);
  return text;
}

}  // namespace larder
