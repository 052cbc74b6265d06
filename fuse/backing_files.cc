// SPDX-License-Identifier: Apache-2.0
#include "backing_files.h"

#include <larder/log.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

namespace larder::fuse {

Result<BackingId> BackingFiles::open(const Fd& file) {
  const std::lock_guard lock(mutex_);
  if (!available()) return fail(ErrorCode::kNotSupported);
  const BackingMap map{file.get(), 0, 0};
  const int id = ::ioctl(device_fd_.load(), kBackingOpen, &map);
  if (id > 0) return BackingId{static_cast<std::uint64_t>(id)};
  const int number = id < 0 ? errno : EIO;
  log(LogLevel::kDebug, "the kernel does not pass a file through: {}", std::strerror(number));
  // Not this file, but any: nobody needs to ask again.
  if (number == EPERM || number == ENOTTY) device_fd_.store(-1);
  return fail(ErrorCode::kSystem, number);
}

void BackingFiles::close(BackingId id) {
  const std::lock_guard lock(mutex_);
  const auto number = static_cast<std::uint32_t>(id.value());
  if (available()) ::ioctl(device_fd_.load(), kBackingClose, &number);
}

void BackingFiles::stop() {
  const std::lock_guard lock(mutex_);
  device_fd_.store(-1);
}

}  // namespace larder::fuse
