// SPDX-License-Identifier: Apache-2.0
// Changing attributes, and extended attributes.
//
// All go through a descriptor that holds the very file without opening it (O_PATH), so that neither
// a symbolic link nor a FIFO nor a rename in between leads them elsewhere. Calls that take no such
// descriptor get its name in /proc/thread-self/fd.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "netfs/posix_netfs.h"

namespace larder::netfs {
namespace {

struct timespec to_timespec(const std::optional<std::int64_t>& time_ns) {
  if (!time_ns) return {.tv_sec = 0, .tv_nsec = UTIME_OMIT};
  if (*time_ns == AttributeChange::kNow) return {.tv_sec = 0, .tv_nsec = UTIME_NOW};
  // Before 1970 the seconds go down and the nanoseconds up.
  std::int64_t seconds = *time_ns / kSecond, rest_ns = *time_ns % kSecond;
  if (rest_ns < 0) {
    --seconds;
    rest_ns += kSecond;
  }
  return {.tv_sec = seconds, .tv_nsec = rest_ns};
}

Status change_mode(int held, std::uint32_t mode) {
  struct stat st {};
  if (::fstat(held, &st) != 0) return share_error();
  // Old kernels change the link's mode and say that they did not, or the other way round.
  if (S_ISLNK(st.st_mode)) return share_error(EOPNOTSUPP);
  return status_of(::chmod(HeldName(held).c_str(), mode & 07777));
}

Status change_size(int held, const PosixFile* file, std::uint64_t size) {
  const auto length = static_cast<off_t>(size);
  const bool writable = file != nullptr && (file->flags & O_ACCMODE) != O_RDONLY;
  return status_of(writable ? ::ftruncate(held, length)
                            : ::truncate(HeldName(held).c_str(), length));
}

// Owner before mode, since changing the owner clears set-uid; times last, since all else moves
// them.
Status change_all(int held, const PosixFile* file, const AttributeChange& change) {
  if (change.size) TRY_OK(change_size(held, file, *change.size));
  if (change.uid || change.gid) {
    const uid_t uid = change.uid.value_or(static_cast<uid_t>(-1));
    const gid_t gid = change.gid.value_or(static_cast<gid_t>(-1));
    TRY_OK(status_of(::fchownat(held, "", uid, gid, AT_EMPTY_PATH)));
  }
  if (change.mode) TRY_OK(change_mode(held, *change.mode));
  if (change.atime_ns || change.mtime_ns) {
    const std::array<struct timespec, 2> times = {to_timespec(change.atime_ns),
                                                  to_timespec(change.mtime_ns)};
    TRY_OK(status_of(::utimensat(held, "", times.data(), AT_EMPTY_PATH)));
  }
  return {};
}

// Calls `get(buffer, size)`, as getxattr(2) and listxattr(2), with a buffer that is large enough.
template <class Get>
Result<std::string> get_all(Get get) {
  std::string value(256, '\0');
  for (;;) {
    const ssize_t n = get(value.data(), value.size());
    if (n >= 0) {
      value.resize(static_cast<std::size_t>(n));
      return value;
    }
    if (errno != ERANGE) return share_error();
    const ssize_t wanted = get(nullptr, 0);
    if (wanted < 0) return share_error();
    // It may grow between the two.
    value.resize(static_cast<std::size_t>(wanted) + 256);
  }
}

}  // namespace

Result<Attributes> PosixNetfs::set_attributes(const std::string& path, NetfsFile* file,
                                              const AttributeChange& change) {
  if (file != nullptr) {
    auto& f = static_cast<PosixFile&>(*file);
    return on(f, [&]() -> Result<Attributes> {
      TRY_OK(change_all(f.fd.get(), &f, change));
      return stat_at(f.root_device.load(), f.fd.get(), "", AT_EMPTY_PATH, Freshness::kServer);
    });
  }
  return at(path, [&](const Root& root, const SafePath& place) -> Result<Attributes> {
    TRY(const Fd held, place.hold());
    TRY_OK(change_all(held.get(), nullptr, change));
    return stat_at(root.device, held.get(), "", AT_EMPTY_PATH, Freshness::kServer);
  });
}

Result<std::string> PosixNetfs::get_xattr(const std::string& path, NetfsFile* file,
                                          const std::string& name) {
  return held(path, file, [&](int fd) -> Result<std::string> {
    const HeldName held_name(fd);
    return get_all([&](char* into, std::size_t size) {
      return ::getxattr(held_name.c_str(), name.c_str(), into, size);
    });
  });
}

Result<std::vector<std::string>> PosixNetfs::list_xattr(const std::string& path, NetfsFile* file) {
  return held(path, file, [](int fd) -> Result<std::vector<std::string>> {
    const HeldName held_name(fd);
    TRY(const std::string all, get_all([&](char* into, std::size_t size) {
          return ::listxattr(held_name.c_str(), into, size);
        }));
    std::vector<std::string> names;
    for (std::size_t at = 0; at < all.size();) {
      const std::size_t end = all.find('\0', at);
      names.push_back(all.substr(at, end - at));
      at = end == std::string::npos ? all.size() : end + 1;
    }
    return names;
  });
}

Status PosixNetfs::set_xattr(const std::string& path, NetfsFile* file, const std::string& name,
                             std::span<const std::byte> value, int flags) {
  return held(path, file, [&](int fd) {
    return status_of(
        ::setxattr(HeldName(fd).c_str(), name.c_str(), value.data(), value.size(), flags));
  });
}

Status PosixNetfs::remove_xattr(const std::string& path, NetfsFile* file, const std::string& name) {
  return held(path, file,
              [&](int fd) { return status_of(::removexattr(HeldName(fd).c_str(), name.c_str())); });
}

}  // namespace larder::netfs
