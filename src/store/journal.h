// SPDX-License-Identifier: Apache-2.0
// Journal: records that wait for their commit, and the ring that commits are written to.
//
// Records are numbered from 1 in the order of append(), which is the order of the changes (all are
// appended under the store's index lock). A commit takes all that wait and writes them as one
// entry, or several where they are many; the flush behind it is the caller's.
//
// Entries do not wrap: one that does not fit before the end of the ring begins at its start, and a
// reader looks in both places. An entry carries the generation of the checkpoint it follows, its
// sequence and the sum of the entry before, so that what an earlier life left behind a torn entry
// is never taken for what follows it. The ring is never written full: a checkpoint comes first, and
// what lies behind the last but one superblock mostly stays readable in case the last one is
// damaged.
//
// Thread: append(), waiting() any; all else only whoever commits (one at a time, see committer.h).
#pragma once

#include <larder/buffer.h>
#include <larder/io_engine.h>

#include <cstdint>
#include <vector>

#include "base/mutex.h"
#include "store/entry.h"
#include "store/layout.h"
#include "store/record_codec.h"

namespace larder::store {

// Where the next entry goes and what it must follow.
struct JournalCursor {
  std::uint64_t generation = 0;  // since it was last begun anew
  std::uint64_t sequence = 1;
  std::uint64_t position = 0;  // block in the ring
  std::uint64_t used = 0;      // blocks since the checkpoint
  std::uint32_t previous = 0;
};

class Journal {
 public:
  Journal(IoEngine& engine, int fd, const Layout& layout, const Uuid& uuid, JournalCursor cursor);

  // The number of this record. `first` becomes true where none was waiting.
  std::uint64_t append(const Record& record, bool& first);
  // A number for a record that no entry will have: what waits is in vain too.
  std::uint64_t skip();
  std::uint64_t appended() const;

  struct Batch {
    std::vector<std::byte> bytes;
    std::uint64_t last = 0;  // its last record's number
  };
  Batch take();       // all that wait
  bool idle() const;  // nothing waits

  bool fits(const Batch& batch) const;
  Status write(const Batch& batch);               // no flush
  ByteCount written() const { return written_; }  // in all
  bool wants_checkpoint() const;                  // half of the ring is used
  const JournalCursor& cursor() const { return cursor_; }
  // A checkpoint is durable that was begun when `used` blocks of the ring were: those are free.
  void forget(std::uint64_t used) { cursor_.used -= used; }
  // A checkpoint is durable that has taken up what was in no entry: begun anew under this
  // generation, with all of the ring free.
  void restart(std::uint64_t generation);
  // The same, in the ring of another layout.
  void move(const Layout& layout, std::uint64_t generation);

  static std::size_t longest_entry(const Layout& layout);  // bytes, with its header

 private:
  Status write_entry(Bytes records, std::uint32_t count);

  IoEngine& engine_;
  const int fd_;
  Layout layout_;
  const Uuid uuid_;
  AlignedBuffer buffer_;
  JournalCursor cursor_;
  ByteCount written_{};

  mutable Mutex mutex_{Rank::kStoreJournal};
  std::vector<std::byte> waiting_ GUARDED_BY(mutex_);
  std::uint64_t appended_ GUARDED_BY(mutex_) = 0;
};

}  // namespace larder::store
