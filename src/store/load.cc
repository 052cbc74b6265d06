// SPDX-License-Identifier: Apache-2.0
#include "store/load.h"

#include <fmt/core.h>
#include <larder/buffer.h>

#include <algorithm>
#include <deque>
#include <utility>

#include "base/mutex.h"
#include "io/thread.h"
#include "store/checkpoint.h"

namespace larder::store {
namespace {

// A record of a checkpoint: of an image, or a name or value.
bool restore(Bytes record, Loaded& loaded) {
  const auto kind = static_cast<RecordKind>(disk_from<RecordHeader>(record).kind);
  const Layout& layout = loaded.superblock.layout;
  // No more objects than the area has ever held.
  if (kind == RecordKind::kImageStart &&
      (record.size() < sizeof(ImageStartDisk) ||
       disk_from<ImageStartDisk>(record).slots.get() >
           layout.checkpoint_bytes().value() / sizeof(ObjectDisk)))
    return false;
  if (kind >= RecordKind::kImageStart)
    return loaded.index->restore(kind, record, layout.data_blocks);
  const auto decoded = decode_next(record);
  DeadList dead;
  return decoded && loaded.index->apply(*decoded, layout.data_blocks, dead);
}

bool restore_all(const Entry& entry, Loaded& loaded) {
  Bytes rest = entry.records;
  std::uint32_t seen = 0;
  for (std::size_t length = 0; !rest.empty(); rest = rest.subspan(length), ++seen) {
    length = record_length(rest);
    if (length == 0) return false;
    if (!restore(rest.first(length), loaded)) ++loaded.discarded;
  }
  return seen == entry.header.records.get();
}

// Applies an entry's records. False: they are not what the header says, though the sum is right;
// then none is.
bool apply_all(const Entry& entry, Loaded& loaded, std::uint64_t& applied) {
  std::uint32_t seen = 0;
  for (Bytes rest = entry.records; !rest.empty(); ++seen) {
    const std::size_t length = record_length(rest);
    if (length == 0) return false;
    rest = rest.subspan(length);
  }
  if (seen != entry.header.records.get()) return false;
  Bytes rest = entry.records;
  DeadList dead;
  while (!rest.empty()) {
    const auto record = decode_next(rest);
    const bool done =
        record && loaded.index->apply(*record, loaded.superblock.layout.data_blocks, dead);
    ++(done ? applied : loaded.discarded);
    dead.clear();
  }
  return true;
}

// The chunks of a checkpoint, one by one.
class Chunks {
 public:
  Chunks(IoEngine& engine, int fd, const Superblock& superblock)
      : engine_(engine), fd_(fd), superblock_(superblock) {}

  std::uint64_t left() const { return superblock_.checkpoint_chunks - next_; }
  // The next one, checked; nullopt: it cannot be used.
  std::optional<Entry> read(std::span<std::byte> buffer) {
    const Layout& layout = superblock_.layout;
    if (block_ >= layout.checkpoint_blocks) return std::nullopt;
    const std::uint64_t room = (layout.checkpoint_blocks - block_) * kBlockSize;
    const auto into = buffer.first(std::min<std::size_t>(buffer.size(), room));
    const ByteOffset place = layout.checkpoint[superblock_.slot] + ByteCount{block_ * kBlockSize};
    auto entry = read_entry(engine_, fd_, superblock_.uuid, place, into);
    if (!entry || entry->header.kind.get() != static_cast<std::uint32_t>(EntryKind::kCheckpoint))
      return std::nullopt;
    if (entry->header.generation.get() != superblock_.generation) return std::nullopt;
    if (entry->header.sequence.get() != next_) return std::nullopt;
    block_ += entry_blocks(entry->header.length.get());
    ++next_;
    return entry;
  }

 private:
  IoEngine& engine_;
  const int fd_;
  const Superblock& superblock_;
  std::uint64_t next_ = 0, block_ = 0;
};

// Chunks that a second thread reads and checks while the one before is made an index.
class ChunksAhead {
 public:
  explicit ChunksAhead(Chunks& chunks, std::size_t longest)
      : chunks_(chunks), thread_("larder-load", [this] { read_all(); }) {
    const MutexLock lock(mutex_);
    for (std::size_t i = 0; i < kBuffers; ++i) free_.emplace_back(longest);
    wake_.notify_all();
  }
  ~ChunksAhead() {
    {
      const MutexLock lock(mutex_);
      given_up_ = true;
      wake_.notify_all();
    }
    thread_.join();
  }
  // nullopt: it cannot be used. The one of before is given back.
  std::optional<Entry> next() {
    const MutexLock lock(mutex_);
    if (in_use_.size() != 0) free_.push_back(std::exchange(in_use_, {}));
    wake_.notify_all();
    while (ready_.empty()) wake_.wait(mutex_);
    Ready ready = std::move(ready_.front());
    ready_.pop_front();
    in_use_ = std::move(ready.buffer);
    return ready.entry;
  }

 private:
  static constexpr std::size_t kBuffers = 3;
  struct Ready {
    AlignedBuffer buffer;
    std::optional<Entry> entry;
  };
  void read_all() {
    while (chunks_.left() != 0) {
      AlignedBuffer buffer;
      {
        const MutexLock lock(mutex_);
        while (free_.empty() && !given_up_) wake_.wait(mutex_);
        if (given_up_) return;
        buffer = std::move(free_.back());
        free_.pop_back();
      }
      auto entry = chunks_.read(buffer.span());
      const bool good = entry.has_value();
      const MutexLock lock(mutex_);
      ready_.push_back({std::move(buffer), std::move(entry)});
      wake_.notify_all();
      if (!good) return;
    }
  }

  Chunks& chunks_;
  Mutex mutex_{Rank::kQueue};
  CondVar wake_;
  std::vector<AlignedBuffer> free_ GUARDED_BY(mutex_);
  std::deque<Ready> ready_ GUARDED_BY(mutex_);
  AlignedBuffer in_use_ GUARDED_BY(mutex_);
  bool given_up_ GUARDED_BY(mutex_) = false;
  Thread thread_;
};

constexpr std::uint64_t kManyChunks = 16;  // that are worth a thread

bool restore_chunks(IoEngine& engine, int fd, Loaded& loaded) {
  Chunks chunks(engine, fd, loaded.superblock);
  const std::size_t longest = longest_chunk(loaded.superblock.layout);
  const std::uint64_t count = loaded.superblock.checkpoint_chunks;
  if (count < kManyChunks) {
    AlignedBuffer buffer(longest);
    while (chunks.left() != 0) {
      const auto entry = chunks.read(buffer.span());
      if (!entry || !restore_all(*entry, loaded)) return false;
    }
    return true;
  }
  ChunksAhead ahead(chunks, longest);
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto entry = ahead.next();
    if (!entry || !restore_all(*entry, loaded)) return false;
  }
  return true;
}

bool load_checkpoint(IoEngine& engine, int fd, Loaded& loaded) {
  const bool good = restore_chunks(engine, fd, loaded);
  loaded.discarded += loaded.index->end_restore();
  return good;
}

class Replay {
 public:
  Replay(IoEngine& engine, int fd, Loaded& loaded)
      : engine_(engine),
        fd_(fd),
        loaded_(loaded),
        layout_(loaded.superblock.layout),
        buffer_(Journal::longest_entry(layout_)) {}

  // False: a later checkpoint than this superblock's has begun a journal of its own here.
  bool run() {
    for (;;) {
      if (step_at(loaded_.cursor.position)) continue;
      if (overtaken_) return false;
      // An entry that did not fit before the end of the ring begins at its start.
      const std::uint64_t skipped = layout_.journal_blocks - loaded_.cursor.position;
      if (loaded_.cursor.position == 0 || loaded_.cursor.used + skipped >= layout_.journal_blocks)
        break;
      const JournalCursor before = loaded_.cursor;
      loaded_.cursor.used += skipped;
      if (step_at(0)) continue;
      loaded_.cursor = before;
      break;
    }
    return !overtaken_;
  }

 private:
  bool step_at(std::uint64_t position) {
    JournalCursor& cursor = loaded_.cursor;
    const std::uint64_t left =
        std::min(layout_.journal_blocks - position, layout_.journal_blocks - cursor.used);
    if (left == 0) return false;
    const auto into =
        buffer_.span().first(std::min<std::size_t>(buffer_.size(), left * kBlockSize));
    const ByteOffset place = layout_.journal + ByteCount{position * kBlockSize};
    const auto entry = read_entry(engine_, fd_, loaded_.superblock.uuid, place, into);
    if (!entry) return false;
    const EntryDisk& header = entry->header;
    overtaken_ =
        overtaken_ || header.generation.get() > cursor.generation ||
        (header.generation.get() == cursor.generation && header.sequence.get() > cursor.sequence);
    if (header.kind.get() != static_cast<std::uint32_t>(EntryKind::kJournal)) return false;
    if (header.generation.get() != cursor.generation || header.sequence.get() != cursor.sequence)
      return false;
    if (header.previous.get() != cursor.previous) return false;
    if (!apply_all(*entry, loaded_, loaded_.replayed)) return false;
    const std::uint64_t blocks = entry_blocks(header.length.get());
    cursor.previous = header.sum.get();
    ++cursor.sequence;
    cursor.position = (position + blocks) % layout_.journal_blocks;
    cursor.used += blocks;
    return true;
  }

  IoEngine& engine_;
  const int fd_;
  Loaded& loaded_;
  const Layout layout_;
  AlignedBuffer buffer_;
  bool overtaken_ = false;
};

// What the records leave to be worked out.
void settle(Loaded& loaded) {
  loaded.index->set_next_id(std::max(loaded.index->next_id(), loaded.superblock.next_object));
  // A tail page is recorded with the size that it is valid for.
  for (std::size_t slot = 0; slot < loaded.index->slots(); ++slot) {
    Object* object = loaded.index->in_slot(slot);
    if (object == nullptr) continue;
    if (object->in_session) {
      DeadList dead;
      loaded.index->drop_all(*object, dead);
      object->in_session = false;
      loaded.broken_sessions.emplace_back(object);
    }
    const bool has_tail = object->size.value() % kPageSize != 0 &&
                          object->find(page_of(ByteOffset{object->size.value()})) != nullptr;
    if (has_tail) object->tail_size = object->size;
  }
}

// A look at a few places: is there anything at all in this file?
bool looks_empty(IoEngine& engine, int fd, ByteCount size) {
  constexpr std::uint64_t kPlaces = 64;
  AlignedBuffer block(kBlockSize);
  const std::uint64_t blocks = size.value() / kBlockSize;
  for (std::uint64_t i = 0; i < 2 * kPlaces; ++i) {
    // The first blocks one by one, then evenly over the rest.
    const std::uint64_t at = i < kPlaces ? i : i * (blocks - 1) / (2 * kPlaces - 1);
    if (!engine.read_now(fd, ByteOffset{at * kBlockSize}, block.span())) continue;
    const auto bytes = block.span();
    if (std::any_of(bytes.begin(), bytes.end(), [](std::byte b) { return b != std::byte{0}; }))
      return false;
  }
  return true;
}

struct Candidates {
  std::vector<Superblock> valid;  // newest first
  bool ours = false, other_format = false;
};

Candidates read_superblocks(IoEngine& engine, int fd, ByteCount size, Found& found) {
  Candidates candidates;
  AlignedBuffer block(sizeof(SuperblockDisk));
  for (unsigned slot = 0; slot < kSuperblockOffset.size(); ++slot) {
    if (!engine.read_now(fd, ByteOffset{kSuperblockOffset[slot]}, block.span())) continue;
    Superblock superblock;
    const auto disk = disk_from<SuperblockDisk>(block.span());
    switch (decode(disk, slot, superblock)) {
      case SuperblockState::kValid:
        candidates.ours = true;
        if (superblock.layout.size > size) {
          found.notes.push_back("store: the file is shorter than its store was");
          break;
        }
        found.highest_generation = std::max(found.highest_generation, superblock.generation);
        candidates.valid.push_back(superblock);
        break;
      case SuperblockState::kOtherFormat:
        candidates.ours = candidates.other_format = true;
        break;
      case SuperblockState::kDamaged:
        candidates.ours = true;
        found.notes.push_back(fmt::format("store: superblock {} is damaged", slot));
        break;
      case SuperblockState::kZero:
      case SuperblockState::kForeign:
        break;
    }
  }
  std::sort(candidates.valid.begin(), candidates.valid.end(),
            [](const Superblock& a, const Superblock& b) { return a.generation > b.generation; });
  return candidates;
}

}  // namespace

std::optional<Loaded> load(IoEngine& engine, int fd, const Superblock& superblock) {
  Loaded loaded;
  loaded.superblock = superblock;
  loaded.index = std::make_unique<Index>(superblock.layout.data_blocks);
  const Layout layout = superblock.layout;
  loaded.index->sums().set_source({layout.sums.value(), layout.sum_chunks},
                                  [&engine, fd](std::uint64_t at, SumTable::Sums& into) {
                                    return engine.read_now(fd, ByteOffset{at},
                                                           std::as_writable_bytes(std::span{into}));
                                  });
  loaded.cursor.generation = superblock.journal_generation;
  loaded.cursor.previous = superblock.journal_previous;
  loaded.cursor.sequence = superblock.first_sequence;
  loaded.cursor.position = superblock.journal_position;
  if (!load_checkpoint(engine, fd, loaded)) return std::nullopt;
  // The journal does not say when they were used: in the future, which is to say nobody knows.
  if (superblock.use_tick_ns > 0) {
    const auto tick =
        static_cast<std::uint64_t>(superblock.written_wall_ns / superblock.use_tick_ns);
    loaded.index->set_tick(static_cast<unsigned>((tick + 1) % Extent::kAges));
  }
  if (!Replay(engine, fd, loaded).run()) return std::nullopt;
  settle(loaded);
  return loaded;
}

Found find_store(IoEngine& engine, int fd, ByteCount size) {
  Found found;
  const Candidates candidates = read_superblocks(engine, fd, size, found);
  for (const Superblock& superblock : candidates.valid) {
    found.loaded = load(engine, fd, superblock);
    if (found.loaded) {
      found.finding = Finding::kStore;
      found.fell_back =
          superblock.generation != found.highest_generation || candidates.valid.size() < 2;
      return found;
    }
    found.notes.push_back(fmt::format("store: the checkpoint of generation {} cannot be used",
                                      superblock.generation));
  }
  if (candidates.ours) {
    found.finding = Finding::kUseless;
    found.notes.push_back(candidates.other_format && candidates.valid.empty()
                              ? "store: of another format; it starts anew, empty"
                              : "store: too damaged to be used; it starts anew, empty");
  } else if (!looks_empty(engine, fd, size)) {
    found.finding = Finding::kForeign;
  }
  return found;
}

}  // namespace larder::store
