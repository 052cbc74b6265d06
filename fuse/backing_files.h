// SPDX-License-Identifier: Apache-2.0
// BackingFiles: the files of the share that the kernel reads and writes by itself (FUSE
// passthrough, Linux 6.9), by the numbers that it gives them.
//
// It takes what is not stacked itself, where larder has CAP_SYS_ADMIN. Not available before the
// answer to INIT has said so, nor behind stop().
#pragma once

#include <larder/filesystem.h>

#include <atomic>
#include <mutex>

#include "protocol.h"

namespace larder::fuse {

class BackingFiles final : public PassThrough {
 public:
  // Of a file system that may itself lie below another one that is stacked.
  static constexpr std::uint32_t kStackDepth = 1;

  void start(int device_fd) { device_fd_.store(device_fd); }
  void stop();  // the device may be closed behind this

  bool available() const override { return device_fd_.load() >= 0; }
  Result<BackingId> open(const Fd& file) override;
  void close(BackingId id) override;

 private:
  std::mutex mutex_;  // the device stays open meanwhile
  std::atomic<int> device_fd_{-1};
};

}  // namespace larder::fuse
