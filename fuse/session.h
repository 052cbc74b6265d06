// SPDX-License-Identifier: Apache-2.0
// Session: one FUSE mount, from the mount point to the last answer.
#pragma once

#include <larder/fd.h>
#include <larder/mount.h>
#include <larder/options.h>
#include <larder/result.h>

#include "notifier.h"
#include "ops.h"
#include "transport.h"
#include "undertaker.h"

#include <memory>
#include <string>
#include <string_view>

namespace larder::fuse {

// A larder that died leaves its mount point answering ENOTCONN: takes it away. Anything else stays.
void clear_dead_mount(const std::string& mountpoint);

// Is it a directory that can be mounted on, and not inside the share? Errors: kInvalid, with a
// line.
SetUp<std::monostate> check_mountpoint(const MountOptions& options);

// As one option of a list: commas would end it, backslashes escape. libfuse and larder both take it
// back.
std::string escape_option(std::string_view text);

// Mounts, and leaves the serving to whoever gets the device. Errors: kSystem, with a line.
SetUp<Fd> mount_device(const MountOptions& options);

class Session {
 public:
  // Mounts and answers INIT; requests are served from here on. `device`: of what another process
  // has mounted already (mount_device); else invalid. Errors: kSystem, with a line.
  static SetUp<std::unique_ptr<Session>> mount(const MountOptions& options, Mount& mount,
                                               Fd device);
  ~Session();  // REQUIRES: end() was called

  // Readable when the kernel has ended the session (unmounted, aborted).
  int ended_fd() const { return ended_fd_.get(); }
  // A line for the user: how requests come.
  const std::string& note() const { return transport_->note(); }
  // Unmounts where that has not happened, takes no more requests, has `mount` answer all that wait,
  // closes.
  void end();

 private:
  Session(const MountOptions& options, Mount& mount);
  void unmount();

  Mount& mount_;
  const MountOptions options_;
  Served served_;
  Fd ended_fd_;
  Notifier notifier_;
  fuse_session* session_ = nullptr;
  bool mounted_by_another_ = false;
  std::unique_ptr<Transport> transport_;
  Entrusted connection_;
};

}  // namespace larder::fuse
