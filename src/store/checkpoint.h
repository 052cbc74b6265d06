// SPDX-License-Identifier: Apache-2.0
// Checkpoint: the index's image, on its way to the device a stretch at a time, while the index goes
// on changing.
//
// Begun under the index's lock, it is of that moment (index_image.cc). Its chunks go to its area,
// the chunks of sums that have changed to their other homes (sum_table.h). What is written is
// believed only when a superblock names it.
//
// Thread: whoever commits.
#pragma once

#include <larder/buffer.h>
#include <larder/io_engine.h>
#include <larder/result.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "base/mutex.h"
#include "store/entry.h"
#include "store/index.h"
#include "store/layout.h"

namespace larder::store {

std::size_t longest_chunk(const Layout& layout);  // bytes, with its header
// How many bytes of records surely fit in an area: Index::Totals::bytes() stays below.
std::uint64_t checkpoint_limit(const Layout& layout);

class Checkpoint {
 public:
  struct Where {
    int fd;
    Uuid uuid;
    std::uint64_t generation;
    unsigned slot;
  };
  // Those that have changed, to their other homes; or all that there are, since the homes of this
  // layout lie elsewhere.
  enum class Sums : std::uint8_t { kChanged, kAllMove };
  // REQUIRES: the index's lock; no other checkpoint of it is under way.
  Checkpoint(IoEngine& engine, const Layout& layout, Where where, Index& index,
             Sums sums = Sums::kChanged);

  // Writes `budget` bytes or a little more; no flush. Takes the index's lock for a fraction of a
  // millisecond at a time. Errors: kStoreIo, also of sums that could not be read; kStoreFull where
  // it does not fit in its area.
  Status step(Mutex& index_mutex, std::uint64_t budget);
  bool done() const { return stage_ == Stage::kDone; }
  // It is durable and a superblock names it, or else it is given up. REQUIRES: the index's lock.
  void settle();
  void abandon();

  std::uint64_t chunks() const { return chunks_; }
  ByteCount bytes() const { return bytes_; }  // written so far

 private:
  enum class Stage : std::uint8_t { kIndex, kSums, kHomes, kDone };
  Status encode_index(Mutex& index_mutex);
  std::uint64_t sum_chunks() const;
  Result<std::optional<SumTable::Written>> next_sums(SumTable::Sums& sums);
  Status write_sums();
  Status write_homes();
  Status add(Bytes records);
  Status write_chunk();

  IoEngine& engine_;
  const Layout layout_;
  const Where where_;
  Index& index_;
  const Sums sums_ahead_;
  Stage stage_ = Stage::kIndex;
  AlignedBuffer chunk_;   // room for the header, then records
  std::size_t used_ = 0;  // of it, without the header
  std::uint32_t records_ = 0;
  std::uint64_t chunks_ = 0, blocks_ = 0;
  ByteCount bytes_{};
  std::uint64_t next_sums_ = 0;
  AlignedBuffer sums_;
  std::vector<SumTable::Written> written_;
  std::optional<SumTable::Written> held_;  // of the next write
  SumTable::Sums held_sums_;
};

}  // namespace larder::store
