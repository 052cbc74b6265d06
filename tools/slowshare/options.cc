// SPDX-License-Identifier: Apache-2.0
#include "slowshare/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace larder::slowshare {
namespace {

constexpr std::string_view kUsage =
    R"(slowshare: a directory passed through, slowed on purpose

  slowshare [-f] [-o OPTION,OPTION...] SOURCE MOUNTPOINT
  slowshare --ctl PATH COMMAND...

  -f                  stay in the foreground
  latency=2ms         each call waits that long before it is carried out (us, ms, s)
  bandwidth=100M      bytes per second that all reads and writes share (powers of 1000); 0: no limit
  parallel=16         calls at once; more wait in the kernel
  control=PATH        where the control socket is made
  entry_timeout=S     seconds the kernel may trust a name (default 0: it asks each time)
  attr_timeout=S      seconds the kernel may trust attributes (default 0)
  direct_io           each read(2) becomes a call; without it reads go through the kernel's pages
                      and read-ahead as with a network client, and each open drops the last one's
  fold_case           names that differ only in the case of ASCII letters are one
  readahead=1M        the kernel's read-ahead for this mount (root only)
  allow_other, ro     as with any mount

Commands, given by `slowshare --ctl PATH COMMAND...`; NAME is a shell pattern for the last part of a
file's name ("*" is every request), CALL a kind of call as in stats:
  stats | stats json  calls by kind, bytes, calls that hang
  reset               counters to 0
  latency 5ms, bandwidth 200M
  hang NAME [CALL]    calls for such files never answer until `release`: hang '*.so' read
  hang-next N         the next N calls never answer
  release             no call hangs any more, the hanging ones go on
  error ERRNO NAME [CALL]   calls for such files fail: error EIO '*.so'
  short NAME          reads of such files give half of what there is; without direct_io the kernel
                      takes that for the file's end
  clear               release, and no errors and short reads any more
)";

template <class T>
std::optional<T> parse_number(std::string_view& text) {
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || number < 0) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

// A number and one of the units, in the unit's own measure.
std::optional<double> parse_scaled(std::string_view text,
                                   std::span<const std::pair<std::string_view, double>> units) {
  const std::optional<double> number = parse_number<double>(text);
  if (!number) return std::nullopt;
  if (text.empty() && *number == 0) return 0;
  for (const auto& [unit, factor] : units) {
    if (text == unit && *number * factor < 1e18) return *number * factor;
  }
  return std::nullopt;
}

std::optional<double> parse_seconds(std::string_view text) {
  const std::optional<double> number = parse_number<double>(text);
  return text.empty() ? number : std::nullopt;
}

std::optional<unsigned> parse_count(std::string_view text) {
  const std::optional<int> number = parse_number<int>(text);
  if (!number || !text.empty() || *number < 1 || *number > 1024) return std::nullopt;
  return static_cast<unsigned>(*number);
}

template <class T>
bool set(T& place, std::optional<T> value) {
  if (value) place = *value;
  return value.has_value();
}

enum class Taken : std::uint8_t { kYes, kNoSuchOption, kBadValue };

Taken taken(bool good) { return good ? Taken::kYes : Taken::kBadValue; }

Taken take(Options& options, std::string_view name, std::string_view value) {
  if (name == "latency") return taken(set(options.latency_ns, parse_duration(value)));
  if (name == "bandwidth") return taken(set(options.bandwidth_bytes_per_s, parse_bytes(value)));
  if (name == "parallel") return taken(set(options.parallel, parse_count(value)));
  if (name == "readahead") return taken(set(options.readahead_bytes, parse_bytes(value)));
  if (name == "entry_timeout") return taken(set(options.timeouts.entry_s, parse_seconds(value)));
  if (name == "attr_timeout") return taken(set(options.timeouts.attr_s, parse_seconds(value)));
  if (name == "control") {
    options.control = value;
    return taken(!value.empty());
  }
  if (name == "direct_io") {
    options.caching = value == "no" ? Caching::kPages : Caching::kDirect;
    return taken(value.empty() || value == "yes" || value == "no");
  }
  if (name == "fold_case") {
    options.name_case = NameCase::kFolds;
    return taken(value.empty());
  }
  if (name == "allow_other" || name == "ro") {
    options.mount_words.emplace_back(name);
    return taken(value.empty());
  }
  return Taken::kNoSuchOption;
}

Status take_list(Options& options, std::string_view list, std::string& complaint) {
  while (!list.empty()) {
    const std::string_view word = list.substr(0, list.find(','));
    list.remove_prefix(std::min(word.size() + 1, list.size()));
    const std::size_t equals = word.find('=');
    const std::string_view name = word.substr(0, equals);
    const std::string_view value =
        equals == std::string_view::npos ? std::string_view{} : word.substr(equals + 1);
    switch (take(options, name, value)) {
      case Taken::kYes:
        break;
      case Taken::kNoSuchOption:
        complaint = fmt::format("unknown option '{}'", name);
        return larder::fail(ErrorCode::kInvalid);
      case Taken::kBadValue:
        complaint = fmt::format("'{}' is no value for '{}'", value, name);
        return larder::fail(ErrorCode::kInvalid);
    }
  }
  return {};
}

}  // namespace

std::string_view usage() { return kUsage; }

std::optional<Nanoseconds> parse_duration(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, double>, 4> units = {
      {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}}};
  const std::optional<double> value = parse_scaled(text, units);
  if (!value) return std::nullopt;
  return static_cast<Nanoseconds>(*value);
}

std::optional<std::uint64_t> parse_bytes(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, double>, 4> units = {
      {{"", 1}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}}};
  const std::optional<double> value = parse_scaled(text, units);
  if (!value) return std::nullopt;
  return static_cast<std::uint64_t>(*value);
}

SetUp<Options> parse_options(std::span<const std::string> arguments) {
  Options options;
  std::vector<std::string> places;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "-f") {
      options.stay = Options::Stay::kForeground;
    } else if (argument.starts_with("-o")) {
      const bool attached = argument.size() > 2;
      if (!attached && i + 1 == arguments.size()) {
        return complain(ErrorCode::kInvalid, "-o needs a list of options");
      }
      const std::string list = attached ? argument.substr(2) : arguments[++i];
      std::string complaint;
      if (!take_list(options, list, complaint)) return complain(ErrorCode::kInvalid, complaint);
    } else if (argument.size() > 1 && argument.front() == '-') {
      return complain(ErrorCode::kInvalid, fmt::format("unknown option '{}'", argument));
    } else {
      places.push_back(argument);
    }
  }
  if (places.size() != 2) return complain(ErrorCode::kInvalid, "SOURCE and MOUNTPOINT are needed");
  options.source = places[0];
  options.mountpoint = places[1];
  return options;
}

}  // namespace larder::slowshare
