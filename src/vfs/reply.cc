// SPDX-License-Identifier: Apache-2.0
#include <larder/reply.h>

#include <vector>

#include "base/mutex.h"

namespace larder {
namespace {

// Until the process ends.
struct Kept {
  Mutex mutex{Rank::kLeaf};
  std::vector<ReplySlot*> slots GUARDED_BY(mutex);
};

Kept& kept() {
  static Kept& for_good = *new Kept;
  return for_good;
}

}  // namespace

void Reply::error_and_keep(Error e) {
  check(slot_ != nullptr, "a reply is answered once");
  ReplySlot* const slot = slot_.release();
  {
    const MutexLock lock(kept().mutex);
    kept().slots.push_back(slot);
  }
  slot->error(e);
}

}  // namespace larder
