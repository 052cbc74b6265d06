// SPDX-License-Identifier: Apache-2.0
// Calls about names: looking, listing, making, removing.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <string_view>

#include "netfs/posix_netfs.h"

namespace larder::netfs {
namespace {

constexpr mode_t kPermissionBits = 07777;

struct CloseStream {
  void operator()(DIR* stream) const { ::closedir(stream); }
};

std::int64_t to_ns(const struct statx_timestamp& time) {
  return time.tv_sec * kSecond + time.tv_nsec;
}

Attributes attributes_of(const struct statx& st, std::uint64_t root_device) {
  const std::uint64_t device = ::makedev(st.stx_dev_major, st.stx_dev_minor);
  Attributes attributes;
  attributes.inode = st.stx_ino;
  attributes.device = device == root_device ? 0 : device;
  attributes.mode = st.stx_mode;
  attributes.nlink = st.stx_nlink;
  attributes.uid = st.stx_uid;
  attributes.gid = st.stx_gid;
  attributes.rdev = ::makedev(st.stx_rdev_major, st.stx_rdev_minor);
  attributes.size = st.stx_size;
  attributes.blocks_512 = st.stx_blocks;
  attributes.block_size = st.stx_blksize;
  attributes.atime_ns = to_ns(st.stx_atime);
  attributes.mtime_ns = to_ns(st.stx_mtime);
  attributes.ctime_ns = to_ns(st.stx_ctime);
  attributes.btime_ns = (st.stx_mask & STATX_BTIME) != 0 ? to_ns(st.stx_btime) : 0;
  return attributes;
}

}  // namespace

Result<Attributes> stat_at(std::uint64_t root_device, int directory, const char* name, int at_flags,
                           Freshness fresh) {
  struct statx st {};
  const int sync = fresh == Freshness::kServer ? AT_STATX_FORCE_SYNC : AT_STATX_DONT_SYNC;
  if (::statx(directory, name, at_flags | AT_NO_AUTOMOUNT | sync, STATX_BASIC_STATS | STATX_BTIME,
              &st) != 0) {
    return share_error();
  }
  return attributes_of(st, root_device);
}

Result<std::vector<Dirent>> list_at(int directory, const char* name) {
  Fd fd(::openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return share_error();
  const std::unique_ptr<DIR, CloseStream> stream(::fdopendir(fd.get()));
  if (stream == nullptr) return share_error();
  static_cast<void>(fd.release());
  std::vector<Dirent> names;
  for (;;) {
    errno = 0;
    const struct dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) break;
    const std::string_view text = entry->d_name;
    if (text == "." || text == "..") continue;
    names.push_back({.name = std::string(text), .inode = entry->d_ino, .type = entry->d_type});
  }
  if (errno != 0) return share_error();
  return names;
}

Result<Attributes> PosixNetfs::stat(const std::string& path, Freshness fresh) {
  return at(path, [&](const Root& root, const SafePath& place) {
    return stat_at(root.device, place.directory(), place.name(), place.at_flags(), fresh);
  });
}

std::vector<Result<Attributes>> PosixNetfs::stat_names(const std::string& directory,
                                                       const std::vector<std::string>& names) {
  std::vector<Result<Attributes>> answers(names.size(), fail(ErrorCode::kInvalid));
  const auto path_of = [&](const std::string& name) {
    return directory.empty() ? name : directory + "/" + name;
  };
  if (names.empty()) return answers;
  static_cast<void>(at(path_of(names.front()), [&](const Root& root, const SafePath& place) {
    for (std::size_t i = 0; i < names.size(); ++i) {
      const bool one_part = names[i].find('/') == std::string::npos && !names[i].empty();
      if (!one_part || !check_path(names[i])) continue;
      answers[i] = stat_at(root.device, place.directory(), names[i].c_str(), AT_SYMLINK_NOFOLLOW,
                           Freshness::kServer);
    }
    return Status();
  }));
  // What failed is asked for by itself: a share that went away says so there.
  for (std::size_t i = 0; i < names.size(); ++i)
    if (!answers[i]) answers[i] = stat(path_of(names[i]), Freshness::kServer);
  return answers;
}

Result<std::vector<Dirent>> PosixNetfs::list(const std::string& path) {
  return at(path, [](const Root&, const SafePath& place) {
    return list_at(place.directory(), place.is_root() ? "." : place.name());
  });
}

Result<std::string> PosixNetfs::read_link(const std::string& path) {
  return at(path, [](const Root&, const SafePath& place) -> Result<std::string> {
    std::array<char, 4097> target;
    const ssize_t n = ::readlinkat(place.directory(), place.name(), target.data(), target.size());
    if (n < 0) return share_error();
    return std::string(target.data(), static_cast<std::size_t>(n));
  });
}

Result<struct statvfs> PosixNetfs::stat_fs() {
  return at(
      "", [](const Root& root, const SafePath&) -> Result<struct statvfs> {
        struct statvfs answer {};
        if (::fstatvfs(root.fd.get(), &answer) != 0) return share_error();
        return answer;
      });
}

Status PosixNetfs::access(const std::string& path, int mode) {
  return at(path, [&](const Root&, const SafePath& place) {
    return status_of(static_cast<int>(::syscall(SYS_faccessat2, place.directory(), place.name(),
                                                mode, AT_EACCESS | place.at_flags())));
  });
}

Result<Attributes> PosixNetfs::make_directory(const std::string& path, NewMode mode) {
  return at(path, [&](const Root& root, const SafePath& place) -> Result<Attributes> {
    const Making making(mode);
    TRY_OK(status_of(::mkdirat(place.directory(), place.name(), making.bits() & kPermissionBits)));
    return stat_at(root.device, place.directory(), place.name(), place.at_flags(),
                   Freshness::kServer);
  });
}

Result<Attributes> PosixNetfs::make_node(const std::string& path, NewMode mode,
                                         std::uint64_t rdev) {
  return at(path, [&](const Root& root, const SafePath& place) -> Result<Attributes> {
    const Making making(mode);
    TRY_OK(status_of(::mknodat(place.directory(), place.name(), making.bits(), rdev)));
    return stat_at(root.device, place.directory(), place.name(), place.at_flags(),
                   Freshness::kServer);
  });
}

Result<Attributes> PosixNetfs::make_symlink(const std::string& path, const std::string& target) {
  return at(path, [&](const Root& root, const SafePath& place) -> Result<Attributes> {
    TRY_OK(status_of(::symlinkat(target.c_str(), place.directory(), place.name())));
    return stat_at(root.device, place.directory(), place.name(), place.at_flags(),
                   Freshness::kServer);
  });
}

Result<Attributes> PosixNetfs::make_link(const std::string& existing, NetfsFile* file,
                                         const std::string& path) {
  return at(path, [&](const Root& root, const SafePath& place) -> Result<Attributes> {
    if (file != nullptr) {
      const HeldName held(static_cast<PosixFile*>(file)->fd.get());
      TRY_OK(status_of(
          ::linkat(AT_FDCWD, held.c_str(), place.directory(), place.name(), AT_SYMLINK_FOLLOW)));
    } else {
      TRY(const SafePath old, SafePath::resolve(root.fd.get(), existing));
      // Without AT_SYMLINK_FOLLOW a link to a symbolic link is what it says.
      TRY_OK(status_of(::linkat(old.directory(), old.name(), place.directory(), place.name(), 0)));
    }
    return stat_at(root.device, place.directory(), place.name(), place.at_flags(),
                   Freshness::kServer);
  });
}

Status PosixNetfs::remove_file(const std::string& path) {
  return at(path, [](const Root&, const SafePath& place) {
    return status_of(::unlinkat(place.directory(), place.name(), 0));
  });
}

Status PosixNetfs::remove_directory(const std::string& path) {
  return at(path, [](const Root&, const SafePath& place) {
    return status_of(::unlinkat(place.directory(), place.name(), AT_REMOVEDIR));
  });
}

Status PosixNetfs::sync_directory(const std::string& path, SyncWhat what) {
  return at(path, [&](const Root&, const SafePath& place) -> Status {
    const Fd fd(::openat(place.directory(), place.is_root() ? "." : place.name(),
                         O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.valid()) return share_error();
    return status_of(what == SyncWhat::kAll ? ::fsync(fd.get()) : ::fdatasync(fd.get()));
  });
}

Status PosixNetfs::rename(const std::string& from, const std::string& to, unsigned flags) {
  return at(to, [&](const Root& root, const SafePath& place) -> Status {
    TRY(const SafePath old, SafePath::resolve(root.fd.get(), from));
    return status_of(
        ::renameat2(old.directory(), old.name(), place.directory(), place.name(), flags));
  });
}

}  // namespace larder::netfs
