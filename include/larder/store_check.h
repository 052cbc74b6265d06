// SPDX-License-Identifier: Apache-2.0
// Check: are the invariants of store.h kept, by a store that runs or by one that lies on a device?
// One set of checks (src/store/invariants.h) serves tests, debug builds, `larderctl fsck` and
// `larderctl store`.
#pragma once

#include <larder/result.h>
#include <larder/store.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace larder::store {

// One line per breach, with the invariant's number; empty: all is well. Where nothing waits for a
// commit, what lies on the device is loaded too and compared (invariant 5). REQUIRES: nothing else
// uses the store meanwhile. Blocks.
std::vector<std::string> check_store(Store& store);

// What a part of the file is used for.
enum class Use : std::uint8_t {
  kSuperblock,
  kJournal,
  kCheckpoint,
  kSums,
  kFree,
  kUsed,
  kHot,
  kQuarantined
};
std::string_view to_text(Use use);

struct Region {
  ByteOffset at;
  ByteCount bytes;
  Use use;
};

// A store that nobody has opened, looked at without changing it.
struct Examined {
  std::vector<std::string> facts;     // "name: value"
  std::vector<std::string> notes;     // what an open mends by itself: a torn write, an older format
  std::vector<std::string> breaches;  // numbered as in store.h; pages that match no sum are 4
  std::vector<Region> regions;        // of the whole file, in order, without gaps
  std::uint64_t objects = 0, names = 0, extents = 0, pages = 0, wrong_pages = 0;
};

enum class Depth : std::uint8_t { kPages, kMetadata };  // kPages reads every page

// How far it is: bytes of pages read, of how many. Returns false to stop.
using Progress = std::function<bool(ByteCount done, ByteCount all)>;

// Complains where there is no store of ours (kStoreFormat), where it is in use (kStoreLocked) and
// where the file cannot be read. Blocks.
SetUp<Examined> examine(const std::string& path, Depth depth, const Progress& progress);

// Reads every page of a store that is open, as `progress` lets it, and compares it with its sum.
// What is wrong is dropped and quarantined, and counted in `sum_errors` or `read_errors`. To
// eviction it is no use of the pages. Blocks; returns early where the store is closed meanwhile.
void read_all_pages(Store& store, const Progress& progress);

// The structures as text, one line each: superblocks, chunks of the checkpoint, entries of the
// journal, objects, names, extents. `print` gets it in pieces. Complaints as above.
SetUp<bool> dump(const std::string& path, const std::function<void(std::string_view)>& print);

// Opens the store as a mount does, which discards what makes no sense, drops pages that do not
// match their sums and closes it in order. One line for each thing that was done. Blocks.
SetUp<std::vector<std::string>> repair(const std::string& path, const Progress& progress);

}  // namespace larder::store
