// SPDX-License-Identifier: Apache-2.0
// Mounts: those that this process serves, on one host. The first comes from the command line,
// others are handed over by a later larder (commands.h). Unmounting one leaves the others; the end
// of the last is the end of the process.
#pragma once

#include <larder/fd.h>
#include <larder/host.h>
#include <larder/mount.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "session.h"

namespace larder::fuse {

// A mount with its session. Kept in memory when it has ended: what it gave to the host's queues may
// still be on its way.
struct ServedMount {
  std::unique_ptr<Mount> mount;
  std::unique_ptr<Session> session;
  std::string link;  // by which programs find it (<larder/local_socket.h>)
  Fd ended_fd;       // readable once it is unmounted and closed
};
using MountRef = std::shared_ptr<ServedMount>;

class Mounts {
 public:
  explicit Mounts(Host& host);

  // Opens the share and the cache and serves. `device` is asked for when nothing else can fail any
  // more; null: it is mounted here. Errors: with a line; kShutdown when the process is about to
  // end. Thread: any.
  SetUp<MountRef> add(const MountOptions& options,
                      const std::function<SetUp<Fd>()>& device = nullptr);
  // The one at `mountpoint` (absolute); null: there is none. Thread: any.
  MountRef find(const std::string& mountpoint) const;
  std::vector<std::string> mountpoints() const;
  // Has main() end it. Thread: any.
  void unmount(const MountRef& mount);
  // From here on each mount has a link to the control socket at `path`. Thread: any.
  void announce_at(const std::string& path);

  // Serves until the last has ended or one of `signals` comes, then ends those that are left. Main
  // thread.
  void run(int signals_fd);

 private:
  void end(const MountRef& mount);
  std::vector<MountRef> serving() const;
  void came(const MountRef& entry);
  void announce(const MountRef& mount, const std::string& path) const;
  void wait_for_those_that_come();
  // Nothing is served and nothing on its way in: then nothing comes in any more.
  bool closes();

  Host& host_;
  const Fd changed_fd_;  // an eventfd, for run()
  mutable std::mutex mutex_;
  std::vector<MountRef> serving_, leaving_, ended_;
  unsigned coming_ = 0;
  bool closed_ = false;
  std::string socket_path_;
};

}  // namespace larder::fuse
