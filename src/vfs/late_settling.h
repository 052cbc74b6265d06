// SPDX-License-Identifier: Apache-2.0
// LateSettling: a write session whose last stamp is too fresh to tell it from the next write. It is
// settled when that has passed.
#pragma once

#include <larder/timers.h>

#include "vfs/vfs.h"

namespace larder {

struct Vfs::LateSettling : Timer {
  LateSettling(Vfs& v, Inode& i, const Attributes& a, std::uint64_t count)
      : vfs(v), inode(&i), now(a), last_change(count) {
    fire = [](Timer& timer) {
      auto& self = static_cast<LateSettling&>(timer);
      post(self.vfs.parts_.answer, [&self] { self.vfs.settle_now(self); });
    };
  }

  Vfs& vfs;
  InodeRef inode;
  Attributes now;
  std::uint64_t last_change;  // of the inode when `now` was asked for
};

}  // namespace larder
