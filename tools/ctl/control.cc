// SPDX-License-Identifier: Apache-2.0
#include "ctl/control.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <larder/fd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
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

// The type of the topmost file system mounted at `path`; empty: none is. Asks no file system.
std::string type_mounted_at(const std::string& path) {
  std::ifstream mounts("/proc/self/mountinfo");
  std::string line, type;
  while (std::getline(mounts, line)) {
    std::istringstream words(line);
    std::string skip, at, word;
    words >> skip >> skip >> skip >> skip >> at;
    while (words >> word && word != "-") {
    }
    if (words >> word && unescaped(at) == path) type = word;
  }
  return type;
}

// As mountinfo has it, without asking what is mounted there: realpath() of the parent alone.
std::string absolute(const std::string& path) {
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

}  // namespace

Complaint Control::explain(int error, std::string_view file) const {
  const auto say = [&](std::string line) {
    return Complaint{Error{ErrorCode::kSystem, error}, std::move(line)};
  };
  const std::string& at = mountpoint_;
  if (error == ENOTCONN || error == ECONNABORTED) {
    return say(
        fmt::format("{0}: the larder mounted there has ended; unmount it with `umount {0}`", at));
  }
  if (error == EACCES || error == EPERM) {
    return say(fmt::format(
        "{}: {} may not be read by this user; try as the one who mounted it, or as root", at,
        file));
  }
  if (error != ENOENT && error != ENOTDIR) {
    return say(fmt::format("{}: cannot read {}: {}", at, file, std::strerror(error)));
  }
  const std::string type = type_mounted_at(absolute(at));
  if (type.empty()) {
    struct stat info {};
    if (::lstat(at.c_str(), &info) != 0) {
      return say(fmt::format("{}: {}; give the directory on which larder is mounted", at,
                             std::strerror(errno)));
    }
    return say(fmt::format(
        "{}: nothing is mounted there; give the directory on which larder is mounted", at));
  }
  if (type.find("larder") == std::string::npos) {
    return say(fmt::format("{}: the file system there is {}, not larder", at, type));
  }
  return say(fmt::format(
      "{}: this larder has no {}/{}; if it was mounted with control=NAME, say --control NAME", at,
      directory_, file));
}

SetUp<std::string> Control::read(std::string_view file) const {
  const std::string path = fmt::format("{}/{}/{}", mountpoint_, directory_, file);
  const Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY)};
  if (!fd.valid()) return tl::make_unexpected(explain(errno, file));
  std::string text;
  std::array<char, 65536> block{};
  for (;;) {
    const ssize_t got = ::read(fd.get(), block.data(), block.size());
    if (got == 0) return text;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return tl::make_unexpected(explain(errno, file));
    text.append(block.data(), static_cast<std::size_t>(got));
  }
}

}  // namespace larder::ctl
