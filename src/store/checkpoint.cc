// SPDX-License-Identifier: Apache-2.0
#include "store/checkpoint.h"

#include <algorithm>
#include <utility>

namespace larder::store {
namespace {

constexpr std::uint64_t kSumsAtOnce = 256;  // chunks in one write

}  // namespace

std::size_t longest_chunk(const Layout& layout) {
  return std::min<std::size_t>(1u << 20, layout.checkpoint_blocks * kBlockSize);
}

// Totals count an object as its journal record, which is 8 bytes less than it takes here, and an
// extent as one with its sums, which is more.
std::uint64_t checkpoint_limit(const Layout& layout) {
  // A chunk ends before the first record that does not fit, and is padded to a block.
  const std::uint64_t chunk = longest_chunk(layout);
  const std::uint64_t usable = chunk - sizeof(EntryDisk) - kLongestRecord;
  const std::uint64_t homes = layout.sum_chunks * 2 * sizeof(HomeDisk);
  return layout.checkpoint_bytes().value() / chunk * usable / 8 * 7 - homes;
}

Checkpoint::Checkpoint(IoEngine& engine, const Layout& layout, Where where, Index& index, Sums sums)
    : engine_(engine),
      layout_(layout),
      where_(where),
      index_(index),
      sums_ahead_(sums),
      chunk_(longest_chunk(layout)),
      sums_(kSumsAtOnce * kBlockSize) {
  index_.begin_image();
  if (sums == Sums::kAllMove) index_.sums().begin_move({layout.sums.value(), layout.sum_chunks});
}

std::uint64_t Checkpoint::sum_chunks() const {
  return (layout_.data_blocks + SumTable::kChunk - 1) / SumTable::kChunk;
}

void Checkpoint::settle() {
  index_.end_image();
  index_.sums().settle(written_);
  index_.sums().end_move(true);
}

void Checkpoint::abandon() {
  index_.end_image();
  index_.sums().take_back(written_);
  index_.sums().end_move(false);
}

Status Checkpoint::step(Mutex& index_mutex, std::uint64_t budget) {
  const std::uint64_t until = bytes_.value() + budget;
  while (stage_ != Stage::kDone && bytes_.value() < until) {
    switch (stage_) {
      case Stage::kIndex:
        TRY_OK(encode_index(index_mutex));
        break;
      case Stage::kSums:
        TRY_OK(write_sums());
        break;
      case Stage::kHomes:
        TRY_OK(write_homes());
        break;
      case Stage::kDone:
        break;
    }
  }
  return {};
}

Status Checkpoint::encode_index(Mutex& index_mutex) {
  std::vector<std::byte> records;
  bool more = false;
  {
    const MutexLock lock(index_mutex);
    more = index_.image_step();
    records = index_.take_image();
  }
  TRY_OK(add(records));
  if (!more) stage_ = Stage::kSums;
  return {};
}

Status Checkpoint::add(Bytes records) {
  while (!records.empty()) {
    const std::size_t length = record_length(records);
    check(length != 0, "an image is whole records");
    if (sizeof(EntryDisk) + used_ + length > chunk_.size()) {
      TRY_OK(write_chunk());
    }
    std::copy_n(records.begin(), length, chunk_.data() + sizeof(EntryDisk) + used_);
    used_ += length;
    ++records_;
    records = records.subspan(length);
  }
  return {};
}

Status Checkpoint::write_chunk() {
  const std::uint64_t blocks = entry_blocks(used_);
  if (blocks_ + blocks > layout_.checkpoint_blocks) return fail(ErrorCode::kStoreFull);
  const ByteOffset place = layout_.checkpoint[where_.slot] + ByteCount{blocks_ * kBlockSize};
  const EntryName name{where_.uuid, where_.generation, chunks_, place, EntryKind::kCheckpoint, 0};
  seal_entry(name, used_, records_, chunk_.span());
  TRY_OK(write_and_wait(engine_, where_.fd, place, chunk_.span().first(blocks * kBlockSize)));
  ++chunks_;
  blocks_ += blocks;
  bytes_ += ByteCount{blocks * kBlockSize};
  used_ = records_ = 0;
  return {};
}

// The next chunk of sums that is to be written, into `sums`; nullopt: that was all.
Result<std::optional<SumTable::Written>> Checkpoint::next_sums(SumTable::Sums& sums) {
  SumTable& table = index_.sums();
  if (sums_ahead_ == Sums::kChanged) {
    next_sums_ = table.next_dirty(next_sums_);
    if (next_sums_ >= sum_chunks()) return std::nullopt;
    TRY(const SumTable::Written written, table.begin_write(next_sums_++, sums));
    return written;
  }
  while (next_sums_ < sum_chunks()) {
    TRY(const std::optional<SumTable::Written> written, table.begin_copy(next_sums_++, sums));
    if (written) return written;
  }
  return std::nullopt;
}

// Neighbours that go to neighbouring homes are one write.
Status Checkpoint::write_sums() {
  SumTable& table = index_.sums();
  SumTable::Sums sums;
  std::uint64_t count = 0, at = 0;
  while (count < kSumsAtOnce) {
    std::optional<SumTable::Written> next = std::exchange(held_, std::nullopt);
    if (next) {
      sums = held_sums_;
    } else {
      TRY(next, next_sums(sums));
      if (next) written_.push_back(*next);
    }
    if (!next) break;
    const std::uint64_t its = table.offset_of(*next);
    if (count != 0 && its != at + count * kBlockSize) {
      held_ = next;
      held_sums_ = sums;
      break;
    }
    if (count == 0) at = its;
    std::memcpy(sums_.data() + count * kBlockSize, sums.data(), sizeof sums);
    ++count;
  }
  if (count == 0) {
    stage_ = Stage::kHomes;
    return {};
  }
  TRY_OK(
      write_and_wait(engine_, where_.fd, ByteOffset{at}, sums_.span().first(count * kBlockSize)));
  bytes_ += ByteCount{count * kBlockSize};
  return {};
}

// Where each chunk of sums lies, once this checkpoint counts.
Status Checkpoint::write_homes() {
  SumTable& table = index_.sums();
  auto moved = written_.begin();
  for (std::uint64_t first = 0; first < sum_chunks(); first += kManyInRecord) {
    const std::uint64_t count = std::min<std::uint64_t>(sum_chunks() - first, kManyInRecord);
    ImageSumsDisk disk{};
    disk.header.kind = static_cast<std::uint8_t>(RecordKind::kImageSums);
    disk.header.length.set(static_cast<std::uint16_t>(sizeof disk + count * sizeof(HomeDisk)));
    disk.count.set(static_cast<std::uint32_t>(count));
    disk.first.set(first);
    const Bytes fixed = bytes_of(disk);
    std::vector<std::byte> record(fixed.begin(), fixed.end());
    for (std::uint64_t chunk = first; chunk < first + count; ++chunk) {
      SumTable::Home home = table.home(chunk);
      if (moved != written_.end() && moved->chunk == chunk) home = (moved++)->home;
      const HomeDisk one{Le32::of(home.sum), Le32::of(home.disk_place())};
      const Bytes bytes = bytes_of(one);
      record.insert(record.end(), bytes.begin(), bytes.end());
    }
    TRY_OK(add(record));
  }
  TRY_OK(write_chunk());
  stage_ = Stage::kDone;
  return {};
}

}  // namespace larder::store
