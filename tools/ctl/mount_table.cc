// SPDX-License-Identifier: Apache-2.0
#include "ctl/mount_table.h"

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace larder::ctl {
namespace {

// mountinfo writes blanks, tabs, line ends and backslashes as \ooo.
std::string unescaped(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      plain += static_cast<char>(((text[i + 1] - '0') << 6) | ((text[i + 2] - '0') << 3) |
                                 (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

struct Entry {
  std::string at, type;
};

// In the order of mounting.
std::vector<Entry> all_mounts() {
  std::vector<Entry> entries;
  std::ifstream mounts("/proc/self/mountinfo");
  std::string line;
  while (std::getline(mounts, line)) {
    std::istringstream words(line);
    std::string skip, at, word;
    words >> skip >> skip >> skip >> skip >> at;
    while (words >> word && word != "-") {
    }
    if (words >> word) entries.push_back({unescaped(at), word});
  }
  return entries;
}

}  // namespace

std::string type_mounted_at(const std::string& path) {
  std::string type;
  for (const Entry& entry : all_mounts()) {
    if (entry.at == path) type = entry.type;
  }
  return type;
}

std::vector<std::string> mounts_below(const std::string& path) {
  std::vector<std::string> below;
  for (const Entry& entry : all_mounts()) {
    if (entry.at == path || entry.at.starts_with(path + "/")) below.push_back(entry.at);
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

}  // namespace larder::ctl
