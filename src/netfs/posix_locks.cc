// SPDX-License-Identifier: Apache-2.0
// Locks, each owner's through a descriptor of its own.
#include <fcntl.h>
#include <larder/flock.h>
#include <sys/file.h>

#include <array>
#include <cerrno>

#include "netfs/posix_netfs.h"

namespace larder {

struct ::flock to_flock(const LockRange& range) {
  struct flock lock {};
  lock.l_type = range.type == LockType::kRead    ? F_RDLCK
                : range.type == LockType::kWrite ? F_WRLCK
                                                 : F_UNLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(range.first);
  const bool to_end = range.last >= LockRange::kToEnd;
  lock.l_len = to_end ? 0 : static_cast<off_t>(range.last - range.first + 1);
  return lock;
}

}  // namespace larder

namespace larder::netfs {

// Reading and writing where that is allowed, as each kind of lock wants its own.
Result<std::shared_ptr<NetfsFile>> PosixNetfs::open_for_locks(const std::string& path,
                                                              NetfsFile* file) {
  Error last{};
  for (const int flags : {O_RDWR, O_RDONLY, O_WRONLY}) {
    if (file != nullptr) {
      auto& f = static_cast<PosixFile&>(*file);
      const HeldName name(f.fd.get());
      auto own = std::make_unique<PosixFile>();
      own->fd = Fd(::open(name.c_str(), flags | O_CLOEXEC));
      if (own->fd.valid()) {
        own->flags = flags;
        own->path = f.path;
        own->root_device = f.root_device.load();
        own->inode = f.inode;
        own->btime_ns = f.btime_ns;
        return std::shared_ptr<NetfsFile>(keeper_.adopt(std::move(own)));
      }
      last = share_error().value();
    } else {
      auto opened = open(path, flags, 0);
      if (opened) return std::move(opened->file);
      last = opened.error();
    }
    if (last.sys_errno != EACCES && last.sys_errno != EROFS) break;
  }
  return fail(last);
}

// No second try on a new descriptor: what the old one held would be gone, and nobody told.
Status PosixNetfs::lock(NetfsFile& file, const LockRange& range) {
  struct flock lock = to_flock(range);
  return status_of(::fcntl(static_cast<PosixFile&>(file).fd.get(), F_OFD_SETLK, &lock));
}

Result<LockRange> PosixNetfs::conflicting_lock(NetfsFile& file, const LockRange& range) {
  struct flock lock = to_flock(range);
  TRY_OK(status_of(::fcntl(static_cast<PosixFile&>(file).fd.get(), F_OFD_GETLK, &lock)));
  LockRange found;
  found.type = lock.l_type == F_RDLCK   ? LockType::kRead
               : lock.l_type == F_WRLCK ? LockType::kWrite
                                        : LockType::kUnlock;
  found.first = static_cast<std::uint64_t>(lock.l_start);
  found.last = lock.l_len == 0 ? LockRange::kToEnd
                               : static_cast<std::uint64_t>(lock.l_start + lock.l_len - 1);
  found.pid = lock.l_pid > 0 ? static_cast<std::uint32_t>(lock.l_pid) : 0;
  return found;
}

Status PosixNetfs::lock_whole(NetfsFile& file, LockType type) {
  const int operation = type == LockType::kRead    ? LOCK_SH
                        : type == LockType::kWrite ? LOCK_EX
                                                   : LOCK_UN;
  return status_of(::flock(static_cast<PosixFile&>(file).fd.get(), operation | LOCK_NB));
}

}  // namespace larder::netfs
