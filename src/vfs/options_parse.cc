// SPDX-License-Identifier: Apache-2.0
// Reading of "opt,opt=value,..." as it comes from the command line, mount(8) or /etc/fstab.
//
// All or nothing: on a complaint the options are as they were. Of two that say the same, the last
// holds. Control characters are refused everywhere, because the options are shown line by line.
#include <fmt/format.h>
#include <larder/options.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

namespace larder {
namespace {

// What mount(8), fstab and libfuse's own mount helper hand to every file system and what means
// nothing here: they are the kernel's, the boot's or the display's business.
constexpr auto kGenericWords = std::to_array<std::string_view>({
    "defaults", "_netdev",    "_rnetdev",    "nofail",        "auto",        "noauto",
    "user",     "users",      "nouser",      "nousers",       "owner",       "noowner",
    "group",    "nogroup",    "dev",         "nodev",         "suid",        "nosuid",
    "exec",     "noexec",     "atime",       "noatime",       "relatime",    "norelatime",
    "diratime", "nodiratime", "strictatime", "nostrictatime", "lazytime",    "nolazytime",
    "sync",     "async",      "dirsync",     "iversion",      "noiversion",  "mand",
    "nomand",   "silent",     "loud",        "symfollow",     "nosymfollow", "default_permissions",
});
constexpr auto kGenericPrefixes = std::to_array<std::string_view>(
    {"x-", "X-", "comment=", "fsname=", "subtype=", "helper=", "uhelper="});

// Those of them that the kernel heeds, so that a user's noexec is one.
constexpr auto kKernelWords =
    std::to_array<std::string_view>({"dev", "nodev", "suid", "nosuid", "exec", "noexec", "noatime",
                                     "nodiratime", "sync", "dirsync"});

bool is_generic(std::string_view item) {
  return std::ranges::find(kGenericWords, item) != kGenericWords.end() ||
         std::ranges::any_of(kGenericPrefixes,
                             [&](std::string_view prefix) { return item.starts_with(prefix); });
}

// Cuts at commas; "\," is a comma and "\\" a backslash, any other backslash is itself.
std::vector<std::string> split(std::string_view list) {
  std::vector<std::string> items(1);
  for (std::size_t i = 0; i < list.size(); ++i) {
    const char c = list[i];
    if (c == '\\' && i + 1 < list.size() && (list[i + 1] == ',' || list[i + 1] == '\\')) {
      items.back() += list[++i];
    } else if (c == ',') {
      items.emplace_back();
    } else {
      items.back() += c;
    }
  }
  return items;
}

bool is_control(char c) { return (c >= 0 && c < ' ') || c == 0x7f; }

// For a complaint: short, and on one line whatever it holds.
std::string quoted(std::string_view text) {
  constexpr std::size_t kLongest = 80;
  std::string shown;
  for (const char c : text.substr(0, kLongest)) shown += is_control(c) ? '?' : c;
  return text.size() > kLongest ? fmt::format("`{}...`", shown) : fmt::format("`{}`", shown);
}

// How many letters must be changed, put in or left out to make `b` of `a`.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

const OptionSpec& nearest(std::string_view name) {
  constexpr std::size_t kEnough = 64;  // no option is longer; and a novel is not compared in full
  return *std::ranges::min_element(option_table(), {}, [&](const OptionSpec& spec) {
    return edit_distance(name.substr(0, kEnough), spec.name);
  });
}

std::string usage(const OptionSpec& spec) {
  return spec.value.empty() ? std::string(spec.name) : fmt::format("{}={}", spec.name, spec.value);
}

tl::unexpected<Complaint> unknown(std::string_view name) {
  if (name.empty()) {
    return complain(ErrorCode::kInvalid,
                    "an option without a name: give them as name or name=value");
  }
  return complain(ErrorCode::kInvalid,
                  fmt::format("unknown option {}; the nearest is `{}` (larder --help lists all)",
                              quoted(name), usage(nearest(name))));
}

SetUp<std::monostate> read_item(std::string_view item, MountOptions& options) {
  if (std::ranges::any_of(item, is_control)) {
    return complain(ErrorCode::kInvalid,
                    fmt::format("option {} holds a control character; leave it out", quoted(item)));
  }
  if (std::ranges::find(kKernelWords, item) != kKernelWords.end())
    options.kernel_words.emplace_back(item);
  if (item.empty() || is_generic(item)) return std::monostate{};
  if (item == "rw") {
    options.settings.read_only = false;
    return std::monostate{};
  }
  const std::size_t equals = item.find('=');
  const bool has_value = equals != std::string_view::npos;
  const std::string_view name = item.substr(0, equals);
  const std::string_view value = has_value ? item.substr(equals + 1) : std::string_view();
  const auto table = option_table();
  const auto spec = std::ranges::find(table, name, &OptionSpec::name);
  if (spec == table.end()) return unknown(name);

  const bool is_flag = spec->value.empty();
  if (is_flag && has_value && value.empty()) {
    return complain(ErrorCode::kInvalid,
                    fmt::format("option `{0}` takes no value: write {0}", name));
  }
  if (!is_flag && !has_value) {
    return complain(ErrorCode::kInvalid,
                    fmt::format("option `{}` needs a value: {}, where that is {}", name,
                                usage(*spec), spec->accepts));
  }
  if (!spec->set(options, value)) {
    return complain(ErrorCode::kInvalid, fmt::format("option `{}` cannot be {}: it takes {}", name,
                                                     quoted(value), spec->accepts));
  }
  return std::monostate{};
}

}  // namespace

SetUp<std::monostate> parse_options(std::string_view list, MountOptions& options) {
  MountOptions read = options;
  for (const std::string& item : split(list)) TRY_OK(read_item(item, read));
  options = std::move(read);
  return std::monostate{};
}

}  // namespace larder
