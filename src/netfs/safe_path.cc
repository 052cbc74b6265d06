// SPDX-License-Identifier: Apache-2.0
#include "netfs/safe_path.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

namespace larder::netfs {
namespace {

constexpr std::size_t kNameMax = 255;

// glibc has no openat2(2) yet.
int open_beneath(int root, const std::string& path) {
  struct open_how how = {};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  for (;;) {
    const long fd = ::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how);
    if (fd >= 0) return static_cast<int>(fd);
    // EAGAIN: something was renamed meanwhile and the kernel could not be sure.
    if (errno != EINTR && errno != EAGAIN) return -1;
  }
}

}  // namespace

tl::unexpected<Error> share_error(int sys_errno) {
  return fail(ErrorCode::kShareAnswer, sys_errno);
}
tl::unexpected<Error> share_error() { return share_error(errno); }

Status check_path(const std::string& path) {
  if (path.empty()) return {};
  if (path.find('\0') != std::string::npos) return fail(ErrorCode::kInvalid, EINVAL);
  std::string_view rest = path;
  for (;;) {
    const std::size_t slash = rest.find('/');
    const std::string_view part = rest.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return fail(ErrorCode::kInvalid, EINVAL);
    if (part.size() > kNameMax) return fail(ErrorCode::kInvalid, ENAMETOOLONG);
    if (slash == std::string_view::npos) return {};
    rest.remove_prefix(slash + 1);
  }
}

Result<SafePath> SafePath::resolve(int root, const std::string& path) {
  TRY_OK(check_path(path));
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return SafePath(Fd{}, root, path.c_str());
  Fd parent(open_beneath(root, path.substr(0, slash)));
  // A link where a directory was is no directory for us.
  if (!parent.valid()) return share_error(errno == ELOOP ? ENOTDIR : errno);
  const int directory = parent.get();
  return SafePath(std::move(parent), directory, path.c_str() + slash + 1);
}

int SafePath::at_flags() const { return is_root() ? AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW; }

Result<Fd> SafePath::hold() const {
  // The root's "." would have to be searched, which it may not allow.
  Fd fd(is_root() ? ::fcntl(directory_, F_DUPFD_CLOEXEC, 0)
                  : ::openat(directory_, name_, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return share_error();
  return fd;
}

HeldName::HeldName(int fd) {
  // Not /proc/self: that is the program's descriptor table, not this thread's.
  const auto end = fmt::format_to_n(text_, sizeof text_ - 1, "/proc/thread-self/fd/{}", fd);
  *end.out = '\0';
}

}  // namespace larder::netfs
