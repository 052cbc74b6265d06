// SPDX-License-Identifier: Apache-2.0
#include "slowshare/mounted.h"

#include <fmt/format.h>

#include <fstream>
#include <sstream>
#include <string_view>

namespace larder::slowshare {
namespace {

// A line of mountinfo: id parent device root mountpoint ..., with \ooo for spaces and their like.
struct Line {
  std::string device;
  std::string mountpoint;
};

std::string unescape(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      plain +=
          static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + text[i + 3] - '0');
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

bool read_line(std::istream& stream, Line& line) {
  std::string text;
  if (!std::getline(stream, text)) return false;
  std::istringstream words(text);
  std::string id, parent, root, mountpoint;
  words >> id >> parent >> line.device >> root >> mountpoint;
  line.mountpoint = unescape(mountpoint);
  return true;
}

}  // namespace

std::string device_mounted_at(const std::string& mountpoint) {
  std::ifstream stream("/proc/self/mountinfo");
  std::string device;
  for (Line line; read_line(stream, line);) {
    if (line.mountpoint == mountpoint) device = line.device;
  }
  return device;
}

bool is_mounted(const std::string& device) {
  std::ifstream stream("/proc/self/mountinfo");
  for (Line line; read_line(stream, line);) {
    if (line.device == device) return true;
  }
  return false;
}

bool set_readahead(const std::string& device, std::uint64_t bytes) {
  std::ofstream stream(fmt::format("/sys/class/bdi/{}/read_ahead_kb", device));
  stream << (bytes + 1023) / 1024 << std::flush;
  return stream.good();
}

}  // namespace larder::slowshare
