// SPDX-License-Identifier: Apache-2.0
#include "base/mutex.h"

#include <larder/result.h>

#include <array>

namespace larder {

#if defined(LARDER_CHECK_RANKS)
namespace {
// What this thread holds, in the order in which it took it.
struct Held {
  std::array<Rank, 16> ranks;
  unsigned count = 0;
};
thread_local Held held;
}  // namespace

void rank_push(Rank rank) {
  check(held.count < held.ranks.size(), "a thread holds too many locks");
  check(held.count == 0 || held.ranks[held.count - 1] < rank, "locks are taken in rising rank");
  held.ranks[held.count++] = rank;
}

void rank_pop(Rank rank) {
  // Not always the last: a scoped lock may be let go early.
  unsigned i = held.count;
  while (i > 0 && held.ranks[i - 1] != rank) --i;
  check(i > 0, "a lock is let go by the thread that holds it");
  for (; i < held.count; ++i) held.ranks[i - 1] = held.ranks[i];
  --held.count;
}
#endif

}  // namespace larder
