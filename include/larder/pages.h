// SPDX-License-Identifier: Apache-2.0
// Pages: the data calls of FS-Cache, over ranges of pages: read_or_alloc_pages, alloc_pages,
// write_pages, uncache_pages, readpages_cancel, maybe_release.
//
// They are thin: each is one operation on the cookie (<larder/cookie.h>) around the store's one
// read and one fill. A netfs that is built on whole requests uses those directly; this is for one
// that thinks in pages, and for who knows FS-Cache.
//
// A null cookie is legal in every call and caches nothing. No call blocks: what would wait for a
// look-up or behind an exclusive operation says kWaits, and `ended` is called later.
#pragma once

#include <larder/cookie.h>
#include <larder/result.h>
#include <larder/store.h>
#include <larder/units.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace larder::cache {

// What became of the pages of a call. A call over several gives the first of these that holds for
// any of them: FS-Cache's order, in which a general error comes first and 0 last.
enum class PageResult : std::uint8_t {
  kInterrupted,  // -ERESTARTSYS: taken back, or invalidated before it ran: nothing was done
  kNoBufs,       // -ENOBUFS: cannot be cached: fetch them, and do not write them
  kNoData,       // -ENODATA, of reads alone: not cached; there is room: fetch them, and write them
  kDone,         // 0: read; or reserved; or taken to be written
  kWaits,        // not known yet: `ended` will be called. The kernel waits inside the call
};

// The caller's, until the call returned anything but kWaits, or `ended` was called.
struct PageRead : Operation {
  PageRange pages{};
  std::span<std::byte> into;  // page-aligned, holds the range
  // A run of pages was read, and its sums match: the bytes are in place. Called from within
  // read_or_alloc_pages, or before `ended`, in the order of the pages.
  void (*end_io)(PageRead& self, PageRange run) = nullptr;
  // Behind kWaits only; on the answer queue. `to_fetch` is complete.
  void (*ended)(PageRead& self, PageResult result) = nullptr;

  // The runs that were not read, in order.
  std::vector<PageRange> to_fetch;
  class Pages* calls = nullptr;
};

struct PageWrite : Operation {
  PageRange pages{};
  std::span<const std::byte> data;  // whole pages, page-aligned, a tail page padded with zeros
  ByteCount file_size{};
  // Called once if write_pages() took it, on a queue's or an engine's thread: stored; kStale where
  // the content has changed since; kCancelled; kStoreFull; kStoreIo. What is not stored is a miss.
  void (*stored)(PageWrite& self, Status status) = nullptr;

  class Pages* calls = nullptr;
  CookieRef cookie;
  std::uint16_t invalidations = 0;  // of the cookie, when it was called
  PageWrite* next_write = nullptr;
  struct Filling : store::Fill {
    PageWrite* write = nullptr;
  } fill;
};

enum class Release : std::uint8_t {
  kReleased,  // no page of the range is being stored, or that was taken back
  kBusy,      // one is: try again when it is stored
};

class Pages {
 public:
  explicit Pages(FsCache& cache);
  ~Pages();  // REQUIRES: every read and write has ended

  // kNoBufs: none of them can be cached. kNoData: those in `to_fetch` are not cached; while nothing
  // at all is (NO_DATA_YET), that is known without asking the store.
  PageResult read_or_alloc_pages(const CookieRef& cookie, PageRead& read);
  // Room for pages that are about to be overwritten, so that nothing is read: kDone where
  // write_pages may follow, else kNoBufs. Nothing is held for it: the store makes room for what is
  // written.
  PageResult alloc_pages(const CookieRef& cookie, PageRange pages);
  // kDone: taken, and `stored` will be called; kNoBufs: not, also where the pages reach beyond the
  // file's end.
  PageResult write_pages(const CookieRef& cookie, PageWrite& write);
  // The netfs forgets these pages: what of them waits to be stored is taken back. What is stored
  // stays.
  void uncache_pages(const CookieRef& cookie, PageRange pages);
  // Of a read: the netfs did not fetch these after all, and will not write them.
  void readpages_cancel(const CookieRef& cookie, PageRange pages);
  // May the memory of these pages be used for something else now? Never waits.
  Release maybe_release(const CookieRef& cookie, PageRange pages);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace larder::cache
