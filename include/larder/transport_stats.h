// SPDX-License-Identifier: Apache-2.0
// TransportStats: what the transport counts. The mount owns it, and fuse/ counts in it.
#pragma once

#include <larder/stats.h>

namespace larder {

struct TransportStats {
  stats::Counter ring_entries;  // gauge
  stats::Counter copied_bytes, refused, stale_answers;

  void register_in(stats::Registry& registry);
};

}  // namespace larder
