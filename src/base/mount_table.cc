// SPDX-License-Identifier: Apache-2.0
#include <larder/mount_table.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>

namespace larder {
namespace {

std::string_view take_until(std::string_view& rest, char end) {
  const std::size_t at = rest.find(end);
  const std::string_view word = rest.substr(0, at);
  rest.remove_prefix(at == std::string_view::npos ? rest.size() : at + 1);
  return word;
}

bool is_octal(char c) { return c >= '0' && c <= '7'; }

// The kernel writes space, tab, newline, backslash and '#' as a backslash and three octal digits.
std::string unescape(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escaped = text[i] == '\\' && i + 3 < text.size() && is_octal(text[i + 1]) &&
                         is_octal(text[i + 2]) && is_octal(text[i + 3]);
    if (!escaped) {
      plain += text[i];
      continue;
    }
    plain +=
        static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
    i += 3;
  }
  return plain;
}

std::optional<int> number(std::string_view text) {
  int n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return n;
}

// "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"
std::optional<MountEntry> parse_line(std::string_view line) {
  std::string_view rest = line;
  const auto id = number(take_until(rest, ' '));
  const auto parent = number(take_until(rest, ' '));
  if (!id || !parent) return std::nullopt;
  MountEntry mount;
  mount.id = *id;
  mount.parent = *parent;
  mount.device = std::string(take_until(rest, ' '));
  mount.root = unescape(take_until(rest, ' '));
  mount.point = unescape(take_until(rest, ' '));
  take_until(rest, ' ');  // options of the mount
  // Any number of optional fields, up to a lone dash.
  while (!rest.empty() && take_until(rest, ' ') != "-") {
  }
  mount.type = unescape(take_until(rest, ' '));
  mount.source = unescape(take_until(rest, ' '));
  mount.options = std::string(rest);
  if (mount.point.empty() || mount.type.empty()) return std::nullopt;
  return mount;
}

}  // namespace

std::vector<MountEntry> parse_mounts(std::string_view table) {
  std::vector<MountEntry> mounts;
  while (!table.empty()) {
    if (auto mount = parse_line(take_until(table, '\n'))) mounts.push_back(std::move(*mount));
  }
  return mounts;
}

bool has_option(const MountEntry& mount, std::string_view word) {
  std::string_view rest = mount.options;
  while (!rest.empty()) {
    if (take_until(rest, ',') == word) return true;
  }
  return false;
}

std::vector<MountEntry> read_mounts() {
  std::ifstream stream("/proc/self/mountinfo");
  std::ostringstream table;
  table << stream.rdbuf();
  return parse_mounts(table.str());
}

std::optional<MountEntry> mounted_at(std::string_view path) {
  std::optional<MountEntry> topmost;
  for (MountEntry& mount : read_mounts()) {
    if (mount.point == path) topmost = std::move(mount);
  }
  return topmost;
}

std::string type_mounted_at(std::string_view path) {
  const std::optional<MountEntry> mount = mounted_at(path);
  return mount ? mount->type : "";
}

std::vector<std::string> mounts_below(const std::string& path) {
  std::vector<std::string> below;
  for (const MountEntry& mount : read_mounts()) {
    if (mount.point == path || mount.point.starts_with(path + "/")) below.push_back(mount.point);
  }
  std::ranges::reverse(below);
  return below;
}

std::string resolved_mountpoint(const std::string& path) {
  std::string cut = path;
  while (cut.size() > 1 && cut.back() == '/') cut.pop_back();
  const std::size_t slash = cut.rfind('/');
  const std::string name = slash == std::string::npos ? cut : cut.substr(slash + 1);
  const std::string parent(slash == std::string::npos ? "."
                           : slash == 0               ? "/"
                                                      : cut.substr(0, slash));
  std::array<char, PATH_MAX> real{};
  const bool is_name = !name.empty() && name != "." && name != "..";
  if (::realpath(is_name ? parent.c_str() : cut.c_str(), real.data()) == nullptr) return cut;
  std::string result = real.data();
  if (!is_name) return result;
  return result == "/" ? "/" + name : result + "/" + name;
}

}  // namespace larder
