// SPDX-License-Identifier: Apache-2.0
// Load: what lies on a device, made into an index: superblock, checkpoint, journal.
//
// Nothing that is read is trusted before its sum was checked, and nothing that its sum vouches for
// is believed if it makes no sense. A damaged superblock or checkpoint: the other one, with the
// journal that follows it, which is the store of an earlier moment, unless the journal shows that
// it was overtaken; else nothing, and the store starts empty. No page is read.
//
// Thread: set-up, and the check.
#pragma once

#include <larder/io_engine.h>
#include <larder/result.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "store/index.h"
#include "store/journal.h"
#include "store/superblock.h"

namespace larder::store {

struct Loaded {
  Superblock superblock;
  std::unique_ptr<Index> index;
  JournalCursor cursor;
  std::uint64_t replayed = 0;              // records of the journal
  std::uint64_t discarded = 0;             // that made no sense
  std::vector<ObjectRef> broken_sessions;  // whose end was not recorded: they have lost their pages
};

enum class Finding : std::uint8_t {
  kStore,    // `loaded` is set
  kNothing,  // all zero: a store is to be created
  kUseless,  // ours, but of another format or damaged beyond use: to be created anew
  kForeign,  // not ours: to be left alone
};

struct Found {
  Finding finding = Finding::kNothing;
  std::optional<Loaded> loaded;
  std::uint64_t highest_generation = 0;  // that any readable superblock shows
  bool fell_back = false;                // not the newest: a checkpoint has to replace it at once
  std::vector<std::string> notes;        // lines for the log
};

Found find_store(IoEngine& engine, int fd, ByteCount size);

// What this superblock leads to; nullopt where its checkpoint or journal cannot be used.
std::optional<Loaded> load(IoEngine& engine, int fd, const Superblock& superblock);

}  // namespace larder::store
