// SPDX-License-Identifier: Apache-2.0
#include <larder/device.h>

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "store/layout.h"
#include "store/place.h"
#include "store/superblock.h"

namespace larder::store {
namespace {

constexpr std::uint64_t kMiB = 1u << 20;
constexpr std::uint64_t kLeastDefault = 256 * kMiB;
constexpr std::uint64_t kMostDefault = 32768 * kMiB;

std::string reason(int sys_errno) { return to_text(Error{ErrorCode::kSystem, sys_errno}); }

tl::unexpected<Complaint> refuse(ErrorCode code, const std::string& path, const std::string& line,
                                 int sys_errno = 0) {
  return complain(code, fmt::format("store={}: {}", path, line), sys_errno);
}

SetUp<bool> check_file_system(const std::string& path, int fd) {
  struct statfs stat {};
  if (::fstatfs(fd, &stat) != 0) {
    const int sys_errno = errno;
    return refuse(ErrorCode::kStoreIo, path, reason(sys_errno), sys_errno);
  }
  const std::string refused = refused_file_system(static_cast<long>(stat.f_type));
  if (refused.empty()) return true;
  return refuse(
      ErrorCode::kStorePlace, path,
      fmt::format("the store may not lie on a {} file system; it needs a local one", refused));
}

SetUp<Fd> open_file(const std::string& path, bool& created) {
  constexpr int kFlags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
  Fd fd(::open(path.c_str(), kFlags));
  int sys_errno = fd.valid() ? 0 : errno;
  if (sys_errno == ENOENT) {
    fd = Fd(::open(path.c_str(), kFlags | O_CREAT | O_EXCL, 0600));
    sys_errno = fd.valid() ? 0 : errno;
    created = fd.valid();
  }
  if (sys_errno == ELOOP)
    return refuse(ErrorCode::kStorePlace, path, "it is a symbolic link; name the file itself");
  if (sys_errno == EISDIR)
    return refuse(ErrorCode::kStorePlace, path, "it is a directory; name a file in it");
  if (sys_errno == ENXIO) {
    return refuse(ErrorCode::kStorePlace, path, "it is neither a regular file nor a block device");
  }
  if (sys_errno != 0) {
    return refuse(ErrorCode::kStorePlace, path,
                  "it cannot be opened or created: " + reason(sys_errno), sys_errno);
  }
  // Nobody wants to know when a store was read last. Only its owner may say so.
  static_cast<void>(::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NOATIME));
  return fd;
}

SetUp<bool> check_file(const std::string& path, const struct stat& stat) {
  if (!S_ISREG(stat.st_mode) && !S_ISBLK(stat.st_mode)) {
    return refuse(ErrorCode::kStorePlace, path, "it is neither a regular file nor a block device");
  }
  if (S_ISREG(stat.st_mode) && stat.st_uid != ::geteuid()) {
    return refuse(ErrorCode::kStorePlace, path,
                  fmt::format("it belongs to another user (uid {})", stat.st_uid));
  }
  if (S_ISREG(stat.st_mode) && stat.st_nlink > 1) {
    return refuse(ErrorCode::kStorePlace, path, "it has other names too (hard links)");
  }
  return true;
}

SetUp<bool> lock(const std::string& path, int fd) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = 0;
  lock.l_len = 1;
  if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return true;
  const int sys_errno = errno;
  if (sys_errno != EAGAIN && sys_errno != EACCES) {
    return refuse(ErrorCode::kStoreIo, path, "it cannot be locked: " + reason(sys_errno),
                  sys_errno);
  }
  return refuse(
      ErrorCode::kStoreLocked, path,
      fmt::format("the store is in use{}; each larder needs a store of its own", holder_of(fd)));
}

// 10 % of what is free, within bounds, and never more than nine tenths of it.
SetUp<ByteCount> default_size(const std::string& path, int fd) {
  struct statfs stat {};
  if (::fstatfs(fd, &stat) != 0) {
    const int sys_errno = errno;
    return refuse(ErrorCode::kStoreIo, path, reason(sys_errno), sys_errno);
  }
  const std::uint64_t free = stat.f_bavail * static_cast<std::uint64_t>(stat.f_bsize);
  std::uint64_t size = std::clamp(free / 10, kLeastDefault, kMostDefault);
  size = std::min(size, free / 10 * 9) / kMiB * kMiB;
  if (size < kSmallestStore.value()) {
    return refuse(ErrorCode::kStorePlace, path,
                  fmt::format("only {} MiB are free there; a store has at least {} MiB",
                              free / kMiB, kSmallestStore.value() / kMiB),
                  ENOSPC);
  }
  return ByteCount{size};
}

// The metadata get their blocks at once, so that a full disk later costs fills, not the store.
SetUp<bool> lay_out(const std::string& path, int fd, ByteCount size) {
  const Layout layout = layout_for(size);
  if (::ftruncate(fd, static_cast<off_t>(layout.file_bytes().value())) != 0) {
    const int sys_errno = errno;
    return refuse(ErrorCode::kStoreIo, path, "it cannot be made that long: " + reason(sys_errno),
                  sys_errno);
  }
  if (::fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(layout.data.value())) == 0)
    return true;
  const int sys_errno = errno;
  if (sys_errno == EOPNOTSUPP || sys_errno == ENOSYS || sys_errno == EINTR) return true;
  return refuse(ErrorCode::kStorePlace, path, "there is no room for it: " + reason(sys_errno),
                sys_errno);
}

SetUp<ByteCount> block_device_size(const std::string& path, int fd) {
  std::uint64_t bytes = 0;
  if (::ioctl(fd, BLKGETSIZE64, &bytes) != 0) {
    const int sys_errno = errno;
    return refuse(ErrorCode::kStoreIo, path, reason(sys_errno), sys_errno);
  }
  return ByteCount{bytes};
}

// A small file of zeros is what is left where the creation of a store was cut off.
bool is_unfinished(int fd, ByteCount present) {
  if (present >= kSmallestStore) return false;
  std::array<std::byte, 64u << 10> bytes;
  for (std::uint64_t at = 0; at < present.value();) {
    const auto got = ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (got <= 0) return false;
    const auto end = bytes.begin() + got;
    if (std::any_of(bytes.begin(), end, [](std::byte b) { return b != std::byte{0}; }))
      return false;
    at += static_cast<std::uint64_t>(got);
  }
  return true;
}

// All blocks at once. The file is no longer than before, and not larger than its size on the disk.
SetUp<bool> preallocate(const std::string& path, int fd, ByteCount end) {
  if (::fallocate(fd, 0, 0, static_cast<off_t>(end.value())) == 0) return true;
  const int sys_errno = errno;
  return refuse(
      ErrorCode::kStorePlace, path,
      fmt::format("preallocate: {} MiB cannot be had: {}", end.value() / kMiB, reason(sys_errno)),
      sys_errno);
}

SetUp<Device> size_new(Device device, const DeviceOptions& options) {
  device.size = options.size;
  if (device.size.value() == 0) {
    auto size = default_size(device.path, device.fd.get());
    if (!size) return tl::make_unexpected(std::move(size).error());
    device.size = *size;
    device.note =
        fmt::format("store={}: created with {} MiB", device.path, device.size.value() / kMiB);
  }
  auto laid_out = lay_out(device.path, device.fd.get(), device.size);
  if (!laid_out) return tl::make_unexpected(std::move(laid_out).error());
  return device;
}

// What exists keeps its size: that of the store in it, or its own.
SetUp<Device> size_existing(Device device, const DeviceOptions& options, const struct stat& stat) {
  const int fd = device.fd.get();
  const auto stored = stored_layout(fd);
  ByteCount present{static_cast<std::uint64_t>(stat.st_size)};
  if (S_ISBLK(stat.st_mode)) {
    auto bytes = block_device_size(device.path, fd);
    if (!bytes) return tl::make_unexpected(std::move(bytes).error());
    present = *bytes;
  }
  device.size = stored ? stored->size : present;
  if (S_ISREG(stat.st_mode) && device.size < kSmallestStore && bears_magic(fd)) {
    // What is left of a store of ours, or one of another format: it is a cache.
    const std::string note =
        fmt::format("store={}: it was of another format, or cut short beyond use; it is made anew",
                    device.path);
    if (::ftruncate(fd, 0) != 0) {
      const int sys_errno = errno;
      return refuse(ErrorCode::kStoreIo, device.path, reason(sys_errno), sys_errno);
    }
    auto anew = size_new(std::move(device), options);
    if (anew) anew->note = note;
    return anew;
  }
  if (device.size < kSmallestStore) {
    return refuse(ErrorCode::kInvalid, device.path,
                  fmt::format("it exists and is too small for a store (at least {} MiB); remove it",
                              kSmallestStore.value() / kMiB));
  }
  if (!S_ISREG(stat.st_mode) || !stored) return device;
  const ByteCount end = stored->file_bytes();
  if (present == end) return device;
  if (present > end) {
    // It was about to grow, or had just shrunk.
    TRY_OK(set_end(device, end));
    return device;
  }
  // Cut short: what was lost reads as zeros, which match no sum.
  if (::ftruncate(fd, static_cast<off_t>(end.value())) != 0) {
    const int sys_errno = errno;
    return refuse(ErrorCode::kStoreIo, device.path,
                  "it cannot be made as long as it was: " + reason(sys_errno), sys_errno);
  }
  device.note =
      fmt::format("store={}: it had been cut short; what was lost is fetched again", device.path);
  return device;
}

}  // namespace

SetUp<bool> check_size(const Device& device, ByteCount size) {
  struct stat stat {};
  if (!device.fd.valid() || ::fstat(device.fd.get(), &stat) != 0 || !S_ISBLK(stat.st_mode))
    return true;
  TRY(const ByteCount there, block_device_size(device.path, device.fd.get()));
  if (size <= there) return true;
  return complain(ErrorCode::kInvalid,
                  fmt::format("{}: the device has {} bytes; the store cannot have {}", device.path,
                              there.value(), size.value()));
}

SetUp<bool> set_end(const Device& device, ByteCount end) {
  struct stat stat {};
  if (!device.fd.valid() || ::fstat(device.fd.get(), &stat) != 0 || !S_ISREG(stat.st_mode))
    return true;
  int sys_errno = 0;
  if (device.preallocated && static_cast<std::uint64_t>(stat.st_size) < end.value() &&
      ::fallocate(device.fd.get(), 0, 0, static_cast<off_t>(end.value())) != 0)
    sys_errno = errno;
  if (sys_errno == 0 && ::ftruncate(device.fd.get(), static_cast<off_t>(end.value())) != 0)
    sys_errno = errno;
  if (sys_errno == 0) return true;
  return complain(ErrorCode::kStoreIo,
                  fmt::format("{}: it cannot be made {} bytes long: {}", device.path, end.value(),
                              reason(sys_errno)),
                  sys_errno);
}

std::optional<ByteCount> disk_free(const Device& device) {
  if (device.disk_free) return device.disk_free();
  struct stat stat {};
  struct statfs below {};
  if (!device.fd.valid() || device.preallocated || ::fstat(device.fd.get(), &stat) != 0 ||
      !S_ISREG(stat.st_mode) || ::fstatfs(device.fd.get(), &below) != 0)
    return std::nullopt;
  return ByteCount{below.f_bavail * static_cast<std::uint64_t>(below.f_bsize)};
}

void give_back(const Device& device, ByteOffset at, ByteCount bytes) {
  if (!device.fd.valid() || device.preallocated || bytes.value() == 0) return;
  // A block device, or a file system without holes, says no, and nothing is lost.
  static_cast<void>(::fallocate(device.fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                static_cast<off_t>(at.value()), static_cast<off_t>(bytes.value())));
}

SetUp<Device> open_device(const DeviceOptions& options) {
  if (options.size.value() != 0 && options.size < kSmallestStore) {
    return complain(ErrorCode::kInvalid,
                    fmt::format("size={}: a store has at least {} MiB", options.size.value(),
                                kSmallestStore.value() / kMiB));
  }
  auto place = real_place(options.path);
  if (!place) return tl::make_unexpected(std::move(place).error());
  if (auto allowed = check_forbidden(*place, options.forbidden); !allowed) {
    return tl::make_unexpected(std::move(allowed).error());
  }
  bool created = false;
  Device device;
  device.path = *place;
  {
    // Before anything is created there.
    const std::string parent = place->substr(0, std::max<std::size_t>(place->find_last_of('/'), 1));
    const Fd directory(::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (directory.valid()) {
      struct statfs probe {};
      if (::fstatfs(directory.get(), &probe) == 0 &&
          !refused_file_system(static_cast<long>(probe.f_type)).empty()) {
        auto refused = check_file_system(*place, directory.get());
        if (!refused) return tl::make_unexpected(std::move(refused).error());
      }
    }
  }
  auto fd = open_file(*place, created);
  if (!fd) return tl::make_unexpected(std::move(fd).error());
  device.fd = std::move(*fd);
  struct stat stat {};
  if (::fstat(device.fd.get(), &stat) != 0)
    return refuse(ErrorCode::kStoreIo, *place, reason(errno), errno);
  auto sound = check_file(*place, stat);
  if (sound && S_ISREG(stat.st_mode)) sound = check_file_system(*place, device.fd.get());
  if (sound) sound = lock(*place, device.fd.get());
  if (!sound) return tl::make_unexpected(std::move(sound).error());
  const ByteCount present{static_cast<std::uint64_t>(stat.st_size)};
  const bool empty = S_ISREG(stat.st_mode) && is_unfinished(device.fd.get(), present);
  SetUp<Device> sized = empty ? size_new(std::move(device), options)
                              : size_existing(std::move(device), options, stat);
  if (sized && options.preallocate && S_ISREG(stat.st_mode)) {
    const auto stored = empty ? std::nullopt : stored_layout(sized->fd.get());
    const ByteCount end = stored.value_or(layout_for(sized->size)).file_bytes();
    sized->preallocated = true;
    if (auto had = preallocate(*place, sized->fd.get(), end); !had)
      sized = tl::make_unexpected(std::move(had).error());
  }
  if (!sized && created) ::unlink(place->c_str());
  return sized;
}

}  // namespace larder::store
