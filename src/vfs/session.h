// SPDX-License-Identifier: Apache-2.0
// Session: the time in which an inode's pages are in the store but in no record.
//
// A *write* session runs from the first writable open to the RELEASE of the last (mapped pages come
// after FLUSH). A *volatile* one holds pages of a version whose time stamp is too fresh to tell it
// from the next (is_racy): they serve the open handles and go with the last. A crash inside either
// finds the old version with the old identity.
//
// The ranges in `written` are between "the share is being written" and "the store knows": the store
// is not asked for them, and fetches of them fill nothing. Each is taken out by the operation that
// tells the store.
//
// Guarded by the inode's lock.
#pragma once

#include <larder/identity.h>
#include <larder/units.h>

#include <optional>
#include <vector>

namespace larder {

struct WrittenRange {
  PageRange pages;
  std::uint64_t ticket = 0;
  bool answered = false;  // by the share
  // Another change of these pages was on the share at the same time, and only the share knows in
  // which order they came: what they hold is not known here.
  bool crossed = false;
};

struct Session {
  enum class Kind : std::uint8_t { kNone, kVolatile, kWrite };

  Kind kind = Kind::kNone;
  bool begun = false;      // the store was told, so it records nothing; else nothing may be filled
  unsigned writers = 0;    // writable handles
  bool wrote = false;      // bytes or size were changed through us
  bool explained = false;  // what the share showed at the start was what we knew
  bool fetched_fresh = false;  // pages of a stamp that the next write could bear too are cached
  Identity start;              // the share's at the start
  std::uint64_t expected_size = 0;
  std::optional<std::int64_t> own_mtime_ns;  // set by a utimens of ours, until the next write
  Nanoseconds began_share_ns = 0;
  Nanoseconds wrote_share_ns = 0;  // when the share had answered our last write
  bool unsent = false;             // what it answered may be on its way still, and unstamped
  std::uint64_t last_ticket = 0;
  std::vector<WrittenRange> written;

  bool open() const { return kind != Kind::kNone; }
  // Pages may go to the store: it records them, or knows that it must not.
  bool may_fill() const { return !open() || begun; }
  bool covers(PageRange pages) const {
    for (const WrittenRange& range : written)
      if (!intersect(range.pages, pages).empty()) return true;
    return false;
  }
  std::uint64_t begin_range(PageRange pages) {
    WrittenRange begun_range{.pages = pages, .ticket = ++last_ticket};
    for (WrittenRange& other : written) {
      if (other.answered || intersect(other.pages, pages).empty()) continue;
      other.crossed = begun_range.crossed = true;
    }
    written.push_back(begun_range);
    return last_ticket;
  }
  // The share has answered. Whether another change crossed it.
  bool answer_range(std::uint64_t ticket) {
    for (WrittenRange& range : written) {
      if (range.ticket != ticket) continue;
      range.answered = true;
      return range.crossed;
    }
    return true;
  }
  void end_range(std::uint64_t ticket) {
    std::erase_if(written, [&](const WrittenRange& range) { return range.ticket == ticket; });
  }
};

}  // namespace larder
