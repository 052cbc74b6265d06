// SPDX-License-Identifier: Apache-2.0
// Every page of a store that is open, compared with its sum: a disk that rots is found before its
// pages are asked for. What is wrong is dropped and quarantined, as by a read. Object by object, a
// few extents at a time; to eviction it is no use of them, and no lock is held over I/O.
#include <larder/buffer.h>
#include <larder/store_check.h>

#include <algorithm>
#include <array>

#include "store/store_impl.h"

namespace larder::store {
namespace {

constexpr std::size_t kAtOnce = 64;  // extents that are noted under the lock

struct Part {
  ObjectRef object;
  PageRange range;
};

// Extents in blocks, in the order of slots and pages: where it goes on is a slot and a page.
class Walk {
 public:
  explicit Walk(Store::Impl& store) : store_(store) {}

  // The next ones; none: that was all.
  std::vector<Part> next() {
    std::vector<Part> parts;
    const MutexLock lock(store_.mutex);
    for (; slot_ < store_.index->slots(); ++slot_, page_ = PageIndex{0}) {
      Object* object = store_.index->in_slot(slot_);
      if (object == nullptr) continue;
      for (auto at = object->find_from(page_); at != object->extents.end(); ++at) {
        if (parts.size() == kAtOnce) return parts;
        page_ = at->end();
        if (!at->zeros()) parts.push_back({ObjectRef(object), at->range()});
      }
    }
    return parts;
  }

 private:
  Store::Impl& store_;
  std::size_t slot_ = 0;
  PageIndex page_{0};
};

// Blocks that are being compared, pinned so that nobody writes to them.
struct Look {
  BlockRun run;
  Pins::Pin pin = Pins::kNone;
  std::array<std::uint32_t, Extent::kLongest> sums;
};

// Nothing can be said of pages whose sums cannot be read; their blocks are as good as others.
void drop_unknown(Store::Impl& store, Object& object, PageIndex page, std::uint64_t block) {
  store.counters.read_errors.add();
  const MutexLock lock(store.mutex);
  const Extent* there = object.find(page);
  if (there == nullptr || there->zeros() || there->block_of(page) != block) return;
  store.drop_locked(object, there->range());
}

// False: what `range` begins with has gone meanwhile.
bool pin(Store::Impl& store, Object& object, PageRange range, Look& look) {
  constexpr unsigned kTries = 4;  // sums may leave memory again meanwhile
  SumTable& sums = store.index->sums();
  for (unsigned i = 0; i < kTries; ++i) {
    {
      const MutexLock lock(object.mutex());
      const Extent* extent = object.find(range.first);
      if (extent == nullptr || extent->zeros()) return false;
      const PageCount pages = std::min(extent->end(), range.end()) - range.first;
      look.run = {extent->block_of(range.first), pages.value()};
      look.pin = store.pins.pin(look.run, store.now_ns.load(std::memory_order_relaxed));
      if (look.pin == Pins::kNone) return false;
      if (sums.try_get(look.run.block, std::span(look.sums).first(look.run.count))) return true;
    }
    // Pinned, so that a store that shrinks does not forget them meanwhile.
    const Status read = sums.get(look.run.block, std::span(look.sums).first(look.run.count));
    store.pins.unpin(look.pin);
    if (read) continue;
    drop_unknown(store, object, range.first, look.run.block);
    return false;
  }
  return false;
}

void compare(Store::Impl& store, Object& object, PageRange range, std::span<std::byte> buffer) {
  Look look;
  while (!range.empty() && store.is_open() && pin(store, object, range, look)) {
    const auto bytes = buffer.first(look.run.count * kPageSize);
    const Status io = store.engine.read_now(store.device.fd.get(), store.at(look.run.block), bytes);
    bool wrong = !io;
    for (std::size_t page = 0; !wrong && page < look.run.count; ++page) {
      const auto content = bytes.subspan(page * kPageSize, kPageSize);
      wrong = page_sum(object.id, range.first + PageCount{page}, content) != look.sums[page];
    }
    store.pins.unpin(look.pin);
    if (wrong) {
      (io ? store.counters.sum_errors : store.counters.read_errors).add();
      store.quarantine(object, range.first, look.run.block,
                       io ? "do not match their sums" : "could not be read");
    }
    const PageCount done{look.run.count};
    range = {range.first + done, range.count - done};
  }
}

}  // namespace

void read_all_pages(Store& store, const Progress& progress) {
  Store::Impl& impl = *store.impl_;
  AlignedBuffer buffer(Extent::kLongest * kPageSize);
  Walk walk(impl);
  ByteCount done{0};
  const auto goes_on = [&] {
    const ByteCount all{std::max(impl.counters.used_bytes.value(), done.value())};
    return !progress || progress(done, all);
  };
  for (auto parts = walk.next(); !parts.empty(); parts = walk.next()) {
    for (const Part& part : parts) {
      if (!goes_on()) return;
      compare(impl, *part.object, part.range, buffer.span());
      done += to_bytes(part.range.count);
    }
  }
  if (progress) progress(done, done);
}

}  // namespace larder::store
