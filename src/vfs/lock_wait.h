// SPDX-License-Identifier: Apache-2.0
// LockWait: one lock that is asked for on the share, until it is granted, refused or given up.
//
// Owned by the call to the share that tries it, or by the list of those that pause.
#pragma once

#include <larder/timers.h>

#include "vfs/vfs.h"

namespace larder {

struct Vfs::LockWait : Timer {
  enum class Kind : std::uint8_t { kRange, kWhole };

  LockWait(Vfs& v, InodeRef i, LockOwner o, const LockRange& r, Waits w, Reply re)
      : vfs(v), inode(std::move(i)), owner(o), range(r), waits(w), reply(std::move(re)) {
    fire = [](Timer& timer) {
      auto& self = static_cast<LockWait&>(timer);
      post(self.vfs.parts_.answer, [&v = self.vfs, wait = &self] { v.resume_lock(wait); });
    };
  }

  Vfs& vfs;
  const InodeRef inode;
  const LockOwner owner;
  const LockRange range;
  const Waits waits;
  Kind kind = Kind::kRange;
  Nanoseconds pause_ns = 0;
  Reply reply;
};

}  // namespace larder
