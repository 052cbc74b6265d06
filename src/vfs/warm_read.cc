// SPDX-License-Identifier: Apache-2.0
#include "vfs/warm_read.h"

#include <new>

#include "vfs/parked_read.h"

namespace larder {
namespace {

// What a thread keeps: as many as it is likely to have on their way at once.
class Spare {
 public:
  static constexpr std::size_t kMost = 64;
  ~Spare() {
    for (std::size_t i = 0; i < count_; ++i) ::operator delete(memory_[i]);
  }
  void* take() { return count_ == 0 ? nullptr : memory_[--count_]; }
  bool keep(void* memory) {
    if (count_ == kMost) return false;
    memory_[count_++] = memory;
    return true;
  }

 private:
  void* memory_[kMost];
  std::size_t count_ = 0;
};
thread_local Spare spare;

}  // namespace

void* Vfs::WarmRead::operator new(std::size_t bytes) {
  void* const memory = spare.take();
  return memory != nullptr ? memory : ::operator new(bytes);
}
void Vfs::WarmRead::operator delete(void* memory) noexcept {
  if (!spare.keep(memory)) ::operator delete(memory);
}

// A new operation: the one that found that the disk is needed is over.
void Vfs::read_from_disk(Handle& handle, const Span& span, ByteOffset offset, ByteCount count,
                         Nanoseconds began_ns, Reply reply) {
  // For another entry in its place, where it is a ring's: as many as wait for a disk that hangs
  // must not be all there are. Where no more may be had it waits all the same.
  static_cast<void>(reply.park());
  auto warm =
      std::make_unique<WarmRead>(*this, handle, span, offset, count, began_ns, std::move(reply));
  if (parts_.cache.submit(handle.inode->cookie_now(), warm->operation) != cache::Submitted::kNow)
    return park_read(handle, offset, count, began_ns, std::move(warm->reply));
  if (!is_its(span, *handle.inode, warm->operation)) {
    parts_.cache.complete(warm->operation);
    return park_read(handle, offset, count, began_ns, std::move(warm->reply));
  }
  store::StoreRead& read = warm->from_store;
  read.object = cache::FsCache::data_of(warm->operation);
  read.range = span.pages;
  read.into = warm->reply.payload();
  read.mode = disk_read_mode();
  read.done = [](store::StoreRead& self, PageCount served) {
    WarmRead& whose = static_cast<WarmRead::FromStore&>(self).whose;
    Vfs& vfs = whose.vfs;
    const auto finish = [&vfs, &whose, served] {
      vfs.came_from_disk(std::unique_ptr<WarmRead>(&whose), served);
    };
    // An engine's thread has others to serve.
    if (self.store->reads_on_this_ring()) return finish();
    larder::post(vfs.parts_.answer, finish);
  };
  store::Store& store = cache::FsCache::store_of(warm->operation);
  warm.release();
  store.start_read(read);
}

void Vfs::came_from_disk(std::unique_ptr<WarmRead> read, PageCount served) {
  read->from_store.object.reset();
  parts_.cache.complete(read->operation);
  const bool whole = served == read->span.pages.count;
  if (whole && read->span.generation == read->handle.inode->generation.load())
    return answer_warm(*read->handle.inode, read->span, read->began_mono_ns, read->reply);
  park_read(read->handle, read->asked_offset, read->asked_count, read->began_mono_ns,
            std::move(read->reply));
}

// As many reads of the store at once as there are runs of pages.
void Vfs::assemble_from_disk(std::unique_ptr<ParkedRead> read, cache::Operation& operation,
                             const std::vector<PageRange>& ranges) {
  ParkedRead& parked = *read.release();
  for (const PageRange& range : ranges) {
    auto& one = parked.from_disk.emplace_back(std::make_unique<ParkedRead::FromDisk>(parked));
    one->object = cache::FsCache::data_of(operation);
    one->range = range;
    one->into = parked.payload_of(range);
    one->mode = disk_read_mode();
    one->done = [](store::StoreRead& self, PageCount served) {
      ParkedRead& whose = static_cast<ParkedRead::FromDisk&>(self).whose;
      if (served != self.range.count) whose.is_short.store(true);
      whose.vfs.one_from_disk(whose);
    };
  }
  parked.outstanding.store(ranges.size() + 1);  // this thread's own hold, until all are started
  store::Store& store = cache::FsCache::store_of(operation);
  for (const auto& one : parked.from_disk) store.start_read(*one);
  one_from_disk(parked);
}

// The last one carries on: on the ring, or, where an engine's thread had it, on one that may work.
void Vfs::one_from_disk(ParkedRead& parked) {
  if (parked.outstanding.fetch_sub(1) != 1) return;
  const auto finish = [this, whose = &parked] {
    std::unique_ptr<ParkedRead> read(whose);
    cache::Operation& operation = *read->operation;
    read->from_disk.clear();
    const bool whole = !read->is_short.exchange(false);
    assembled(std::move(read), operation, whole ? Assembled::kWhole : Assembled::kNot);
  };
  if (cache::FsCache::store_of(*parked.operation).reads_on_this_ring()) return finish();
  larder::post(parts_.answer, finish);
}

}  // namespace larder
