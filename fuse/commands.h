// SPDX-License-Identifier: Apache-2.0
// Commands: what this process does for others over its control socket (<larder/local_socket.h>).
//
//   read    a control file of one of the mounts, without asking the mount
//   mounts  the mount points that are served here
//   debug   sets the mask of what is traced, or tells it
//   mount   takes over a mount (hand_over.h)
//   add cache, withdraw cache   to and from under all of the mounts
//   make room   has the caches evict what goes next
//   resize, clear   a cache's store
//
// A thread for each connection, a bounded number of them; none holds anything up that a mount
// needs.
#pragma once

#include <larder/fd.h>
#include <larder/host.h>
#include <larder/local_socket.h>
#include <larder/result.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "mounts.h"

namespace larder::fuse {

class Commands {
 public:
  // Listens and makes the links by which mounts and stores are found. Where that cannot be had the
  // mounts go on without: a line says so.
  static SetUp<std::unique_ptr<Commands>> start(Host& host, Mounts& mounts);
  ~Commands();  // REQUIRES: stop() was called, and no connection is left
  // Takes no more connections, and waits a little for those that are being answered: one that reads
  // slowly stays, and ends with the process.
  void stop();

 private:
  Commands(Host& host, Mounts& mounts, LocalListener listener);
  void accept_all();
  void answer(LocalSocket socket);

  Host& host_;
  Mounts& mounts_;
  LocalListener listener_;
  Fd stop_fd_;
  std::atomic<unsigned> connections_{0};
  std::thread thread_;
};

}  // namespace larder::fuse
