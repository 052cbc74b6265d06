// SPDX-License-Identifier: Apache-2.0
// Growing and shrinking, while reads and fills go on.
//
//   1. the file gets its new length, where it grows
//   2. what is to be emptied is withheld (allocator.h): the blocks behind the new end, and those
//      that the metadata move to, if they have to (layout.h)
//   3. what lies there moves: read, checked, written to a free run, and recorded, as a fill is.
//      Before that what goes next is evicted, until all that is left has room. What cannot move
//      (no run is free, it does not match its sum) is dropped: this is a cache
//   4. whoever commits writes a checkpoint as the new layout has it. Its superblock is the moment
//      at which the store has its new size; the journal begins anew behind it
//   5. and a second one, so that both superblocks say the same. Nothing is committed between the
//      two, and nothing that the old layout names is written to before the second is durable. Where
//      the second fails, the store has its new size all the same, and is bypassed
//   6. the file is cut where it shrinks, and what the metadata left is given back
//
// A crash before 4 leaves the old size, one behind it the new; whatever the file's length is then,
// the next opening sets it right (device.cc).
#include <fmt/format.h>
#include <larder/log.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <thread>

#include "store/store_impl.h"

namespace larder::store {
namespace {

constexpr std::size_t kAtOnce = 64;  // extents that are noted under the lock
constexpr std::uint64_t kMiB = 1u << 20;

std::string mib(ByteCount bytes) {
  return bytes.value() % kMiB == 0 ? fmt::format("{} MiB", bytes.value() / kMiB)
                                   : fmt::format("{} bytes", bytes.value());
}

auto no_room_for(std::uint64_t files, ByteCount size) {
  return complain(
      ErrorCode::kInvalid,
      fmt::format("the names of {} files need more room than a store of {} has", files, mib(size)));
}

// An extent on its way to other blocks.
class Removal {
 public:
  Removal(Store::Impl& store, ObjectRef object, PageRange range, std::uint64_t block)
      : store_(store), object_(std::move(object)), range_(range), block_(block) {}

  void run() {
    if (!begin()) return;
    const bool copied = copy();
    end(copied);
  }

 private:
  std::uint64_t pages() const { return range_.count.value(); }

  const Extent* there() const REQUIRES(store_.mutex) {
    const Extent* extent = object_->retired ? nullptr : object_->find(range_.first);
    const bool same = extent != nullptr && extent->range() == range_ && extent->block() == block_;
    return same ? extent : nullptr;
  }

  // False: it has gone meanwhile, or is dropped.
  bool begin() {
    const MutexLock lock(store_.mutex);
    const Extent* extent = there();
    if (extent == nullptr) return false;
    uses_ = extent->uses();
    queue_ = extent->place().queue;
    tick_ = extent->tick();
    // What was written in a session is in no record yet.
    auto runs =
        object_->in_session ? std::nullopt : store_.allocator.allocate(pages(), kExtentPages);
    if (runs) {
      const MutexLock object_lock(object_->mutex());
      pin_ = store_.pins.pin({block_, pages()}, 0);
    }
    if (runs) runs_ = std::move(*runs);
    if (!runs || pin_ == Pins::kNone) {
      give_up();
      return false;
    }
    store_.counters.fill_in_flight_bytes.add(pages() * kBlockSize);
    return true;
  }

  bool copy() {
    sums_.resize(pages());
    if (!store_.index->sums().get(block_, sums_)) return false;
    AlignedBuffer bytes(pages() * kPageSize);
    if (!store_.engine.read_now(store_.device.fd.get(), store_.at(block_), bytes.span()))
      return false;
    for (std::uint64_t page = 0; page < pages(); ++page) {
      const auto content = bytes.span().subspan(page * kPageSize, kPageSize);
      if (page_sum(object_->id, range_.first + PageCount{page}, content) == sums_[page]) continue;
      store_.counters.sum_errors.add();
      return false;
    }
    std::uint64_t done = 0;
    for (const BlockRun& run : runs_) {
      const auto part = bytes.span().subspan(done * kPageSize, run.count * kPageSize);
      if (!write_and_wait(store_.engine, store_.device.fd.get(), store_.at(run.block), part))
        return false;
      done += run.count;
    }
    return true;
  }

  void end(bool copied) {
    store_.pins.unpin(pin_);
    store_.counters.fill_in_flight_bytes.sub(pages() * kBlockSize);
    const MutexLock lock(store_.mutex);
    if (there() != nullptr && copied && !object_->in_session && store_.is_open())
      return put_in_place();
    give_up();
  }

  // Where it was it cannot stay.
  void give_up() REQUIRES(store_.mutex) {
    for (const BlockRun& run : runs_) store_.allocator.release(run);
    if (there() == nullptr) return;
    store_.counters.evicted_extents.add();
    store_.counters.evicted_bytes.add(pages() * kBlockSize);
    store_.drop_locked(*object_, range_);
  }

  void put_in_place() REQUIRES(store_.mutex) {
    PageIndex first = range_.first;
    std::uint64_t done = 0;
    for (const BlockRun& run : runs_) {
      const auto sums = std::span<const std::uint32_t>(sums_).subspan(done, run.count);
      const auto count = static_cast<std::uint32_t>(run.count);
      store_.put_extent_locked(*object_, {first, count, run.block, sums, uses_, queue_, tick_});
      first += PageCount{run.count};
      done += run.count;
    }
    store_.counters.moved_bytes.add(pages() * kBlockSize);
  }

  Store::Impl& store_;
  const ObjectRef object_;
  const PageRange range_;
  const std::uint64_t block_;
  std::vector<BlockRun> runs_;
  std::vector<std::uint32_t> sums_;
  Pins::Pin pin_ = Pins::kNone;
  unsigned uses_ = 0, tick_ = 0;
  QueueName queue_ = QueueName::kSmall;
};

}  // namespace

SetUp<std::string> Store::resize(ByteCount size) {
  if (impl_->resizing.exchange(true))
    return complain(ErrorCode::kInvalid, "the store is being resized already");
  auto done = impl_->resize(size);
  impl_->resizing.store(false);
  return done;
}

SetUp<std::string> Store::Impl::resize(ByteCount size) {
  Layout before;
  {
    const MutexLock lock(mutex);
    before = layout;
  }
  if (size == before.size) return fmt::format("the store has {} already", mib(size));
  if (!is_open())
    return complain(ErrorCode::kStoreIo, "the store is not in use at the moment: " + state_text());
  if (size < kSmallestStore)
    return complain(ErrorCode::kInvalid,
                    fmt::format("a store has at least {}", mib(kSmallestStore)));
  TRY_OK(check_size(device, size));
  const auto next = resized(before, size);
  if (!next) {
    return complain(ErrorCode::kInvalid,
                    fmt::format("this store can have {} to {} MiB; for another size unmount it, "
                                "remove its file and mount again",
                                mib(least_size(before)), Extent::kBlocks * kBlockSize / kMiB));
  }
  if (size > before.size) TRY_OK(set_end(device, next->file_bytes()));
  const std::uint64_t moved = counters.moved_bytes.value(), gone = counters.evicted_bytes.value();
  auto fits = make_fit(*next);
  Resize request{*next, {}};
  if (fits) {
    const auto done = [&] {
      const MutexLock lock(mutex);
      return request.done;
    };
    {
      const MutexLock lock(mutex);
      wanted_resize = &request;
    }
    committer.run_until(Urgency::kEager, done);
    if (request.switched && !request.status)
      return complain(
          ErrorCode::kStoreIo,
          fmt::format("the store has {} now, and had {}; then it could not be written: "
                      "{}",
                      mib(size), mib(before.size), larder::to_text(request.status.error())));
    if (!request.status)
      fits = complain(ErrorCode::kStoreIo,
                      "the store could not be written: " + larder::to_text(request.status.error()));
  }
  if (!fits) {
    allocator.give_back_withheld();
    {
      const MutexLock lock(mutex);
      index_limit = checkpoint_limit(layout);
    }
    if (size > before.size) static_cast<void>(set_end(device, before.file_bytes()));
    return tl::make_unexpected(std::move(fits).error());
  }
  if (size < before.size) TRY_OK(set_end(device, next->file_bytes()));
  return fmt::format("the store has {} now, and had {}; {} MiB were moved, {} MiB were let go",
                     mib(size), mib(before.size), (counters.moved_bytes.value() - moved) / kMiB,
                     (counters.evicted_bytes.value() - gone) / kMiB);
}

// Nothing is left in blocks that the new layout has other uses for, and its checkpoint holds all.
SetUp<bool> Store::Impl::make_fit(const Layout& next) {
  std::vector<BlockRun> ranges;
  {
    const MutexLock lock(mutex);
    if (next.data_blocks < layout.data_blocks)
      ranges.push_back({next.data_blocks, layout.data_blocks - next.data_blocks});
    const BlockRun metadata = next.reserved();
    // What lies behind the present end is nobody's.
    if (next.journal != layout.journal)
      ranges.push_back(intersect(metadata, {0, layout.data_blocks}));
    for (const BlockRun& bad : allocator.runs().quarantined) {
      if (intersect(bad, metadata).count != 0)
        return complain(ErrorCode::kStoreIo,
                        "there are bad blocks where the metadata would go; try another size");
    }
    // Its own metadata, where they lie behind the new end or stay, are nobody's blocks either.
    const BlockRun own = layout.reserved();
    std::vector<BlockRun> apart;
    for (const BlockRun& range : ranges)
      std::ranges::copy(without(range, own), std::back_inserter(apart));
    ranges = std::move(apart);
    index_limit = std::min(index_limit, checkpoint_limit(next));
    if (index->totals().object_bytes > index_limit / 8 * 4)
      return no_room_for(index->totals().objects, next.size);
  }
  allocator.withhold(std::move(ranges));
  const Marks marks_then = marks_of(options.culling, next.usable_blocks());
  const std::uint64_t most = next.usable_blocks() - marks_then.run;
  for (unsigned i = 0; i < kStepsMost; ++i) {
    bool over = true;
    while (over && is_open()) {
      const MutexLock lock(mutex);
      const Allocator::Totals totals = allocator.totals();
      const std::uint64_t used = layout.usable_blocks() - totals.free - totals.waiting -
                                 totals.quarantined - totals.withheld;
      over = used > most && evict_locked(used - most) != 0;
      name_room_locked(0, index->root());
      if (!over) over = !extent_room_locked(0) && index->totals().extents != 0;
    }
    // What was evicted is free before anything looks for room.
    if (!step_and_sweep()) break;
    const bool empty = !empty_withheld();
    if (!step_and_sweep()) break;
    if (allocator.still_in_use() == 0) return holds_all(next);
    if (empty) rest();
    if (empty && options.commit_by == CommitBy::kSync && i > kAtOnce) break;
  }
  return complain(ErrorCode::kStoreIo,
                  is_open() ? "reads or writes under way did not let go of what has to move; try "
                              "again"
                            : "the store is not in use at the moment: " + state_text());
}

void Store::Impl::rest() const {
  if (options.commit_by == CommitBy::kThread) std::this_thread::sleep_for(kRest);
}

bool Store::Impl::step_and_sweep() {
  if (!sync(Urgency::kEager)) return false;
  bool stepped = false;
  committer.run_until(Urgency::kEager, [&] { return std::exchange(stepped, true); });
  sweep();
  return true;
}

SetUp<bool> Store::Impl::holds_all(const Layout& next) {
  const MutexLock lock(mutex);
  if (index->totals().bytes() <= checkpoint_limit(next)) return true;
  return no_room_for(index->totals().objects, next.size);
}

// Moves what lies in withheld blocks, or drops it. False: there was nothing.
bool Store::Impl::empty_withheld() {
  bool any = false;
  std::size_t slot = 0;
  PageIndex page{0};
  while (is_open()) {
    struct One {
      ObjectRef object;
      PageRange range;
      std::uint64_t block;
    };
    std::vector<One> some;
    {
      const MutexLock lock(mutex);
      for (; slot < index->slots() && some.size() < kAtOnce; ++slot, page = PageIndex{0}) {
        Object* object = index->in_slot(slot);
        if (object == nullptr) continue;
        auto at = object->find_from(page);
        for (; at != object->extents.end() && some.size() < kAtOnce; ++at) {
          page = at->end();
          if (!at->zeros() && allocator.is_withheld({at->block(), at->pages()}))
            some.push_back({ObjectRef(object), at->range(), at->block()});
        }
        if (at != object->extents.end()) break;
      }
      if (some.empty() && slot >= index->slots()) return any;
    }
    for (One& one : some) Removal(*this, std::move(one.object), one.range, one.block).run();
    any = any || !some.empty();
  }
  return any;
}

// A step of whoever commits.
void Store::Impl::serve_resize() {
  Resize* wanted = nullptr;
  {
    const MutexLock lock(mutex);
    wanted = wanted_resize;
  }
  if (wanted == nullptr) return;
  Status status = fail(ErrorCode::kStoreIo);
  if (is_open() && !closing.load()) {
    status = switch_layout(*wanted);
    if (!status) {
      abandon_checkpoint();
      enter_bypass(status.error(), "a change of its size");
    }
  }
  const MutexLock lock(mutex);
  wanted->status = status;
  wanted->done = true;
  wanted_resize = nullptr;
}

Status Store::Impl::switch_layout(Resize& wanted) {
  const Layout before = layout, next = wanted.next;
  if (next.data_blocks > before.data_blocks) index->sums().resize(next.data_blocks);
  TRY_OK(write_checkpoint(Ending::kGoesOn, next));
  {
    const MutexLock lock(mutex);
    layout = next;
    wanted.switched = true;
    device.size = next.size;
    index_limit = checkpoint_limit(next);
    marks = marks_of(options.culling, next.usable_blocks());
    counters.capacity_bytes.set(next.capacity().value());
  }
  const Status second = write_checkpoint(Ending::kGoesOn);
  const bool moved = next.journal != before.journal;
  // Nobody's blocks yet: nothing of a fill can be there.
  if (moved && second)
    store::give_back(device, before.journal, before.metadata_end() - before.journal);
  const MutexLock lock(mutex);
  allocator.resize(next.data_blocks, next.reserved());
  if (const BlockRun old = intersect(before.reserved(), {0, next.data_blocks});
      moved && old.count != 0)
    allocator.release(old);
  if (next.data_blocks < before.data_blocks) index->sums().resize(next.data_blocks);
  counters.resizes.add();
  gauges_locked();
  return second;
}

}  // namespace larder::store
