// SPDX-License-Identifier: Apache-2.0
// Mount: a share and the file system over it and the host's caches, put together. What fuse/ runs.
//
// Everything that can fail fails in open(), before anything is mounted, with a line for the user.
#pragma once

#include <larder/filesystem.h>
#include <larder/host.h>
#include <larder/options.h>
#include <larder/result.h>
#include <larder/transport_stats.h>

#include <memory>
#include <string>
#include <vector>

namespace larder {

inline constexpr std::string_view kVersion = "0.1.0";

class Mount {
 public:
  // Starts threads. Blocks, at most as long as share_deadline. `host` outlives it.
  static SetUp<std::unique_ptr<Mount>> open(Host& host, const MountOptions& options);
  ~Mount();  // REQUIRES: close() was called

  Filesystem& filesystem();
  // Before the first request.
  void set_kernel_cache(KernelCache& kernel);
  void set_pass_through(std::shared_ptr<PassThrough> kernel);
  // Thread: any; it may change while mounted.
  void set_transport(std::string name);
  TransportStats& transport_stats();
  // Lines that the user should see: where the store is, how large, what differs from what was
  // asked.
  const std::vector<std::string>& notes() const;
  const std::string& mountpoint() const;
  // A control file by its name ("objects:KB"); null: there is none of that name. Never waits for
  // the share nor for the kernel.
  Pager control_file(std::string_view name) const;
  // Answers everything that still waits. From here on every call to the share fails at once.
  void stop_answering_later();
  // Behind the last request: lets go of the cache and ends the mount's threads.
  void close();

 private:
  struct Impl;
  explicit Mount(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace larder
