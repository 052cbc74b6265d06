// SPDX-License-Identifier: Apache-2.0
#include "store/layout.h"

#include <larder/device.h>
#include <larder/result.h>

#include <algorithm>

#include "store/format.h"

namespace larder::store {
namespace {

constexpr std::uint64_t kKiB = 1u << 10;
constexpr std::uint64_t kMiB = 1u << 20;
constexpr std::uint64_t kGiB = 1u << 30;
constexpr std::uint64_t kAlignment = 64 * kKiB;

constexpr std::uint64_t round_up(std::uint64_t n) {
  return (n + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

Layout layout_for(ByteCount size) {
  check(size >= kSmallestStore, "a store has at least the smallest size");
  const std::uint64_t bytes = size.value();
  // A file written in single blocks may need 12 bytes of extent tree per block: about 1/341. Larger
  // runs are the rule, and trees are shared by neighbours that the file system placed side by side.
  const std::uint64_t slack = bytes / 512 + 64 * kKiB;
  const std::uint64_t journal = round_up(std::clamp(bytes / 64, 256 * kKiB, 64 * kMiB));
  // Small files need that much for their objects and names.
  const std::uint64_t area =
      round_up(std::clamp(bytes / 64, 512 * kKiB, std::max(4 * kGiB, bytes / 256)));

  Layout layout;
  layout.size = size;
  layout.journal = ByteOffset{kJournalOffset};
  layout.journal_blocks = journal / kBlockSize;
  layout.checkpoint[0] = layout.journal + ByteCount{journal};
  layout.checkpoint[1] = layout.checkpoint[0] + ByteCount{area};
  layout.checkpoint_blocks = area / kBlockSize;
  layout.sums = layout.checkpoint[1] + ByteCount{area};
  layout.sum_chunks = (bytes / kBlockSize + kSumsInBlock - 1) / kSumsInBlock;
  layout.data = layout.sums + ByteCount{round_up(2 * layout.sum_chunks * kBlockSize)};
  layout.data_blocks = (bytes - slack - layout.data.value()) / kBlockSize;
  return layout;
}

}  // namespace larder::store
