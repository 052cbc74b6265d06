// SPDX-License-Identifier: Apache-2.0
// What of the mount's options the file system itself goes by (Vfs).
#pragma once

#include <larder/clock.h>
#include <larder/options.h>

#include <cstdint>
#include <string>

#include "vfs/path_patterns.h"

namespace larder {

struct VfsOptions {
  std::string share;  // its path, to show
  Nanoseconds share_slow_ns = 2 * kSecond;
  std::uint64_t memory_bytes = 256 << 20;  // for inodes, listings, fetches and copies
  bool writeback_cache = false;            // the kernel gathers writes
  bool share_locks = false;                // locks=share
  bool direct_io = false;                  // every read reaches larder: for measuring
  StoreReads store_reads = StoreReads::kAuto;
  bool skip_flush = true;         // of handles that cannot write
  bool cache_directories = true;  // the kernel may keep listings that are trusted
  bool gives_files_away = false;  // larder is root: what it makes for others becomes theirs
  bool as_caller = false;         // creds=caller
  PathPatterns nocache{};         // files that are not cached
  bool passes_through = false;    // those the kernel may read and write by itself
  // How long a read waits for its turn at the store; then it goes to the share.
  Nanoseconds store_deadline_ns = 10 * kSecond;
  bool verify = false;  // nothing is served from the cache without asking (stale_answers.cc)
};

}  // namespace larder
