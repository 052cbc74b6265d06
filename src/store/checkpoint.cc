// SPDX-License-Identifier: Apache-2.0
#include "store/checkpoint.h"

#include <algorithm>

namespace larder::store {

std::size_t longest_chunk(const Layout& layout) {
  return std::min<std::size_t>(1u << 20, layout.checkpoint_blocks * kBlockSize);
}

std::uint64_t checkpoint_limit(const Layout& layout) {
  // A chunk ends before the first record that does not fit, and is padded to a block.
  const std::uint64_t chunk = longest_chunk(layout);
  const std::uint64_t usable = chunk - sizeof(EntryDisk) - kLongestRecord;
  return layout.checkpoint_bytes().value() / chunk * usable;
}

Checkpoint::Checkpoint(const Layout& layout, Index& index) : layout_(layout) {
  const std::size_t most = longest_chunk(layout);
  index.for_each_record([&](const Record& record) {
    if (chunks_.empty() || chunks_.back().bytes.size() + kLongestRecord > most) {
      chunks_.emplace_back();
      chunks_.back().bytes.reserve(
          std::min<std::size_t>(most, index.totals().bytes() + kBlockSize));
      chunks_.back().bytes.resize(sizeof(EntryDisk));
    }
    encode(record, chunks_.back().bytes);
    ++chunks_.back().records;
  });
}

ByteCount Checkpoint::bytes() const {
  std::uint64_t blocks = 0;
  for (const Chunk& chunk : chunks_) blocks += entry_blocks(chunk.bytes.size() - sizeof(EntryDisk));
  return ByteCount{blocks * kBlockSize};
}

Status Checkpoint::write(IoEngine& engine, int fd, const Uuid& uuid, std::uint64_t generation,
                         unsigned slot) {
  check(bytes() <= layout_.checkpoint_bytes(), "a checkpoint fits in its area");
  ByteOffset place = layout_.checkpoint[slot];
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    std::vector<std::byte>& chunk = chunks_[i].bytes;
    const std::size_t length = chunk.size() - sizeof(EntryDisk);
    chunk.resize(entry_blocks(length) * kBlockSize);
    const EntryName name{uuid, generation, i, place, EntryKind::kCheckpoint, 0};
    seal_entry(name, length, chunks_[i].records, chunk);
    TRY_OK(write_and_wait(engine, fd, place, chunk));
    place += ByteCount{chunk.size()};
  }
  return {};
}

}  // namespace larder::store
