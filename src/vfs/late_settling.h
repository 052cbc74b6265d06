// SPDX-License-Identifier: Apache-2.0
// LateSettling: a write session whose last stamp is too fresh to tell it from the next write. It is
// settled when that has passed.
#pragma once

#include <larder/timers.h>

#include "vfs/vfs.h"

namespace larder {

struct Vfs::LateSettling : Timer {
  LateSettling(Vfs& v, Inode& i, const Attributes& a, const Vfs::Asked& when)
      : vfs(v), inode(&i), now(a), asked(when) {
    fire = [](Timer& timer) {
      auto& self = static_cast<LateSettling&>(timer);
      post(self.vfs.parts_.answer, [&self] { self.vfs.settle_now(self); });
    };
  }

  Vfs& vfs;
  InodeRef inode;
  Attributes now;
  Vfs::Asked asked;  // when `now` was
};

}  // namespace larder
