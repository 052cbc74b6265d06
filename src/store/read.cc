// SPDX-License-Identifier: Apache-2.0
// The warm read: plan, I/O, finish. No allocation, no lock but the object's own, none over I/O.
#include <larder/log.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/crc32c.h"
#include "store/store_impl.h"

namespace larder::store {

namespace {

// Of one plan: its sums lie in two chunks at most, and may leave memory again meanwhile.
constexpr unsigned kSumLoadsMost = 8;

}  // namespace

std::uint32_t page_sum(ObjectId object, PageIndex page, std::span<const std::byte> bytes) {
  const std::array<Le64, 2> whose{Le64::of(object.value()), Le64::of(page.value())};
  return crc32c(bytes, crc32c(std::as_bytes(std::span{whose})));
}

ReadPlan::~ReadPlan() { check(object_ == nullptr, "every plan that covers pages is finished"); }

void Store::plan_read(const ObjectRef& object, PageRange range, std::span<std::byte> into,
                      ReadPlan& plan) {
  std::array<std::uint32_t, ReadPlan::kMaxPages> sums;
  for (unsigned i = 0; i < kSumLoadsMost; ++i) {
    const ColdRun cold = impl_->plan(*object, range, into, plan);
    if (cold.empty()) return;
    const std::uint64_t before = impl_->index->sums().loads();
    const Status read =
        impl_->index->sums().get(cold.run.block, std::span{sums}.first(cold.run.count));
    impl_->counters.sum_reads.add(impl_->index->sums().loads() - before);
    impl_->pins.unpin(cold.pin);
    if (read) continue;
    impl_->read_failed(read.error());
    break;
  }
  impl_->counters.misses.add();
}

ColdRun Store::Impl::plan(Object& object, PageRange range, std::span<std::byte> into,
                          ReadPlan& plan) {
  check(plan.object_ == nullptr, "a plan is finished before the next");
  check(into.size() >= to_bytes(range.count).value(), "the buffer holds the range");
  plan.count_ = 0;
  plan.covered_ = PageCount{0};
  ColdRun cold;
  if (is_open() && !hangs()) cold = cover(object, range, into, plan);
  if (!cold.empty()) return cold;
  counters.reads.add();
  if (plan.covered_.value() == 0) {
    counters.misses.add();
    return cold;
  }
  plan.object_ = &object;
  intrusive_ptr_add_ref(plan.object_);
  return cold;
}

ColdRun Store::Impl::cover(Object& object, PageRange range, std::span<std::byte> into,
                           ReadPlan& plan) {
  std::size_t summed = 0;
  PageIndex page = range.first;
  const unsigned tick = tick_now();
  const MutexLock lock(object.mutex());
  // One pass over an extent is one use of it, in however many reads.
  const bool reads_on = static_cast<std::uint32_t>(range.first.value()) == object.read_up_to;
  object.read_up_to = static_cast<std::uint32_t>(range.end().value());
  for (auto at = object.find_from(page); page < range.end() && at != object.extents.end(); ++at) {
    const Extent& extent = *at;
    if (!extent.range().contains(page)) return {};
    if (options.expire_ns != 0) {
      if (expired(extent, tick) && !object.pinned) return {};
      if (extent.tick() != tick) extent.set_tick(tick);
    }
    PageCount pages = std::min(extent.end(), range.end()) - page;
    const auto part = into.subspan(to_bytes(page - range.first).value(), to_bytes(pages).value());
    if (extent.zeros()) {
      std::memset(part.data(), 0, part.size());
    } else {
      pages = std::min(pages, PageCount{ReadPlan::kMaxPages - summed});
      if (plan.count_ == ReadPlan::kMaxSegments || pages.value() == 0) return {};
      const std::uint64_t block = extent.block_of(page);
      const Pins::Pin pin =
          pins.pin({block, pages.value()}, now_ns.load(std::memory_order_relaxed));
      if (pin == Pins::kNone) return {};
      if (!index->sums().try_get(block, std::span{plan.sums_}.subspan(summed, pages.value()))) {
        if (plan.covered_.value() == 0) return {{block, pages.value()}, pin};
        pins.unpin(pin);
        return {};
      }
      summed += pages.value();
      plan.segments_[plan.count_] = {this->at(block), part.first(to_bytes(pages).value())};
      plan.pins_[plan.count_] = pin;
      plan.blocks_[plan.count_] = block;
      plan.first_pages_[plan.count_] = page;
      ++plan.count_;
    }
    if (!reads_on || range.contains(extent.first())) extent.use();
    plan.covered_ += pages;
    page += pages;
  }
  return {};
}

Status Store::finish_read(ReadPlan& plan, Status io) {
  if (plan.object_ == nullptr) return io;
  const ObjectRef object(std::exchange(plan.object_, nullptr), false);
  Status status = io;
  const std::uint32_t* sums = plan.sums_.data();
  const bool checks = io.has_value() && impl_->options.sums == Sums::kChecked;
  for (std::size_t i = 0; i < plan.count_; ++i) {
    const auto bytes = plan.segments_[i].into;
    const std::size_t pages = bytes.size() / kPageSize;
    const PageIndex first = plan.first_pages_[i];
    bool wrong = false;
    for (std::size_t page = 0; checks && page < pages && !wrong; ++page) {
      const auto content = bytes.subspan(page * kPageSize, kPageSize);
      wrong = page_sum(object->id, first + PageCount{page}, content) != sums[page];
    }
    sums += pages;
    impl_->pins.unpin(plan.pins_[i]);
    if (!wrong) continue;
    impl_->counters.sum_errors.add();
    impl_->quarantine(*object, first, plan.blocks_[i], "do not match their sums");
    status = fail(ErrorCode::kStoreSum);
  }
  if (io) {
    impl_->read_was_good();
  } else {
    impl_->pages_failed(*object, plan);
    impl_->read_failed(io.error());
  }
  if (status) impl_->counters.read_bytes.add(to_bytes(plan.covered_).value());
  return status;
}

namespace {

// Takes the next segments that are neighbours in the file and in memory: they are one read.
ReadSegment take_whole(std::span<const ReadSegment>& segments) {
  ReadSegment whole = segments.front();
  for (segments = segments.subspan(1); !segments.empty(); segments = segments.subspan(1)) {
    const ReadSegment& next = segments.front();
    const bool near = next.at == whole.at + ByteCount{whole.into.size()} &&
                      next.into.data() == whole.into.data() + whole.into.size();
    if (!near) break;
    whole.into = {whole.into.data(), whole.into.size() + next.into.size()};
  }
  return whole;
}

}  // namespace

PageCount Store::read_now(const ObjectRef& object, PageRange range, std::span<std::byte> into,
                          ReadMode wanted) {
  const ReadMode mode = impl_->possible(wanted);
  PageCount got{0};
  while (got < range.count) {
    ReadPlan plan;
    const PageRange rest{range.first + got, range.count - got};
    plan_read(object, rest, into.subspan(to_bytes(got).value()), plan);
    if (plan.covered().value() == 0) break;
    Status io;
    for (auto segments = plan.segments(); !segments.empty() && io;) {
      const ReadSegment whole = take_whole(segments);
      io = impl_->engine.read_now(impl_->read_fd(mode), whole.at, whole.into, mode);
    }
    const PageCount covered = plan.covered();
    if (!finish_read(plan, io)) break;
    got += covered;
  }
  return got;
}

Store::AtOnce Store::read_at_once(const ObjectRef& object, PageRange range,
                                  std::span<std::byte> into, ReadMode wanted) {
  const ReadMode mode = impl_->possible(wanted);
  AtOnce answer;
  while (answer.served < range.count) {
    ReadPlan plan;
    const PageRange rest{range.first + answer.served, range.count - answer.served};
    const ColdRun cold =
        impl_->plan(*object, rest, into.subspan(to_bytes(answer.served).value()), plan);
    if (!cold.empty()) {
      impl_->pins.unpin(cold.pin);
      answer.would_wait = true;
      break;
    }
    if (plan.covered().value() == 0) break;
    Result<bool> here = true;
    for (auto segments = plan.segments(); !segments.empty() && here && *here;) {
      const ReadSegment whole = take_whole(segments);
      here = impl_->engine.read_at_once(impl_->read_fd(mode), whole.at, whole.into, mode);
    }
    if (here && !*here) {
      drop_plan(plan);
      answer.would_wait = true;
      break;
    }
    const PageCount covered = plan.covered();
    if (!finish_read(plan, here ? Status{} : Status(fail(here.error())))) break;
    answer.served += covered;
  }
  return answer;
}

// Lets go of what a plan holds: nothing was read.
void Store::drop_plan(ReadPlan& plan) {
  const ObjectRef object(std::exchange(plan.object_, nullptr), false);
  for (std::size_t i = 0; i < plan.count_; ++i) impl_->pins.unpin(plan.pins_[i]);
}

bool Store::reads_on_this_ring() const { return impl_->engine.reads_on_this_ring(); }

void Store::start_read(StoreRead& read) {
  check(read.done != nullptr, "a read has someone to tell");
  read.store = this;
  read.mode = impl_->possible(read.mode);
  read.got = PageCount{0};
  read.sum_loads = 0;
  go_on(read);
}

namespace {

// A chunk of sums that a read waits for. What it reads stays pinned, so that a device that hangs is
// seen, and so that the sums are of the blocks that the read will find.
struct SumLoad : IoRequest {
  SumLoad(StoreRead& r, Pins::Pin p) : read(r), pin(p) {}
  StoreRead& read;
  const Pins::Pin pin;
  SumTable::Loading loading;
};

}  // namespace

void Store::load_sums(StoreRead& read, const ColdRun& cold) {
  auto load = std::make_unique<SumLoad>(read, cold.pin);
  SumTable& sums = impl_->index->sums();
  const std::uint64_t last = (cold.run.end() - 1) / SumTable::kChunk;
  std::uint64_t chunk = cold.run.block / SumTable::kChunk;
  while (chunk <= last && !sums.begin_load(chunk, load->loading)) ++chunk;
  if (chunk > last) {  // somebody else has loaded them
    impl_->pins.unpin(cold.pin);
    return go_on(read);
  }
  impl_->counters.sum_reads.add();
  load->fd = impl_->device.fd.get();
  load->offset = ByteOffset{sums.offset_of(load->loading)};
  load->data = reinterpret_cast<std::byte*>(load->loading.sums.data());
  load->length = sizeof load->loading.sums;
  load->done = [](IoRequest& self, Status status) {
    const std::unique_ptr<SumLoad> loaded(static_cast<SumLoad*>(&self));
    StoreRead& whose = loaded->read;
    Impl& impl = *whose.store->impl_;
    // Where its home has moved it is still cold, and the next plan sees that.
    const SumTable::Loaded how = impl.index->sums().end_load(loaded->loading, status);
    impl.pins.unpin(loaded->pin);
    if (how != SumTable::Loaded::kUnread) return whose.store->go_on(whose);
    impl.read_failed(status.error());
    impl.counters.misses.add();
    whose.done(whose, whose.got);
  };
  impl_->engine.submit(*load.release());
}

// Plans what is left and starts its parts; again behind the last of them, until all is there.
void Store::go_on(StoreRead& read) {
  const PageRange rest{read.range.first + read.got, read.range.count - read.got};
  if (!rest.empty()) {
    const auto into = read.into.subspan(to_bytes(read.got).value());
    const ColdRun cold = impl_->plan(*read.object, rest, into, read.plan);
    if (!cold.empty() && ++read.sum_loads <= kSumLoadsMost) return load_sums(read, cold);
    if (!cold.empty()) {
      impl_->pins.unpin(cold.pin);
      impl_->counters.misses.add();
    }
  }
  if (rest.empty() || read.plan.covered().value() == 0) return read.done(read, read.got);
  read.sys_errno.store(0);
  std::size_t count = 0;
  for (auto segments = read.plan.segments(); !segments.empty(); ++count) {
    const ReadSegment whole = take_whole(segments);
    StoreRead::Part& part = read.parts[count];
    part.read = &read;
    part.kind = IoRequest::Kind::kRead;
    part.fd = impl_->read_fd(read.mode);
    part.offset = whole.at;
    part.data = whole.into.data();
    part.length = whole.into.size();
    part.mode = read.mode;
    part.done = [](IoRequest& self, Status status) {
      StoreRead& whose = *static_cast<StoreRead::Part&>(self).read;
      if (!status) whose.sys_errno.store(std::max(status.error().sys_errno, 1));
      whose.store->part_done(whose);
    };
  }
  read.outstanding.store(count + 1);  // this thread's own hold, until all are started
  for (std::size_t i = 0; i < count; ++i) impl_->engine.submit(read.parts[i]);
  part_done(read);
}

void Store::part_done(StoreRead& read) {
  if (read.outstanding.fetch_sub(1) != 1) return;
  const int sys_errno = read.sys_errno.load();
  const PageCount covered = read.plan.covered();
  const Status io = sys_errno == 0 ? Status{} : Status(fail(ErrorCode::kStoreIo, sys_errno));
  if (!finish_read(read.plan, io)) return read.done(read, read.got);
  read.got += covered;
  read.sum_loads = 0;  // each step forward may need its own
  go_on(read);
}

// The blocks are not used again in this run: what is wrong with them may be wrong for good.
void Store::Impl::quarantine(Object& object, PageIndex page, std::uint64_t block,
                             std::string_view why) {
  const MutexLock lock(mutex);
  const Extent* there = object.find(page);
  // It may have gone meanwhile.
  if (there == nullptr || there->zeros() || there->block_of(page) != block) return;
  const PageRange range = there->range();
  log(LogLevel::kWarn, "store {}: {} pages of object {} from page {} {}; dropped", device.path,
      range.count.value(), object.id.value(), range.first.value(), why);
  DeadList dead;
  index->drop(object, range, dead);
  if (!object.in_session) append_locked(DropRecord{object.id, range});
  if (object.in_session && object.busy->mark != 0) object.note_change(range);
  for (const BlockRun& run : dead) {
    allocator.quarantine(run);
    counters.quarantined_bytes.add(run.count * kBlockSize);
  }
  gauges_locked();
}

}  // namespace larder::store
