// SPDX-License-Identifier: Apache-2.0
// Calls on open files.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

#include "netfs/posix_netfs.h"

namespace larder::netfs {
namespace {

constexpr int kOpenFlags =
    O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_DIRECTORY | O_TMPFILE;
constexpr int kOnceFlags = O_CREAT | O_EXCL | O_TRUNC | O_TMPFILE;
constexpr mode_t kPermissionBits = 07777;
constexpr int kNoAppend = 0x20;  // RWF_NOAPPEND, of Linux 6.9

PosixFile& own(NetfsFile& file) { return static_cast<PosixFile&>(file); }

// All of it from `done` on, which says how far it went also where it ends with an error.
Result<ByteCount> write_rest(int fd, ByteOffset offset, std::span<const std::byte> data,
                             std::size_t& done, int how) {
  while (done < data.size()) {
    // pwritev2(2) wants the bytes of a const iovec as they were.
    const iovec rest{const_cast<std::byte*>(data.data()) + done, data.size() - done};
    const auto at = static_cast<off_t>(offset.value() + done);
    const ssize_t n = ::pwritev2(fd, &rest, 1, at, how);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return share_error();
    if (n == 0) return share_error(EIO);
    done += static_cast<std::size_t>(n);
  }
  return ByteCount{done};
}

// Who had a part of it taken when the room came to an end is told of that part, as write(2) tells,
// and hears why when he goes on.
Result<ByteCount> part_of(Result<ByteCount> all, std::size_t done) {
  if (all || done == 0 || all.error().code != ErrorCode::kShareAnswer) return all;
  const int why = all.error().sys_errno;
  return why == ENOSPC || why == EDQUOT || why == EFBIG ? ByteCount{done} : all;
}

// O_NONBLOCK: a FIFO that somebody put in the place of a file must not cost a thread for ever. A
// file under a lease says EAGAIN to that; it is no FIFO, so waiting for the lease is right.
int open_not_waiting(int directory, const char* name, int flags, mode_t mode) {
  for (;;) {
    const int fd = ::openat(directory, name, flags | O_NONBLOCK, mode);
    if (fd >= 0) return fd;
    if (errno == EAGAIN) return ::openat(directory, name, flags, mode);
    if (errno != EINTR) return -1;
  }
}

}  // namespace

Result<OpenedFile> PosixNetfs::open_at(const ShareRoot::Ref& root, const std::string& path,
                                       int flags, NewMode mode) {
  TRY(const SafePath place, SafePath::resolve(root->fd.get(), path));
  const int wanted = (flags & kOpenFlags) | O_NOFOLLOW | O_CLOEXEC;
  const Making making(mode);
  Fd fd(open_not_waiting(place.directory(), place.is_root() ? "." : place.name(), wanted,
                         making.bits() & kPermissionBits));
  return opened(std::move(fd), path, flags, root->device);
}

Result<OpenedFile> PosixNetfs::open_again(NetfsFile& file, int flags) {
  PosixFile& f = own(file);
  return on(f, [&]() -> Result<OpenedFile> {
    const HeldName held(f.fd.get());
    Fd fd(open_not_waiting(AT_FDCWD, held.c_str(), (flags & kOpenFlags) | O_CLOEXEC, 0));
    return opened(std::move(fd), f.path, flags, f.root_device.load());
  });
}

// Behind open(2): `fd` is as it left it, and errno too.
Result<OpenedFile> PosixNetfs::opened(Fd opened_fd, const std::string& path, int flags,
                                      std::uint64_t root_device) {
  if (!opened_fd.valid()) return share_error();
  auto file = std::make_unique<PosixFile>();
  file->fd = std::move(opened_fd);
  const int fd = file->fd.get();
  TRY(const Attributes attributes, stat_at(root_device, fd, "", AT_EMPTY_PATH, Freshness::kServer));
  // Devices, FIFOs and sockets are the kernel's own business; none of them is opened on a share.
  if (!attributes.is_regular() && !attributes.is_directory()) return share_error(ENXIO);
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  file->flags = flags & kOpenFlags & ~kOnceFlags;
  file->path = path;
  file->root_device = root_device;
  file->inode = attributes.inode;
  file->btime_ns = attributes.btime_ns;
  return OpenedFile{keeper_.adopt(std::move(file)), attributes};
}

Result<OpenedFile> PosixNetfs::open(const std::string& path, int flags, NewMode mode) {
  TRY(const ShareRoot::Ref root, root_->current());
  auto opened = open_at(root, path, flags, mode);
  if (opened) return opened;
  TRY(const ShareRoot::Ref fresh, root_->recover(root, opened.error()));
  return open_at(fresh, path, flags, mode);
}

Status PosixNetfs::revive(PosixFile& file, Error error) {
  TRY(const ShareRoot::Ref now, root_->current());
  TRY(const ShareRoot::Ref root, root_->recover(now, error));
  // Numbers that change at each mount cannot say that it is the same file.
  if (traits_.inode_numbers == InodeNumbers::kUnstable) return fail(ErrorCode::kShareStale);
  const auto again = open_at(root, file.path, file.flags, 0);
  if (!again) {
    const int e = again.error().sys_errno;
    const bool is_gone = e == ENOENT || e == ENOTDIR || e == EISDIR || e == ELOOP || e == ESTALE;
    return is_gone ? fail(ErrorCode::kShareStale) : fail(again.error());
  }
  const bool same =
      again->attributes.inode == file.inode && again->attributes.btime_ns == file.btime_ns;
  if (!same) return fail(ErrorCode::kShareStale);
  // The number stays and the file behind it changes, so calls that run on it meanwhile are not
  // hurt.
  if (::dup3(own(*again->file).fd.get(), file.fd.get(), O_CLOEXEC) < 0) return share_error();
  file.root_device = root->device;
  return {};
}

Result<Attributes> PosixNetfs::stat(NetfsFile& file, Freshness fresh) {
  PosixFile& f = own(file);
  return on(f, [&] { return stat_at(f.root_device.load(), f.fd.get(), "", AT_EMPTY_PATH, fresh); });
}

// The descriptor stays in the share's table, where it is closed on a share thread as all are.
std::shared_ptr<LentFile> PosixNetfs::lend(NetfsFile& file) {
  struct Lent final : LentFile {
    explicit Lent(SharePool::Keeper k) : keeper(std::move(k)) {}
    Result<Fd> take() override { return keeper.fetch(place.get()); }
    SharePool::Keeper keeper;
    Fd place;
  };
  auto lent = std::make_unique<Lent>(keeper_);
  lent->place = Fd(::open(HeldName(own(file).fd.get()).c_str(), O_PATH | O_CLOEXEC));
  if (!lent->place.valid()) return nullptr;
  return keeper_.adopt(std::move(lent));
}

Result<ByteCount> PosixNetfs::read(NetfsFile& file, ByteOffset offset, std::span<std::byte> into) {
  PosixFile& f = own(file);
  return on(f, [&]() -> Result<ByteCount> {
    std::size_t done = 0;
    while (done < into.size()) {
      const ssize_t n = ::pread(f.fd.get(), into.data() + done, into.size() - done,
                                static_cast<off_t>(offset.value() + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return share_error();
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    return ByteCount{done};
  });
}

Result<ByteCount> PosixNetfs::write(NetfsFile& file, ByteOffset offset,
                                    std::span<const std::byte> data) {
  PosixFile& f = own(file);
  // Outside: what was written before the share went is not appended twice.
  std::size_t done = 0;
  // On a file opened with O_APPEND it appends, whatever the offset.
  const auto all = on(f, [&] { return write_rest(f.fd.get(), offset, data, done, 0); });
  return part_of(all, done);
}

// Opened once more without O_APPEND: what is below may append by itself (sshfs's server does), so
// that asking this kernel not to is not enough where the file can be opened.
Result<ByteCount> PosixNetfs::write_in_place(NetfsFile& file, ByteOffset offset,
                                             std::span<const std::byte> data) {
  PosixFile& f = own(file);
  if ((f.flags & O_APPEND) == 0) return write(file, offset, data);
  std::size_t done = 0;
  const auto all = on(f, [&]() -> Result<ByteCount> {
    Fd opened(::open(HeldName(f.fd.get()).c_str(), O_WRONLY | O_CLOEXEC));
    if (!opened.valid()) return write_rest(f.fd.get(), offset, data, done, kNoAppend);
    TRY(const ByteCount count, write_rest(opened.get(), offset, data, done, 0));
    if (::close(opened.release()) != 0 && errno != EINTR) return share_error();
    return count;
  });
  return part_of(all, done);
}

Status PosixNetfs::sync(NetfsFile& file, SyncWhat what) {
  // No second try: a sync that failed may have lost data, and one on a new descriptor would hide
  // it.
  PosixFile& f = own(file);
  return status_of(what == SyncWhat::kAll ? ::fsync(f.fd.get()) : ::fdatasync(f.fd.get()));
}

Status PosixNetfs::flush(NetfsFile& file) {
  const int duplicate = ::fcntl(own(file).fd.get(), F_DUPFD_CLOEXEC, 3);
  if (duplicate < 0) return share_error();
  // Closed in any case, also when it reports an error.
  if (::close(duplicate) != 0 && errno != EINTR) return share_error();
  return {};
}

Status PosixNetfs::allocate(NetfsFile& file, int mode, ByteOffset offset, ByteCount length) {
  PosixFile& f = own(file);
  return on(f, [&]() -> Status {
    for (;;) {
      const int returned = ::fallocate(f.fd.get(), mode, static_cast<off_t>(offset.value()),
                                       static_cast<off_t>(length.value()));
      if (returned == 0) return {};
      if (errno != EINTR) return share_error();
    }
  });
}

Result<ByteOffset> PosixNetfs::seek(NetfsFile& file, ByteOffset offset, int whence) {
  PosixFile& f = own(file);
  // The descriptor's own position is nobody's: reads and writes name theirs.
  return on(f, [&]() -> Result<ByteOffset> {
    const off_t found = ::lseek(f.fd.get(), static_cast<off_t>(offset.value()), whence);
    if (found < 0) return share_error();
    return ByteOffset{static_cast<std::uint64_t>(found)};
  });
}

Result<ByteCount> PosixNetfs::copy(NetfsFile& from, ByteOffset from_offset, NetfsFile& to,
                                   ByteOffset to_offset, ByteCount length) {
  auto in = static_cast<off64_t>(from_offset.value());
  auto out = static_cast<off64_t>(to_offset.value());
  for (;;) {
    const ssize_t n =
        ::copy_file_range(own(from).fd.get(), &in, own(to).fd.get(), &out, length.value(), 0);
    if (n >= 0) return ByteCount{static_cast<std::uint64_t>(n)};
    if (errno != EINTR) return share_error();
  }
}

}  // namespace larder::netfs
