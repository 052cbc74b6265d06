// SPDX-License-Identifier: Apache-2.0
#include "netfs/share_identity.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace larder::netfs {
namespace {

constexpr std::string_view kOurType = "fuse.larder";

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
std::optional<Mount> parse_line(std::string_view line) {
  std::string_view rest = line;
  const auto id = number(take_until(rest, ' '));
  const auto parent = number(take_until(rest, ' '));
  if (!id || !parent) return std::nullopt;
  Mount mount{.id = *id,
              .parent = *parent,
              .root = {},
              .point = {},
              .type = {},
              .source = {},
              .options = {}};
  take_until(rest, ' ');  // major:minor
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

// True where `path` is `point` or lies below it.
bool is_within(std::string_view path, std::string_view point) {
  if (point == "/") return true;
  return path.starts_with(point) && (path.size() == point.size() || path[point.size()] == '/');
}

const Mount* root_mount(const std::vector<Mount>& mounts) {
  // The one on "/" whose parent is not on "/" itself; what is stacked on it is found by the walk.
  for (const Mount& mount : mounts) {
    if (mount.point != "/") continue;
    const bool stacked = std::ranges::any_of(mounts, [&](const Mount& other) {
      return other.id == mount.parent && other.id != mount.id && other.point == "/";
    });
    if (!stacked) return &mount;
  }
  return nullptr;
}

}  // namespace

std::vector<Mount> parse_mounts(std::string_view table) {
  std::vector<Mount> mounts;
  while (!table.empty()) {
    if (auto mount = parse_line(take_until(table, '\n'))) mounts.push_back(std::move(*mount));
  }
  return mounts;
}

bool has_option(const Mount& mount, std::string_view word) {
  std::string_view rest = mount.options;
  while (!rest.empty()) {
    if (take_until(rest, ',') == word) return true;
  }
  return false;
}

std::optional<Covering> covering_mount(const std::vector<Mount>& mounts, std::string_view path,
                                       OwnMountpoint own_mountpoint) {
  const Mount* here = root_mount(mounts);
  if (here == nullptr) return std::nullopt;
  Covering covering{.mount = here};
  // At most one step per mount: a table that loops ends the walk.
  for (std::size_t step = 0; step < mounts.size(); ++step) {
    const Mount* next = nullptr;
    for (const Mount& mount : mounts) {
      if (mount.parent != here->id || mount.id == here->id || !is_within(path, mount.point)) {
        continue;
      }
      if (own_mountpoint == OwnMountpoint::kYes && mount.type == kOurType && mount.point == path) {
        covering.has_ours_on_top = true;
        continue;
      }
      // The walk meets the nearest mount point first; of two on one point the later line is on top.
      if (next == nullptr || mount.point.size() <= next->point.size()) next = &mount;
    }
    if (next == nullptr) break;
    covering.mount = here = next;
  }
  return covering;
}

bool has_own_mount(const std::optional<Covering>& covering) {
  return covering && covering->mount->point != "/";
}

ShareIdentity identity_of_mount(const Mount& mount, std::string_view path) {
  std::string_view below = path.substr(mount.point == "/" ? 0 : mount.point.size());
  if (below.starts_with('/')) below.remove_prefix(1);
  return ShareIdentity{.type = mount.type,
                       .source = mount.source,
                       .root = mount.root,
                       .below = std::string(below),
                       .is_mount_point = below.empty()};
}

ShareIdentity identity_without_mount(std::string_view type, std::uint64_t fsid,
                                     std::string_view path) {
  if (path.starts_with('/')) path.remove_prefix(1);
  return ShareIdentity{.type = std::string(type),
                       .source = fmt::format("{:016x}", fsid),
                       .root = {},
                       .below = std::string(path),
                       .is_mount_point = false};
}

ShareIdentity identity_by_override(std::string_view share_id,
                                   const std::optional<Covering>& covering) {
  return ShareIdentity{.type = "share_id",
                       .source = std::string(share_id),
                       .root = {},
                       .below = {},
                       .is_mount_point = has_own_mount(covering)};
}

std::string to_text(const ShareIdentity& identity) {
  std::string text = fmt::format("{} {}", identity.type, identity.source);
  if (!identity.root.empty() && identity.root != "/")
    text += fmt::format(", its {}", identity.root);
  if (!identity.below.empty()) text += fmt::format(", below it {}", identity.below);
  return text;
}

}  // namespace larder::netfs
