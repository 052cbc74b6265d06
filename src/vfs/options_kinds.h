// SPDX-License-Identifier: Apache-2.0
// How the values of options are set and printed that are like many others': flags, counts, times,
// ids, and words for the values of an enum, which stand in one place for both ways. A setter says
// false to what it does not take, and leaves `into` as it was.
#pragma once

#include <fmt/format.h>
#include <larder/options.h>

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "vfs/options_values.h"

namespace larder::option {

inline constexpr ByteCount kNoMost{std::numeric_limits<std::uint64_t>::max()};
inline constexpr std::uint64_t kLastId =
    std::numeric_limits<std::uint32_t>::max() - 1;  // -1 is "no id"

template <class T>
bool keep(const std::optional<T>& value, T& into) {
  if (value) into = *value;
  return value.has_value();
}

inline bool set_flag(std::string_view value, bool& into) {
  if (value != "" && value != "yes" && value != "no") return false;
  into = value != "no";
  return true;
}
inline std::string flag_text(bool value) { return value ? "yes" : "no"; }

inline bool set_count(std::string_view value, std::uint64_t most, unsigned& into) {
  const auto number = parse_number_within(value, 1, most);
  if (number) into = static_cast<unsigned>(*number);
  return number.has_value();
}

inline bool set_positive(std::string_view value, Nanoseconds& into) {
  const auto time = parse_duration(value);
  return time && *time > 0 && keep(time, into);
}

// "auto" is kept as 0.
inline bool set_auto_size(std::string_view value, ByteCount least, ByteCount most,
                          ByteCount& into) {
  if (value == "auto") {
    into = ByteCount{0};
    return true;
  }
  const auto size = parse_size(value);
  return size && *size >= least && *size <= most && keep(size, into);
}
inline std::string auto_size_text(ByteCount size) {
  return size == ByteCount{0} ? "auto" : size_text(size);
}

inline bool set_id(std::string_view value, std::optional<std::uint32_t>& into) {
  if (value == "share") {
    into.reset();
    return true;
  }
  const auto number = parse_number_within(value, 0, kLastId);
  if (number) into = static_cast<std::uint32_t>(*number);
  return number.has_value();
}
inline std::string id_text(std::optional<std::uint32_t> id) {
  return id ? fmt::format("{}", *id) : std::string("share");
}

// Words for the values of an enum, in one place for both ways.
template <class E, std::size_t N>
using Words = std::array<std::pair<std::string_view, E>, N>;

template <class E, std::size_t N>
bool set_word(const Words<E, N>& words, std::string_view value, E& into) {
  for (const auto& [word, meaning] : words) {
    if (word == value) {
      into = meaning;
      return true;
    }
  }
  return false;
}
template <class E, std::size_t N>
std::string word_text(const Words<E, N>& words, E value) {
  for (const auto& [word, meaning] : words) {
    if (meaning == value) return std::string(word);
  }
  return "?";
}

inline constexpr Words<Creds, 2> kCreds{{{"larder", Creds::kLarder}, {"caller", Creds::kCaller}}};
inline constexpr Words<Permissions, 2> kPermissions{
    {{"local", Permissions::kLocal}, {"share", Permissions::kShare}}};
inline constexpr Words<Locks, 2> kLocks{{{"local", Locks::kLocal}, {"share", Locks::kShare}}};
inline constexpr Words<ShareInodes, 3> kShareInodes{{{"auto", ShareInodes::kAuto},
                                                     {"stable", ShareInodes::kStable},
                                                     {"unstable", ShareInodes::kUnstable}}};
inline constexpr Words<EngineChoice, 3> kEngines{{{"auto", EngineChoice::kAuto},
                                                  {"uring", EngineChoice::kUring},
                                                  {"threads", EngineChoice::kThreads}}};
inline constexpr Words<TransportChoice, 3> kTransports{{{"auto", TransportChoice::kAuto},
                                                        {"uring", TransportChoice::kUring},
                                                        {"classic", TransportChoice::kClassic}}};
inline constexpr Words<StoreReads, 4> kStoreReads{{{"auto", StoreReads::kAuto},
                                                   {"buffered", StoreReads::kBuffered},
                                                   {"dropbehind", StoreReads::kDropBehind},
                                                   {"direct", StoreReads::kDirect}}};
inline constexpr Words<ReadDirPlus, 3> kReadDirPlus{{{"auto", ReadDirPlus::kAuto},
                                                     {"always", ReadDirPlus::kAlways},
                                                     {"never", ReadDirPlus::kNever}}};
inline constexpr Words<LogLevel, 4> kLogLevels{{{"debug", LogLevel::kDebug},
                                                {"info", LogLevel::kInfo},
                                                {"warn", LogLevel::kWarn},
                                                {"error", LogLevel::kError}}};

}  // namespace larder::option
