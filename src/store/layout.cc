// SPDX-License-Identifier: Apache-2.0
#include "store/layout.h"

#include <larder/device.h>
#include <larder/result.h>

#include <algorithm>

#include "store/extent.h"
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

// A file written in single blocks may need 12 bytes of extent tree per block: about 1/341. Larger
// runs are the rule, and trees are shared by neighbours that the file system placed side by side.
constexpr std::uint64_t slack_of(std::uint64_t bytes) { return bytes / 512 + 64 * kKiB; }

constexpr std::uint64_t kLeastData = 4 * kMiB;

// The metadata, from `at` on.
void place_metadata(Layout& layout, ByteCount basis, ByteOffset at) {
  const std::uint64_t bytes = basis.value() == 0 ? layout.size.value() : basis.value();
  const std::uint64_t journal = round_up(std::clamp(bytes / 64, 256 * kKiB, 64 * kMiB));
  // Small files need that much for their objects and names.
  const std::uint64_t area =
      round_up(std::clamp(bytes / 64, 512 * kKiB, std::max(4 * kGiB, bytes / 256)));
  layout.basis = basis;
  layout.journal = at;
  layout.journal_blocks = journal / kBlockSize;
  layout.checkpoint[0] = layout.journal + ByteCount{journal};
  layout.checkpoint[1] = layout.checkpoint[0] + ByteCount{area};
  layout.checkpoint_blocks = area / kBlockSize;
  layout.sums = layout.checkpoint[1] + ByteCount{area};
  // Where a store may grow they are for twice its size.
  const std::uint64_t summed = basis.value() == 0 ? bytes : 2 * bytes;
  layout.sum_chunks = (summed / kBlockSize + kSumsInBlock - 1) / kSumsInBlock;
}

void place_data(Layout& layout, ByteOffset at) {
  layout.data = at;
  const std::uint64_t end = layout.size.value() - slack_of(layout.size.value());
  layout.data_blocks = end > at.value() ? (end - at.value()) / kBlockSize : 0;
}

bool overlap(ByteOffset a, ByteOffset a_end, ByteOffset b, ByteOffset b_end) {
  return a < b_end && b < a_end;
}

bool suffices(const Layout& layout) {
  return layout.metadata_end().value() <= layout.file_bytes().value() &&
         layout.data_blocks <= layout.sum_chunks * kSumsInBlock &&
         layout.usable_blocks() * kBlockSize >= kLeastData;
}

}  // namespace

ByteOffset Layout::metadata_end() const {
  return sums + ByteCount{round_up(2 * sum_chunks * kBlockSize)};
}

BlockRun Layout::reserved() const {
  if (journal < data) return {};
  return {(journal - data).value() / kBlockSize, (metadata_end() - journal).value() / kBlockSize};
}

Layout layout_for(ByteCount size) {
  check(size >= kSmallestStore, "a store has at least the smallest size");
  Layout layout;
  layout.size = size;
  place_metadata(layout, size, ByteOffset{kJournalOffset});
  place_data(layout, layout.metadata_end());
  return layout;
}

std::optional<Layout> layout_of(const Geometry& geometry) {
  constexpr std::uint64_t kMost = Extent::kBlocks * kBlockSize;
  if (geometry.size < kSmallestStore || geometry.size.value() > kMost) return std::nullopt;
  if (geometry.basis.value() > kMost) return std::nullopt;
  if (geometry.basis.value() != 0 && geometry.basis < kSmallestStore) return std::nullopt;
  if (geometry.journal.value() < kJournalOffset || geometry.data.value() <= kJournalOffset)
    return std::nullopt;
  if (geometry.journal.value() % kAlignment != 0 || geometry.data.value() % kAlignment != 0)
    return std::nullopt;
  Layout layout;
  layout.size = geometry.size;
  place_metadata(layout, geometry.basis, geometry.journal);
  place_data(layout, geometry.data);
  const bool apart = layout.journal >= layout.data || layout.metadata_end() <= layout.data;
  if (!apart || !suffices(layout)) return std::nullopt;
  return layout;
}

std::optional<Layout> resized(const Layout& layout, ByteCount size) {
  if (size < kSmallestStore || size.value() > Extent::kBlocks * kBlockSize) return std::nullopt;
  Layout next = layout;
  next.size = size;
  place_data(next, layout.data);
  // Metadata made for a much larger store would take most of a small one.
  const std::uint64_t metadata = (layout.metadata_end() - layout.journal).value();
  if (layout.basis.value() != 0 && suffices(next) && metadata <= size.value() / 4) return next;
  place_metadata(next, size, ByteOffset{kJournalOffset});
  const ByteCount length = next.metadata_end() - next.journal;
  const std::uint64_t end = next.file_bytes().value() / kAlignment * kAlignment;
  const std::uint64_t tail = end > length.value() ? end - length.value() : 0;
  for (const std::uint64_t at : {kJournalOffset, tail, layout.data.value()}) {
    const ByteOffset from{at}, to = from + length;
    if (overlap(from, to, layout.journal, layout.metadata_end())) continue;
    if (from < layout.data ? to > layout.data : to.value() > end) continue;
    if (from.value() < kJournalOffset) continue;
    place_metadata(next, size, from);
    if (suffices(next)) return next;
  }
  return std::nullopt;
}

ByteCount least_size(const Layout& layout) {
  std::uint64_t low = kSmallestStore.value(), high = layout.size.value();
  while (high - low > kMiB) {
    const std::uint64_t middle = (low + high) / 2;
    (resized(layout, ByteCount{middle}) ? high : low) = middle;
  }
  return ByteCount{resized(layout, ByteCount{low}) ? low : round_up(high)};
}

}  // namespace larder::store
