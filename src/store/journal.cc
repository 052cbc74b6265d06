// SPDX-License-Identifier: Apache-2.0
#include "store/journal.h"

#include <larder/result.h>

#include <algorithm>

namespace larder::store {

std::size_t Journal::longest_entry(const Layout& layout) {
  return std::min<std::size_t>(1u << 20, layout.journal_blocks / 8 * kBlockSize);
}

Journal::Journal(IoEngine& engine, int fd, const Layout& layout, const Uuid& uuid,
                 JournalCursor cursor)
    : engine_(engine),
      fd_(fd),
      layout_(layout),
      uuid_(uuid),
      buffer_(longest_entry(layout)),
      cursor_(cursor) {}

std::uint64_t Journal::append(const Record& record, bool& first) {
  const MutexLock lock(mutex_);
  first = waiting_.empty();
  encode(record, waiting_);
  return ++appended_;
}

std::uint64_t Journal::skip() {
  const MutexLock lock(mutex_);
  waiting_.clear();
  return ++appended_;
}

std::uint64_t Journal::appended() const {
  const MutexLock lock(mutex_);
  return appended_;
}

Journal::Batch Journal::take() {
  const MutexLock lock(mutex_);
  Batch batch;
  batch.bytes.swap(waiting_);
  batch.last = appended_;
  return batch;
}

// Counted as if every entry were the longest and had to skip the end of the ring once.
bool Journal::idle() const {
  const MutexLock lock(mutex_);
  return waiting_.empty();
}

bool Journal::fits(const Batch& batch) const {
  const std::uint64_t entry = buffer_.size() / kBlockSize;
  const std::uint64_t room_in_entry = buffer_.size() - sizeof(EntryDisk) - kLongestRecord;
  const std::uint64_t entries = batch.bytes.size() / room_in_entry + 1;
  const std::uint64_t blocks = entry_blocks(batch.bytes.size()) + entries * 2 + entry;
  return cursor_.used + blocks <= layout_.journal_blocks;
}

bool Journal::wants_checkpoint() const { return cursor_.used * 2 > layout_.journal_blocks; }

Status Journal::write(const Batch& batch) {
  Bytes rest = batch.bytes;
  const std::size_t most = buffer_.size() - sizeof(EntryDisk);
  while (!rest.empty()) {
    std::size_t taken = 0;
    std::uint32_t records = 0;
    while (taken < rest.size()) {
      const std::size_t length = record_length(rest.subspan(taken));
      check(length != 0, "what waits is whole records");
      if (taken + length > most) break;
      taken += length;
      ++records;
    }
    TRY_OK(write_entry(rest.first(taken), records));
    rest = rest.subspan(taken);
  }
  return {};
}

Status Journal::write_entry(Bytes records, std::uint32_t count) {
  const std::uint64_t blocks = entry_blocks(records.size());
  if (cursor_.position + blocks > layout_.journal_blocks) {
    cursor_.used += layout_.journal_blocks - cursor_.position;
    cursor_.position = 0;
  }
  check(cursor_.used + blocks <= layout_.journal_blocks, "the journal does not overtake itself");
  const EntryName name{uuid_,
                       cursor_.generation,
                       cursor_.sequence,
                       layout_.journal + ByteCount{cursor_.position * kBlockSize},
                       EntryKind::kJournal,
                       cursor_.previous};
  std::copy(records.begin(), records.end(), buffer_.data() + sizeof(EntryDisk));
  cursor_.previous = seal_entry(name, records.size(), count, buffer_.span());
  const ByteCount bytes{blocks * kBlockSize};
  TRY_OK(write_and_wait(engine_, fd_, name.place, buffer_.span().first(bytes.value())));
  written_ += bytes;
  ++cursor_.sequence;
  cursor_.position = (cursor_.position + blocks) % layout_.journal_blocks;
  cursor_.used += blocks;
  return {};
}

void Journal::restart(std::uint64_t generation) {
  cursor_.generation = generation;
  cursor_.used = 0;
  cursor_.previous = 0;
}

void Journal::move(const Layout& layout, std::uint64_t generation) {
  layout_ = layout;
  buffer_ = AlignedBuffer(longest_entry(layout));
  restart(generation);
  cursor_.position = 0;
}

}  // namespace larder::store
