// SPDX-License-Identifier: Apache-2.0
#include "ctl/control.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <larder/fd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include <larder/mount_table.h>

namespace larder::ctl {

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
  const std::string type = type_mounted_at(resolved_mountpoint(at));
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
