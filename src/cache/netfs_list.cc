// SPDX-License-Identifier: Apache-2.0
// `netfs`: the registry. One line per netfs (its name and index version), each followed by one per
// share of it: how many cookies lie directly below, and the object that stands for it, if there is
// one.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>
#include <vector>

#include "cache/impl.h"
#include "cache/object.h"

namespace larder::cache {
namespace {

constexpr std::string_view kHeader =
    "NETFS            VERSION COOKIES OBJECT   STAT SHARE\n"
    "================ ======= ======= ======== ==== =====\n";

struct Line {
  std::string netfs, share;  // share: empty in a netfs's own line
  std::uint32_t version = 0;
  std::uint32_t n_cookies = 0;
  ObjectPtr object;
};

std::uint32_t version_of(Cookie& netfs) {
  MutexLock lock(netfs.mutex);
  const Bytes aux = netfs.aux.bytes();
  std::uint32_t version = 0;
  for (std::size_t i = 0; i < 4 && i < aux.size(); ++i) {
    version |= std::to_integer<std::uint32_t>(aux[i]) << (8 * i);
  }
  return version;
}

ObjectPtr object_of(Cookie& cookie) {
  MutexLock lock(cookie.mutex);
  return cookie.object();
}

// A key may hold any byte.
std::string printable(std::string_view key) {
  std::string text;
  for (const char c : key) {
    if (c >= ' ' && c <= '~' && c != '\\') {
      text += c;
    } else {
      fmt::format_to(std::back_inserter(text), "\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  return text;
}

std::vector<Line> lines_of(Tree& tree, const CookieRef& root) {
  std::vector<Line> lines;
  MutexLock lock(tree.mutex);
  for (const CookieRef& cookie : tree.registered) {
    const bool is_netfs = cookie->parent == root;
    Cookie& netfs = is_netfs ? *cookie : *cookie->parent;
    lines.push_back({printable(netfs.key.view()), is_netfs ? "" : printable(cookie->key.view()),
                     version_of(netfs), cookie->n_children, object_of(*cookie)});
  }
  return lines;
}

}  // namespace

std::string FsCache::netfs_text() const {
  std::vector<Line> lines = lines_of(*impl_->tree, impl_->root);
  std::sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) {
    return std::tie(a.netfs, a.share) < std::tie(b.netfs, b.share);
  });
  std::string text(kHeader);
  for (const Line& line : lines) {
    std::string object = "       -    -";
    if (line.object) {
      const Object::Figures f = line.object->figures();
      object = fmt::format("{:8x} {}", f.id, table_of(f.state).short_name);
    }
    fmt::format_to(std::back_inserter(text), "{:<16} {:7} {:7} {}{}{}\n", line.netfs, line.version,
                   line.n_cookies, object, line.share.empty() ? "" : " ", line.share);
  }
  return text;
}

}  // namespace larder::cache
