// SPDX-License-Identifier: Apache-2.0
// The extents of objects: put in, cut, dropped, and in which order they go.
#include <larder/result.h>

#include <algorithm>
#include <array>

#include "store/index.h"

namespace larder::store {
namespace {

// Locks of the extents: by slot of this table, so that an object needs none of its own.
struct alignas(64) Stripe {
  Mutex mutex{Rank::kStoreObject};
};
constexpr std::size_t kStripes = 256;

std::uint64_t weight_of_pages(std::uint64_t block, std::uint64_t pages) {
  return block == kNoBlock ? 1 : pages;
}

}  // namespace

Mutex& Object::mutex() const {
  static std::array<Stripe, kStripes> stripes;
  return stripes[id.value() % kStripes].mutex;
}

Object::Extents::const_iterator Object::find_from(PageIndex page) const {
  auto at = extents.upper_bound(page);
  if (at != extents.begin() && std::prev(at)->end() > page) --at;
  return at;
}

const Extent* Object::find(PageIndex page) const {
  const auto at = find_from(page);
  return at != extents.end() && at->range().contains(page) ? &*at : nullptr;
}

Index::Found Index::found(Whose whose) const {
  Object* object = slots_[whose.slot];
  check(object != nullptr, "the order of eviction knows only what is there");
  // The low bits are all of them but in files of more than 256 TiB.
  for (std::uint64_t page = whose.low_page;; page += std::uint64_t{1} << Whose::kPageBits) {
    check(page < Extent::kPages, "the order of eviction knows only what is there");
    const auto at = object->extents.find(PageIndex{page});
    if (at != object->extents.end()) return {object, &*at};
  }
}

void Index::renumber(QueueName queue, Whose whose, std::uint32_t ticket) {
  const Extent& extent = *found(whose).extent;
  extent.set_place({queue, ticket}, extent.uses());
}

Place Index::push(QueueName queue, const Object& object, PageIndex first, std::uint64_t weight) {
  return order_.push(
      queue, Whose::of(object.slot, first), weight,
      [this](QueueName of, Whose whose, std::uint32_t ticket) { renumber(of, whose, ticket); });
}

// REQUIRES: the object's lock.
void Index::place(Object& object, PageRange range, std::uint64_t block, unsigned uses, Place place,
                  unsigned tick) {
  object.extents.emplace_hint(object.extents.end(), range, block, uses, place, tick);
  ++totals_.extents;
  totals_.extent_bytes += extent_size(static_cast<std::uint32_t>(range.count.value()), block);
  object.cached_pages += range.count.value();
}

// Takes `range` out of the extent at `at`; what is left of it keeps its place, or stands behind
// all others where two pieces are left. REQUIRES: they share pages; the object's lock.
void Index::cut(Object& object, Object::Extents::const_iterator at, PageRange range,
                DeadList& dead) {
  const Extent whole = *at;
  const PageRange gone = intersect(whole.range(), range);
  object.extents.erase(at);
  --totals_.extents;
  totals_.extent_bytes -= extent_size(whole.pages(), whole.block());
  object.cached_pages -= whole.pages();
  bool placed = false;
  const auto keep = [&](PageRange piece) {
    if (piece.empty()) return;
    const std::uint64_t block = whole.zeros() ? kNoBlock : whole.block_of(piece.first);
    const std::uint64_t weight = weight_of_pages(block, piece.count.value());
    Place its = whole.place();
    if (!placed) {
      order_.replace(its, Whose::of(object.slot, piece.first), weight_of(whole), weight);
      placed = true;
    } else {
      its = push(its.queue, object, piece.first, weight);
    }
    place(object, piece, block, whole.uses(), its, whole.tick());
  };
  keep({whole.first(), gone.first - whole.first()});
  keep({gone.end(), whole.end() - gone.end()});
  if (!placed) order_.erase(whole.place(), weight_of(whole));
  if (!whole.zeros()) dead.push_back({whole.block_of(gone.first), gone.count.value()});
}

void Index::drop(Object& object, PageRange range, DeadList& dead) {
  if (range.empty() || object.extents.empty()) return;
  before_change(object.slot);
  const MutexLock lock(object.mutex());
  for (;;) {
    const auto at = object.find_from(range.first);
    if (at == object.extents.end() || at->first() >= range.end()) return;
    cut(object, at, range, dead);
  }
}

void Index::drop_all(Object& object, DeadList& dead) {
  drop(object, {PageIndex{0}, PageCount{~std::uint64_t{0}}}, dead);
  object.tail_size = ByteCount{0};
}

void Index::insert(Object& object, const NewExtent& extent, DeadList& dead) {
  check(!object.retired && extent.pages != 0, "an extent has an object and pages");
  check((extent.block == kNoBlock) == extent.sums.empty(), "every page in a block has a sum");
  before_change(object.slot);
  const PageRange range{extent.first, PageCount{extent.pages}};
  const bool behind_all = object.extents.empty() || object.extents.rbegin()->end() <= extent.first;
  if (!behind_all) drop(object, range, dead);
  if (extent.block != kNoBlock) sums_.set(extent.block, extent.sums);
  QueueName queue = QueueName::kSmall;
  if (extent.queue) {
    queue = *extent.queue;
  } else if (order_.ghost().knows(object.id, extent.first)) {
    queue = QueueName::kMain;
  }
  const Place its = push(queue, object, extent.first, weight_of_pages(extent.block, extent.pages));
  const MutexLock lock(object.mutex());
  place(object, range, extent.block, extent.uses, its, extent.tick.value_or(tick_));
}

void Index::for_each_extent(absl::FunctionRef<void(Object&, const Extent&)> visit) {
  for (const QueueName queue : {QueueName::kSmall, QueueName::kMain}) {
    order_.for_each(queue, [&](Whose whose) {
      const Found one = found(whose);
      visit(*one.object, *one.extent);
    });
  }
}

// To the end of the main queue.
void Index::go_round(const Found& one, unsigned uses) {
  const std::uint64_t weight = weight_of(*one.extent);
  order_.erase(one.extent->place(), weight);
  one.extent->set_place(push(QueueName::kMain, *one.object, one.extent->first(), weight), uses);
}

std::optional<Index::Victim> Index::next_victim() {
  constexpr unsigned kSteps = 256;
  // The first pass over what came by reading ahead is the one that brought it.
  constexpr unsigned kProven = 2;
  for (unsigned i = 0; i < kSteps && !order_.empty(); ++i) {
    const QueueName queue = order_.next_queue();
    const Found one = found(order_.front(queue));
    const unsigned uses = one.extent->uses();
    if (one.object->pinned) {
      go_round(one, uses);
    } else if (queue == QueueName::kSmall && uses >= kProven) {
      go_round(one, 0);
    } else if (queue == QueueName::kMain && uses > 0) {
      go_round(one, uses - 1);
    } else {
      if (queue == QueueName::kSmall) order_.ghost().remember(one.object->id, one.extent->range());
      return Victim{one.object, one.extent->range(), one.extent->zeros() ? 0 : one.extent->pages()};
    }
  }
  return std::nullopt;
}

}  // namespace larder::store
