// SPDX-License-Identifier: Apache-2.0
// The extents of objects: put in, cut, dropped.
#include <larder/result.h>

#include <algorithm>

#include "store/index.h"

namespace larder::store {
namespace {

ExtentRef make_extent(PageRange range, std::uint64_t block, std::unique_ptr<std::uint32_t[]> sums) {
  ExtentRef extent(new Extent);
  extent->range = range;
  extent->block = block;
  extent->sums = std::move(sums);
  return extent;
}

// The part of `whole` that `range` names, as an extent of its own.
ExtentRef piece_of(Extent& whole, PageRange range) {
  const std::uint64_t skip = range.first.value() - whole.range.first.value();
  std::unique_ptr<std::uint32_t[]> sums;
  if (!whole.zeros()) {
    sums = std::make_unique<std::uint32_t[]>(range.count.value());
    std::copy_n(whole.sums.get() + skip, range.count.value(), sums.get());
  }
  ExtentRef piece =
      make_extent(range, whole.zeros() ? kNoBlock : whole.block + skip, std::move(sums));
  if (whole.pinned()) piece->parent = &whole;
  return piece;
}

}  // namespace

Extent* Object::find(PageIndex page) const {
  auto at = extents.upper_bound(page.value());
  if (at == extents.begin()) return nullptr;
  --at;
  return at->second->range.contains(page) ? at->second.get() : nullptr;
}

Extent& Index::place(Object& object, ExtentRef extent, ByAge::iterator before) {
  Extent& placed = *extent;
  placed.owner = &object;
  by_age_.insert(before, placed);
  ++totals_.extents;
  totals_.bytes += extent_size(placed.pages(), placed.block);
  object.cached_pages += placed.range.count.value();
  object.extents.emplace(placed.range.first.value(), std::move(extent));
  return placed;
}

// Takes `range` out of the extent at `at`; what is left of it keeps its age. REQUIRES: they share
// pages.
void Index::cut(Object& object, Object::Extents::iterator at, PageRange range, DeadList& dead) {
  const ExtentRef whole = at->second;
  const PageRange gone = intersect(whole->range, range);
  object.extents.erase(at);
  const auto next = by_age_.erase(by_age_.iterator_to(*whole));
  --totals_.extents;
  totals_.bytes -= extent_size(whole->pages(), whole->block);
  object.cached_pages -= whole->range.count.value();
  whole->owner = nullptr;
  if (whole->range.first < gone.first) {
    place(object, piece_of(*whole, {whole->range.first, gone.first - whole->range.first}), next);
  }
  if (gone.end() < whole->range.end()) {
    place(object, piece_of(*whole, {gone.end(), whole->range.end() - gone.end()}), next);
  }
  if (whole->zeros()) return;
  dead.push_back(
      {whole, whole->block + (gone.first - whole->range.first).value(), gone.count.value()});
}

void Index::drop(Object& object, PageRange range, DeadList& dead) {
  if (range.empty()) return;
  const MutexLock lock(object.mutex);
  for (;;) {
    auto at = object.extents.upper_bound(range.first.value());
    if (at != object.extents.begin() && std::prev(at)->second->range.end() > range.first) --at;
    if (at == object.extents.end() || at->second->range.first >= range.end()) return;
    cut(object, at, range, dead);
  }
}

void Index::drop_all(Object& object, DeadList& dead) {
  drop(object, {PageIndex{0}, PageCount{~std::uint64_t{0}}}, dead);
  object.tail_size = ByteCount{0};
}

Extent& Index::insert(Object& object, NewExtent extent, DeadList& dead) {
  check(!object.retired && extent.pages != 0, "an extent has an object and pages");
  check((extent.block == kNoBlock) == (extent.sums == nullptr), "every page in a block has a sum");
  const PageRange range{extent.first, PageCount{extent.pages}};
  drop(object, range, dead);
  const MutexLock lock(object.mutex);
  return place(object, make_extent(range, extent.block, std::move(extent.sums)), by_age_.end());
}

}  // namespace larder::store
