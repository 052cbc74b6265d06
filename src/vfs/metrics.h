// SPDX-License-Identifier: Apache-2.0
// `metrics`: the figures of a mount for Prometheus, under the names that users of such file systems
// know, and below them every counter under its own.
// Thread: any.
#pragma once

#include <larder/stats.h>
#include <larder/units.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace larder {

struct MetricsOf {
  std::string_view mountpoint;
  std::string_view version;
  Nanoseconds uptime_ns = 0;
  std::string_view share_state;  // as in `status`
  // Of each cache its tag and the state of its store.
  std::vector<std::pair<std::string, std::string_view>> stores;
};

std::string metrics_text(const MetricsOf& mount, const stats::Registry& registry);

}  // namespace larder
