// SPDX-License-Identifier: Apache-2.0
// Undertaker: a small process that outlives larder by a moment and ends its FUSE connections.
//
// When a larder is killed, the kernel closes its /dev/fuse and with it the connection, and whoever
// waits on the mount is told. Unless one of its threads hangs in the kernel on that very mount: the
// notifier waits for the lock of a page whose read larder had not answered yet. It keeps the
// descriptors open, so the connection stays, so the read is never answered: the process stays a
// zombie, the store locked and the mount hung. Only somebody else can end the connection then.
//
//   D1 forked before there are threads; has nothing of larder's open but what it was entrusted with
//   D2 told of the death by the end of larder's main thread (PR_SET_PDEATHSIG), which hangs
//   nowhere:
//      the end of the whole process would come too late
//   D3 holds the connection's own `abort` file, open since the mount: the number of the connection
//      may be another's by then, the open file is of no other connection
#pragma once

#include <larder/fd.h>

#include <cstdint>
#include <string>

namespace larder::fuse {

// Forks it. Without it, all goes on as it would. Main thread. REQUIRES: no other thread runs.
void start_undertaker();

// One connection, as long as this lives. Thread: any.
class Entrusted {
 public:
  Entrusted() = default;
  // `device`: of the mount, "0:41". Does nothing where there is no undertaker, or no fusectl file
  // system at /sys/fs/fuse/connections.
  explicit Entrusted(const std::string& device);
  ~Entrusted();
  Entrusted(Entrusted&& other) noexcept;
  Entrusted& operator=(Entrusted&& other) noexcept;

 private:
  std::uint64_t id_ = 0;
};

}  // namespace larder::fuse
