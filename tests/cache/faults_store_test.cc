// SPDX-License-Identifier: Apache-2.0
// What went wrong in the kernel's FS-Cache with pages and with culling, one test each, on a real
// store: that it cannot happen here. The others: faults_test.cc.
#include <larder/pages.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "cache/object.h"
#include "cache/pages_rig.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::cache;
using namespace larder::test;

namespace {

ObjectPtr object_of(const CookieRef& cookie) {
  MutexLock lock(cookie->mutex);
  return cookie->object();
}

// Not taken before it may run; holds up what comes behind it.
struct Barrier : Operation {
  Barrier() {
    type = OperationType::kSlow;
    sharing = Sharing::kExclusive;
    run = [](Operation&) {};
  }
};

}  // namespace

// -- hangs, races, oopses -------------------------------------------------------------------------

TEST_CASE("memory-reclaim deadlock: who stores a page waits for one that is queued behind it") {
  PagesRig rig;
  const CookieRef cookie = rig.acquire("f");
  Write first(run(0, 1)), second(run(1, 1)), third(run(2, 1));
  Barrier barrier;
  REQUIRE(rig.calls.write_pages(cookie, first) == PageResult::kDone);
  REQUIRE(rig.calls.write_pages(cookie, second) == PageResult::kDone);
  REQUIRE(rig.fs->submit(cookie, barrier) == Submitted::kLater);
  REQUIRE(rig.calls.write_pages(cookie, third) == PageResult::kDone);
  // The one worker writes the first page, finds no memory, and is asked to give some back. Had any
  // of these waited, or had it held a lock that they take, it would be for ever.
  std::vector<Release> answers;
  rig.engine->on_operation = [&] {
    if (!answers.empty()) return;
    for (const std::uint64_t page : {0u, 1u, 2u, 3u}) {
      answers.push_back(rig.calls.maybe_release(cookie, run(page, 1)));
    }
  };
  rig.settle();
  rig.engine->on_operation = nullptr;
  CHECK(answers == std::vector<Release>{Release::kBusy, Release::kBusy, Release::kReleased,
                                        Release::kReleased});
  CHECK(first.status->has_value());
  CHECK(second.status->has_value());
  CHECK(third.status->error().code == ErrorCode::kCancelled);  // its memory is free
  rig.fs->complete(barrier);
  CHECK(rig.read(cookie, run(0, 2)) == PageResult::kDone);
}

TEST_CASE("PG_fscache left set: pages of a read-ahead that the netfs gives up stay marked") {
  PagesRig rig;
  const CookieRef cookie = rig.acquire("f");
  rig.store_pages(cookie, run(0, 1));
  {
    Read ahead(run(0, 4));
    REQUIRE(rig.calls.read_or_alloc_pages(cookie, ahead) == PageResult::kNoData);
    REQUIRE(ahead.to_fetch == std::vector<PageRange>{run(1, 3)});
    // It fetches none of them, and frees the record.
    for (const PageRange& given_up : ahead.to_fetch) rig.calls.readpages_cancel(cookie, given_up);
  }
  CHECK(object_of(cookie)->is_idle());
  CHECK(rig.calls.maybe_release(cookie, run(0, 4)) == Release::kReleased);
  CHECK(rig.fs->stats_text().find("VmScan : nos=1 gon=0 bsy=0 can=0") != std::string::npos);
  // Nor does one that forgets to cancel leave anything: no page is ever marked.
  {
    Read ahead(run(0, 4));
    REQUIRE(rig.calls.read_or_alloc_pages(cookie, ahead) == PageResult::kNoData);
  }
  CHECK(object_of(cookie)->is_idle());
  rig.store_pages(cookie, run(1, 3));
  CHECK(rig.read(cookie, run(0, 4)) == PageResult::kDone);
}

// 80 readers and writers of one file, and somebody who wants the memory back all the time.
TEST_CASE("page leak under memory pressure: a store that is cancelled keeps its page") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    INFO("seed " << seed);
    Random random(Seed{seed});
    PagesRig rig;
    const CookieRef cookie = rig.acquire("f");
    std::vector<std::unique_ptr<Write>> writes;  // their memory, until `stored`
    std::vector<std::unique_ptr<Read>> reads;
    std::vector<std::unique_ptr<Barrier>> barriers;
    const auto any_page = [&] { return run(random.below(4), 1); };
    for (int i = 0; i < 80; ++i) {
      writes.push_back(std::make_unique<Write>(any_page()));
      REQUIRE(rig.calls.write_pages(cookie, *writes.back()) == PageResult::kDone);
      reads.push_back(std::make_unique<Read>(any_page()));
      rig.calls.read_or_alloc_pages(cookie, *reads.back());
      if (random.one_in(8)) {
        barriers.push_back(std::make_unique<Barrier>());
        REQUIRE(rig.fs->submit(cookie, *barriers.back()) != Submitted::kNever);
      }
      while (random.one_in(2)) rig.calls.maybe_release(cookie, any_page());
      while (random.one_in(2)) rig.machine.run_one(random);
    }
    for (const auto& barrier : barriers) {
      rig.settle();
      rig.fs->complete(*barrier);
    }
    rig.settle();
    for (const auto& write : writes) CHECK(write->calls_of_stored == 1);
    CHECK(std::any_of(writes.begin(), writes.end(),
                      [](const auto& write) { return !write->status->has_value(); }));
    // Nothing is held: not the object, not the memory, and each page is stored once at most.
    CHECK(object_of(cookie)->is_idle());
    CHECK(rig.calls.maybe_release(cookie, run(0, 4)) == Release::kReleased);
    CHECK(rig.store->counters().fill_in_flight_bytes.value() == 0);
    REQUIRE(rig.store->sync());
    CHECK(rig.store->counters().used_bytes.value() <= 4 * kPageSize);
  }
}

TEST_CASE("page beyond the store limit: it stayed in the queue, with all that was behind it") {
  PagesRig rig;
  const CookieRef cookie = rig.acquire("f");  // of four pages
  Write beyond(run(9, 1)), across(run(3, 2)), behind(run(0, 1));
  REQUIRE(rig.calls.write_pages(cookie, beyond) == PageResult::kNoBufs);
  REQUIRE(rig.calls.write_pages(cookie, across) == PageResult::kNoBufs);
  REQUIRE(rig.calls.write_pages(cookie, behind) == PageResult::kDone);
  rig.settle();
  CHECK(behind.calls_of_stored == 1);
  CHECK(rig.fs->stats_text().find(" olm=2\n") != std::string::npos);
  CHECK(rig.calls.maybe_release(cookie, run(0, 16)) == Release::kReleased);  // nobody waits
  CHECK(rig.read(cookie, run(0, 1)) == PageResult::kDone);
  CHECK(rig.read(cookie, run(9, 1)) == PageResult::kNoData);
  CHECK(rig.read(cookie, run(4, 1)) == PageResult::kNoData);
}

// -- silently stops caching -----------------------------------------------------------------------

TEST_CASE("culling stops when the cache is full: whatever the netfs knows of is in use") {
  PagesRig rig({.objects = 60, .frun = 40, .fcull = 20, .fstop = 5});
  std::vector<CookieRef> files;  // all of which stay open
  const std::uint64_t capacity = rig.store->capacity().value();
  constexpr std::uint64_t kPages = 64;
  for (std::uint64_t filled = 0; filled < 3 * capacity; filled += kPages * kPageSize) {
    rig.clock.advance(kSecond);
    const std::string key = "f" + std::to_string(files.size());
    files.push_back(rig.fs->acquire(rig.share, kFileKind, bytes_of(key), bytes_of("v1"),
                                    ByteCount{kPages * kPageSize}, &rig.file, files.size()));
    rig.settle();
    Write write(run(0, kPages));
    write.file_size = ByteCount{kPages * kPageSize};
    INFO("file " << files.size() << " of " << 3 * capacity / kPages / kPageSize);
    REQUIRE(rig.calls.write_pages(files.back(), write) == PageResult::kDone);
    rig.settle();
    REQUIRE(write.status->has_value());
    REQUIRE(rig.store->sync());
    rig.settle();
    CHECK(rig.read(files.back(), run(0, kPages)) == PageResult::kDone);
  }
  CHECK(rig.store->counters().evicted_extents.value() > 0);
  // One that was culled long ago is cached again at its next use.
  CHECK_FALSE(object_of(files.front()));
  CHECK(rig.read(files.front(), run(0, 1)) != PageResult::kNoBufs);
  CHECK(object_of(files.front()));
}

TEST_CASE("the cull daemon goes by atime, looks at 4096 objects, scans anew, culls one a loop") {
  // More than that, the oldest by use made last. One sweep finds exactly those.
  constexpr std::uint32_t kObjects = 6000;
  PagesRig rig({.objects = kObjects, .frun = 10, .fcull = 7, .fstop = 3});
  std::vector<CookieRef> files;
  const std::uint32_t before = kObjects * 93 / 100 - 4;
  for (std::uint32_t i = 0; i < before; ++i) {
    files.push_back(rig.fs->acquire(rig.share, kFileKind, bytes_of(std::to_string(i)),
                                    bytes_of("v1"), ByteCount{1}, &rig.file, i));
  }
  rig.settle();
  for (std::size_t i = files.size(); i-- > 0;) {
    rig.clock.advance(20 * kMillisecond);
    Operation use;
    REQUIRE(rig.fs->submit(files[i], use) == Submitted::kNow);
    rig.fs->complete(use);
  }
  Counters& counters = rig.fs->counters();
  REQUIRE(counters.objects_swept.value() == 0);
  for (int i = 0; i < 2; ++i) files.push_back(rig.acquire("more " + std::to_string(i)));
  const std::uint64_t closed = counters.objects_closed.value();
  CHECK(closed >= kObjects * 3 / 100);
  CHECK(counters.objects_swept.value() <= kObjects);  // all of them, once, for all that go
  for (std::size_t i = 0; i < before; ++i) {
    const bool is_oldest = i >= before - closed;
    if ((object_of(files[i]) == nullptr) != is_oldest) FAIL("file " << i);
  }
}

TEST_CASE("whole files only: a part of a large one goes, the rest stays cached") {
  PagesRig rig;
  constexpr std::uint64_t kPages = 256;
  const std::uint64_t file_pages = rig.store->capacity().value() / kPageSize;
  const ByteCount size{file_pages * kPageSize};
  const CookieRef file =
      rig.fs->acquire(rig.share, kFileKind, bytes_of("f"), bytes_of("v1"), size, &rig.file, 1);
  rig.settle();
  for (std::uint64_t page = 0; page + kPages <= file_pages; page += kPages) {
    Write write(run(page, kPages));
    write.file_size = size;
    REQUIRE(rig.calls.write_pages(file, write) == PageResult::kDone);
    rig.settle();
    REQUIRE(rig.store->sync());
    rig.settle();
  }
  Operation asks;
  REQUIRE(rig.fs->submit(file, asks) == Submitted::kNow);
  const std::uint64_t cached = rig.store->cached_pages(FsCache::data_of(asks)).value();
  rig.fs->complete(asks);
  CHECK(rig.store->counters().evicted_extents.value() > 0);
  CHECK(cached > file_pages / 2);
  CHECK(cached < file_pages);
}

TEST_CASE("objects without pages go before those with, however recently they were used") {
  PagesRig rig({.objects = 100, .frun = 40, .fcull = 20, .fstop = 5});
  std::vector<CookieRef> full, empty;
  for (int i = 0; i < 36; ++i) {
    full.push_back(rig.acquire("full " + std::to_string(i)));
    rig.store_pages(full.back(), run(0, 4));
  }
  rig.clock.advance(kSecond);
  for (int i = 0; i < 45; ++i) empty.push_back(rig.acquire("empty " + std::to_string(i)));
  CHECK(rig.fs->counters().objects_closed.value() == 20);
  for (const CookieRef& file : full) CHECK(object_of(file));
  for (std::size_t i = 0; i < 20; ++i) CHECK_FALSE(object_of(empty[i]));
}
