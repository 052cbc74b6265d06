// SPDX-License-Identifier: Apache-2.0
// Device: the file or block device that a store lies on, opened, locked and sized.
//
// Placement rules: a store is refused, with a line, inside the share, inside the mount point, on a
// network or FUSE file system, if it belongs to another user, or is no regular file or block
// device. It is created 0600 with O_NOFOLLOW. The exclusive lock (an open file description lock on
// byte 0) is held until the Device is destroyed; a second opener is told who holds it.
#pragma once

#include <larder/clock.h>
#include <larder/fd.h>
#include <larder/result.h>
#include <larder/units.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace larder::store {

struct Device {
  Fd fd;
  ByteCount size;  // that the store may use: st_size is at most this, and st_blocks too
  std::string path;
  std::string note;  // a line for the user where something differs from what was asked; empty: none
  bool preallocated = false;  // all of its blocks are there, and stay
  // How much the disk below has free; null: as statfs(2) says. For tests.
  std::function<ByteCount()> disk_free;
};

struct DeviceOptions {
  std::string path;
  // Where the file does not exist: its size; 0 asks for the default (10 % of what is free, 256 MiB
  // to 32 GiB). An existing store is opened with the size that it has; who wants another calls
  // Store::resize().
  ByteCount size{0};
  // Whether all of the file gets its blocks at once, so that the disk below cannot fill up under
  // it.
  bool preallocate = false;
  // Directories in which the store may not lie: the share and the mount point.
  std::vector<std::string> forbidden;
};

inline constexpr ByteCount kSmallestStore{16u << 20};

// Errors: kStorePlace, kStoreLocked, kInvalid (size), kStoreIo; each with its line.
SetUp<Device> open_device(const DeviceOptions& options);

// What the store on it does to its file when its size changes. A device without a descriptor (a
// simulated one) takes everything.
//
// Whether it may have `size`: a block device has an end.
SetUp<bool> check_size(const Device& device, ByteCount size);
// The file ends at `end`, which is in front of its size. Nothing on a block device.
SetUp<bool> set_end(const Device& device, ByteCount end);
// What is free on the disk below; nullopt where the store takes nothing from it (a block device,
// one that is preallocated).
std::optional<ByteCount> disk_free(const Device& device);
// The file system may have these bytes back. Best effort.
void give_back(const Device& device, ByteOffset at, ByteCount bytes);

// umount(8) and kill(1) return before the larder that had the store has ended: how long its lock is
// waited for.
inline constexpr Nanoseconds kLockPatience_ns = 2 * kSecond;
inline constexpr std::chrono::milliseconds kLockStep{20};

// What `open` gives (a SetUp), asked again while that is kStoreLocked. Blocks up to
// kLockPatience_ns.
template <class Open>
auto wait_for_lock(const Clock& clock, Open open) {
  const Nanoseconds until_ns = clock.mono_ns() + kLockPatience_ns;
  while (true) {
    auto opened = open();
    const bool locked = !opened && opened.error().error.code == ErrorCode::kStoreLocked;
    if (!locked || clock.mono_ns() > until_ns) return opened;
    std::this_thread::sleep_for(kLockStep);
  }
}

}  // namespace larder::store
