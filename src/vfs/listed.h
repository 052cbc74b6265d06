// SPDX-License-Identifier: Apache-2.0
// Listed: the names of one directory as the share listed them, each at a place of its own; and what
// the kernel keeps of them.
//
// A place is the offset that a reader goes on from behind the entry. A name keeps its place from
// one listing to the next as long as somebody reads the earlier one, and no place is given twice in
// the life of an inode: so an offset still means the same when names came and went in between.
//
// The kernel can keep a listing in its page cache (FOPEN_CACHE_DIR) and answer readdir from it. It
// is asked to only where an open trusts what is known (ttl, immutable), and it keeps what it has
// (FOPEN_KEEP_CACHE) only where that is the listing that the open trusts. Invariants:
//   1. What the kernel keeps is never of an older listing than `number_`: handles that fill its
//      cache are all of one listing, and another one begins when the last of them is closed.
//   2. It is kept only if the kernel knows all its names, and not beyond the trust of these: else
//      they are asked for at once, by a listing with attributes, instead of one by one.
#pragma once

#include <larder/netfs.h>
#include <larder/units.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

namespace larder {

struct Listed {
  static constexpr std::uint64_t kDot = 1,
                                 kDotDot = 2;  // places of what each directory begins with

  std::vector<Dirent> entries;        // in the order of their places
  std::vector<std::uint64_t> places;  // of entries; ascending, above kDotDot
  std::uint64_t number = 0;           // which listing of its directory; from 1
  Nanoseconds asked_mono_ns = 0;

  // The index of the first entry behind `offset`.
  std::size_t first_behind(std::uint64_t offset) const {
    return static_cast<std::size_t>(std::ranges::upper_bound(places, offset) - places.begin());
  }
};
using ListedRef = std::shared_ptr<const Listed>;

// Gives the names their places. Thread: guarded by its inode's mutex.
class Places {
 public:
  ListedRef number(std::vector<Dirent> entries, Nanoseconds asked_mono_ns);

 private:
  void keep_places(Listed& listed, const Listed& before) const;
  void give_places(Listed& listed);

  std::weak_ptr<const Listed> last_;
  std::uint64_t last_place_ = Listed::kDotDot;
  std::uint64_t last_number_ = 0;
};

// Which listing the kernel keeps. Thread: guarded by its inode's mutex.
class KernelListing {
 public:
  struct Offer {
    bool keeps = false;  // what the kernel has is right
    bool fills = false;  // it may keep what it reads; close() is owed
  };
  // What an open is told that trusts `known` (null: nothing is).
  Offer open(const Listed* known, Nanoseconds now_mono_ns);
  void close() { --handles_; }
  // A handle that fills took this one to read from.
  void took(const Listed& listed) {
    if (number_ == 0) number_ = listed.number;
  }
  // Some of its names went to the kernel, which trusts them until then; 0: it knows not all.
  void told_names(const Listed& listed, Nanoseconds until_mono_ns) {
    if (listed.number == number_)
      names_until_mono_ns_ = std::min(names_until_mono_ns_, until_mono_ns);
  }
  // The kernel knows one of the names no more.
  void lost_name() { names_until_mono_ns_ = 0; }

 private:
  static constexpr Nanoseconds kAlways = std::numeric_limits<Nanoseconds>::max();
  std::uint64_t number_ = 0;  // 0: none yet
  unsigned handles_ = 0;      // that fill
  Nanoseconds names_until_mono_ns_ = 0;
};

// What larder keeps of a directory besides its attributes.
struct DirectoryState {
  Places places;
  KernelListing kernel;
};

}  // namespace larder
