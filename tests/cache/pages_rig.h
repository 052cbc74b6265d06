// SPDX-License-Identifier: Apache-2.0
// The data calls on a real store and one thread, and a read and a write that note what becomes of
// them.
#pragma once

#include <larder/pages.h>

#include <optional>
#include <vector>

#include "cache/store_rig.h"

namespace larder::test {

constexpr PageRange run(std::uint64_t first, std::uint64_t count) {
  return {PageIndex{first}, PageCount{count}};
}

struct Read : PageRead {
  explicit Read(PageRange range) : buffer(range.count.value() * kPageSize) {
    pages = range;
    into = buffer.span();
    end_io = [](PageRead& self, PageRange is) { static_cast<Read&>(self).got.push_back(is); };
    ended = [](PageRead& self, PageResult result) { static_cast<Read&>(self).late = result; };
  }
  AlignedBuffer buffer;
  std::vector<PageRange> got;
  std::optional<PageResult> late;
};

struct Write : PageWrite {
  explicit Write(PageRange range, std::byte with = std::byte{7})
      : buffer(range.count.value() * kPageSize) {
    for (std::byte& byte : buffer.span()) byte = with;
    pages = range;
    data = buffer.span();
    file_size = ByteCount{kPageSize * 4};
    stored = [](PageWrite& self, Status outcome) {
      static_cast<Write&>(self).status = outcome;
      ++static_cast<Write&>(self).calls_of_stored;
    };
  }
  AlignedBuffer buffer;
  std::optional<Status> status;
  int calls_of_stored = 0;
};

struct PagesRig : Rig {
  using Rig::Rig;
  Pages calls{*fs};
  PageResult read(const CookieRef& cookie, PageRange range) {
    Read one(range);
    const PageResult result = calls.read_or_alloc_pages(cookie, one);
    settle();
    return result == PageResult::kWaits ? *one.late : result;
  }
  void store_pages(const CookieRef& cookie, PageRange range) {
    Write one(range);
    REQUIRE(calls.write_pages(cookie, one) == PageResult::kDone);
    settle();
    REQUIRE(one.status->has_value());
  }
};

}  // namespace larder::test
