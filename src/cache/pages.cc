// SPDX-License-Identifier: Apache-2.0
// The data calls. The list of writes that are under way is all the state there is: it says what
// maybe_release may take back.
#include <larder/pages.h>

#include <utility>

#include "base/mutex.h"
#include "cache/object.h"

namespace larder::cache {
namespace {

bool overlap(PageRange a, PageRange b) { return a.first < b.end() && b.first < a.end(); }

// How often its content has changed; wraps around.
std::uint16_t invalidations_of(const CookieRef& cookie) {
  if (!cookie) return 0;
  MutexLock lock(cookie->mutex);
  return cookie->invalidations;
}

bool has_no_data(const Operation& operation) {
  return operation.object->cookie().has(kCookieNoDataYet);
}

}  // namespace

struct Pages::Impl {
  explicit Impl(FsCache& cache) : fs(cache) {}

  void link(PageWrite& write) {
    MutexLock lock(mutex);
    for (const PageWrite* at = writes; at != nullptr; at = at->next_write) {
      if (at->cookie != write.cookie || !overlap(at->pages, write.pages)) continue;
      fs.counters().stores_again.add();
      break;
    }
    write.next_write = std::exchange(writes, &write);
  }
  void unlink(PageWrite& write) {
    MutexLock lock(mutex);
    PageWrite** at = &writes;
    while (*at != &write) at = &(*at)->next_write;
    *at = write.next_write;
  }
  // All that touch `pages`, taken back where that is possible. False: one is being stored.
  bool take_back(const CookieRef& cookie, PageRange pages, std::vector<PageWrite*>& taken);
  struct Released {
    Release answer;
    std::size_t taken_back;
  };
  Released release(const CookieRef& cookie, PageRange pages);

  FsCache& fs;
  Mutex mutex{Rank::kFlight};
  PageWrite* writes GUARDED_BY(mutex) = nullptr;
};

Pages::Pages(FsCache& cache) : impl_(std::make_unique<Impl>(cache)) {}

Pages::~Pages() {
  MutexLock lock(impl_->mutex);
  check(impl_->writes == nullptr, "every write of pages has ended");
}

// -- reading --------------------------------------------------------------------------------------

namespace {

// REQUIRES: in progress. Reads what is there run by run, and lists what is not.
PageResult read_now(PageRead& read) {
  const PageRange all = read.pages;
  if (has_no_data(read)) {
    read.to_fetch.push_back(all);
    return PageResult::kNoData;
  }
  store::Store& store = FsCache::store_of(read);
  const store::ObjectRef& data = FsCache::data_of(read);
  PageIndex at = all.first;
  const auto read_until = [&](PageIndex end) {
    while (at < end) {
      const PageRange rest{at, end - at};
      const std::size_t skip = (at - all.first).value() * kPageSize;
      const PageCount count =
          store.read_now(data, rest, read.into.subspan(skip, rest.count.value() * kPageSize));
      if (count.value() == 0) {
        read.to_fetch.push_back({at, PageCount{1}});  // evicted, or its sum does not match
        at = at + PageCount{1};
        continue;
      }
      if (read.end_io) read.end_io(read, {at, count});
      at = at + count;
    }
  };
  for (const PageRange& missing : store.missing(data, all)) {
    read_until(missing.first);
    read.to_fetch.push_back(missing);
    at = missing.end();
  }
  read_until(all.end());
  return read.to_fetch.empty() ? PageResult::kDone : PageResult::kNoData;
}

}  // namespace

PageResult Pages::read_or_alloc_pages(const CookieRef& cookie, PageRead& read) {
  read.type = OperationType::kMyThread;
  read.sharing = Sharing::kShareable;
  read.kind = OperationKind::kRead;
  read.calls = this;
  read.to_fetch.clear();
  read.run = [](Operation& self) {
    auto& late = static_cast<PageRead&>(self);
    // Resumed on an answer thread, which may not wait for the device.
    if (late.type != OperationType::kSlow) {
      return late.calls->impl_->fs.run_again(late, OperationType::kSlow);
    }
    const PageResult result = read_now(late);
    late.calls->impl_->fs.complete(late);
    late.ended(late, result);
  };
  read.cancelled = [](Operation& self) {
    auto& late = static_cast<PageRead&>(self);
    late.to_fetch.push_back(late.pages);
    late.ended(late, PageResult::kInterrupted);
  };
  switch (impl_->fs.submit(cookie, read)) {
    case Submitted::kNow: {
      const PageResult result = read_now(read);
      impl_->fs.complete(read);
      return result;
    }
    case Submitted::kLater:
      return PageResult::kWaits;
    case Submitted::kNever:
      break;
  }
  read.to_fetch.push_back(read.pages);
  return PageResult::kNoBufs;
}

PageResult Pages::alloc_pages(const CookieRef& cookie, PageRange) {
  Operation asks;  // from the stack: one that would have to wait is not taken, and may be written
  const Submitted answer = impl_->fs.submit(cookie, asks);
  if (answer == Submitted::kNow) impl_->fs.complete(asks);
  Counters& counters = impl_->fs.counters();
  counters.allocs.add();
  if (answer == Submitted::kLater) counters.allocs_waiting.add();
  if (answer == Submitted::kNever) counters.allocs_refused.add();
  return answer == Submitted::kNever ? PageResult::kNoBufs : PageResult::kDone;
}

// -- writing --------------------------------------------------------------------------------------

PageResult Pages::write_pages(const CookieRef& cookie, PageWrite& write) {
  if (write.pages.end() > PageIndex{0} + pages_for(write.file_size)) {
    impl_->fs.counters().stores_beyond.add();
    return PageResult::kNoBufs;
  }
  write.type = OperationType::kSlow;
  write.sharing = Sharing::kShareable;
  write.kind = OperationKind::kFill;
  write.calls = this;
  write.cookie = cookie;
  write.invalidations = invalidations_of(cookie);
  write.run = [](Operation& self) {
    auto& now = static_cast<PageWrite&>(self);
    now.fill.object = FsCache::data_of(now);
    now.fill.first = now.pages.first;
    now.fill.data = now.data;
    now.fill.file_size = now.file_size;
    now.fill.generation = FsCache::store_of(now).generation(now.fill.object);
    now.fill.write = &now;
    now.fill.done = [](store::Fill& fill, Status status) {
      PageWrite& done = *static_cast<PageWrite::Filling&>(fill).write;
      done.fill.object = nullptr;
      done.calls->impl_->fs.complete(done);
      done.calls->impl_->unlink(done);
      done.stored(done, status);
    };
    // An invalidation since the call cancelled it, unless a queue had it: then it is seen here. One
    // that comes from here on makes the fill stale, by its generation.
    if (now.invalidations != invalidations_of(now.cookie)) {
      return now.fill.done(now.fill, fail(ErrorCode::kStale));
    }
    FsCache::store_of(now).fill(now.fill);
  };
  write.cancelled = [](Operation& self) {
    auto& late = static_cast<PageWrite&>(self);
    late.calls->impl_->unlink(late);
    late.stored(late, fail(ErrorCode::kCancelled));
  };
  impl_->link(write);
  if (impl_->fs.submit(cookie, write) != Submitted::kNever) return PageResult::kDone;
  impl_->unlink(write);
  return PageResult::kNoBufs;
}

bool Pages::Impl::take_back(const CookieRef& cookie, PageRange pages,
                            std::vector<PageWrite*>& taken) {
  bool is_busy = false;
  MutexLock lock(mutex);
  for (PageWrite** at = &writes; *at != nullptr;) {
    PageWrite& write = **at;
    if (write.cookie != cookie || !overlap(write.pages, pages)) {
      at = &write.next_write;
    } else if (fs.cancel(write)) {
      *at = write.next_write;
      taken.push_back(&write);
    } else {
      is_busy = true;
      at = &write.next_write;
    }
  }
  return !is_busy;
}

Pages::Impl::Released Pages::Impl::release(const CookieRef& cookie, PageRange pages) {
  std::vector<PageWrite*> taken;
  const bool is_free = take_back(cookie, pages, taken);
  for (PageWrite* const write : taken) write->stored(*write, fail(ErrorCode::kCancelled));
  return {is_free ? Release::kReleased : Release::kBusy, taken.size()};
}

Release Pages::maybe_release(const CookieRef& cookie, PageRange pages) {
  const Impl::Released released = impl_->release(cookie, pages);
  Counters& counters = impl_->fs.counters();
  counters.releases_cancelled.add(released.taken_back);
  if (released.answer == Release::kBusy)
    counters.releases_busy.add();
  else if (released.taken_back == 0)
    counters.releases_clear.add();
  return released.answer;
}

void Pages::uncache_pages(const CookieRef& cookie, PageRange pages) {
  impl_->release(cookie, pages);
  // One page that was forgotten may be stored: the store is asked again.
  if (cookie) cookie->clear(kCookieNoDataYet);
}

void Pages::readpages_cancel(const CookieRef& cookie, PageRange pages) {
  impl_->release(cookie, pages);
}

}  // namespace larder::cache
