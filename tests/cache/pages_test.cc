// SPDX-License-Identifier: Apache-2.0
// The contract of the data calls, on a real store: which call gives which result when, as
// FS-Cache's netfs API has it, with the precedence of the results.
#include <larder/pages.h>

#include <vector>

#include "cache/pages_rig.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::cache;
using namespace larder::test;

TEST_CASE("a null cookie is legal in every data call, and caches nothing") {
  PagesRig rig;
  Read read(run(0, 2));
  Write write(run(0, 2));
  CHECK(rig.calls.read_or_alloc_pages(nullptr, read) == PageResult::kNoBufs);
  CHECK(read.to_fetch == std::vector<PageRange>{run(0, 2)});
  CHECK(rig.calls.alloc_pages(nullptr, run(0, 1)) == PageResult::kNoBufs);
  CHECK(rig.calls.write_pages(nullptr, write) == PageResult::kNoBufs);
  CHECK_FALSE(write.status);
  CHECK(rig.calls.maybe_release(nullptr, run(0, 1)) == Release::kReleased);
  rig.calls.uncache_pages(nullptr, run(0, 1));
  rig.calls.readpages_cancel(nullptr, run(0, 1));
}

TEST_CASE("read_or_alloc_pages: no data yet is known without asking the store") {
  PagesRig rig;
  const CookieRef cookie = rig.acquire("f");
  const auto misses = [&] { return rig.store->counters().misses.value(); };
  const std::uint64_t before = misses();
  Read read(run(0, 4));
  CHECK(rig.calls.read_or_alloc_pages(cookie, read) == PageResult::kNoData);
  CHECK(read.to_fetch == std::vector<PageRange>{run(0, 4)});
  CHECK(misses() == before);
  // One page that was forgotten, and the store is asked again.
  rig.calls.uncache_pages(cookie, run(3, 1));
  CHECK(rig.read(cookie, run(0, 4)) == PageResult::kNoData);
}

TEST_CASE("read_or_alloc_pages: what is cached is read run by run, the rest is to be fetched") {
  PagesRig rig;
  const CookieRef cookie = rig.acquire("f");
  rig.store_pages(cookie, run(1, 2));
  Read read(run(0, 4));
  CHECK(rig.calls.read_or_alloc_pages(cookie, read) == PageResult::kNoData);  // not all is there
  CHECK(read.got == std::vector<PageRange>{run(1, 2)});
  CHECK(read.to_fetch == std::vector<PageRange>{run(0, 1), run(3, 1)});
  CHECK(read.buffer.span()[kPageSize] == std::byte{7});
  CHECK(read.buffer.span()[0] == std::byte{0});
  CHECK(rig.read(cookie, run(1, 2)) == PageResult::kDone);
  CHECK(rig.read(cookie, run(1, 1)) == PageResult::kDone);
}

TEST_CASE("the results of a call over many pages have an order") {
  CHECK(PageResult::kInterrupted < PageResult::kNoBufs);
  CHECK(PageResult::kNoBufs < PageResult::kNoData);
  CHECK(PageResult::kNoData < PageResult::kDone);
}

TEST_CASE("what would wait for the look-up says so, and ends later") {
  PagesRig rig;
  const CookieRef cookie = rig.fs->acquire(rig.share, kFileKind, bytes_of("f"), bytes_of("v1"),
                                           ByteCount{kPageSize * 4}, &rig.file, 2);
  Write write(run(0, 4));
  Read read(run(0, 4));
  CHECK(rig.calls.alloc_pages(cookie, run(0, 4)) == PageResult::kDone);
  CHECK(rig.calls.write_pages(cookie, write) == PageResult::kDone);  // stacks up
  CHECK(rig.calls.read_or_alloc_pages(cookie, read) == PageResult::kWaits);
  CHECK_FALSE(read.late);
  rig.settle();
  CHECK(write.status->has_value());
  CHECK(*read.late == (read.got.empty() ? PageResult::kNoData : PageResult::kDone));
  CHECK(rig.read(cookie, run(0, 4)) == PageResult::kDone);
}

TEST_CASE("a read that waits is interrupted by its owner, or by an invalidation") {
  PagesRig rig;
  const CookieRef cookie = rig.fs->acquire(rig.share, kFileKind, bytes_of("f"), bytes_of("v1"),
                                           ByteCount{kPageSize * 4}, &rig.file, 2);
  Read mine(run(0, 1)), other(run(0, 1));
  CHECK(rig.calls.read_or_alloc_pages(cookie, mine) == PageResult::kWaits);
  CHECK(rig.calls.read_or_alloc_pages(cookie, other) == PageResult::kWaits);
  CHECK(rig.fs->cancel(mine));
  rig.file.version = "v2";
  rig.fs->invalidate(cookie, bytes_of("v2"), ByteCount{kPageSize});
  rig.settle();
  CHECK_FALSE(mine.late);  // it was told by cancel()
  CHECK(*other.late == PageResult::kInterrupted);
  CHECK(other.to_fetch == std::vector<PageRange>{run(0, 1)});
}

TEST_CASE("while a cookie is invalidated every data call says that it cannot cache") {
  PagesRig rig;
  const CookieRef cookie = rig.acquire("f");
  rig.store_pages(cookie, run(0, 4));
  rig.file.version = "v2";
  rig.fs->invalidate(cookie, bytes_of("v2"), ByteCount{kPageSize * 4});
  Read read(run(0, 4));
  Write write(run(0, 4));
  CHECK(rig.calls.read_or_alloc_pages(cookie, read) == PageResult::kNoBufs);
  CHECK(rig.calls.alloc_pages(cookie, run(0, 4)) == PageResult::kNoBufs);
  CHECK(rig.calls.write_pages(cookie, write) == PageResult::kNoBufs);
  rig.settle();
  CHECK(rig.read(cookie, run(0, 4)) == PageResult::kNoData);
  rig.store_pages(cookie, run(0, 4));
  CHECK(rig.read(cookie, run(0, 4)) == PageResult::kDone);
}

TEST_CASE("disabled, dying or failed, a cookie cannot cache") {
  PagesRig rig;
  const CookieRef cookie = rig.acquire("f");
  rig.store_pages(cookie, run(0, 1));
  rig.fs->disable(cookie, Retire::kNo);
  CHECK(rig.read(cookie, run(0, 1)) == PageResult::kNoBufs);
  CHECK(rig.calls.alloc_pages(cookie, run(0, 1)) == PageResult::kNoBufs);
  rig.settle();
  rig.fs->enable(cookie, bytes_of("v1"), ByteCount{kPageSize * 4});
  rig.settle();
  CHECK(rig.read(cookie, run(0, 1)) == PageResult::kDone);
}

TEST_CASE("write_pages: a page that is queued already is taken again; the later content counts") {
  PagesRig rig;
  const CookieRef cookie = rig.acquire("f");
  Write first(run(0, 2), std::byte{1}), again(run(0, 2), std::byte{2});
  CHECK(rig.calls.write_pages(cookie, first) == PageResult::kDone);
  CHECK(rig.calls.write_pages(cookie, again) == PageResult::kDone);
  rig.settle();
  CHECK(first.calls_of_stored == 1);
  CHECK(again.calls_of_stored == 1);
  CHECK(again.status->has_value());
  Read read(run(0, 2));
  CHECK(rig.calls.read_or_alloc_pages(cookie, read) == PageResult::kDone);
  CHECK(read.buffer.span()[0] == std::byte{2});
  CHECK(rig.fs->stats_text().find("Stores : n=2 ok=2 agn=1 nbf=0 oom=0\n") != std::string::npos);
}

TEST_CASE("maybe_release takes back what waits to be stored, and never waits") {
  PagesRig rig;
  const CookieRef cookie = rig.acquire("f");
  CHECK(rig.calls.maybe_release(cookie, run(0, 4)) == Release::kReleased);  // nothing is stored
  Operation holds;
  REQUIRE(rig.fs->submit(cookie, holds) == Submitted::kNow);
  Operation barrier;
  barrier.sharing = Sharing::kExclusive;
  barrier.type = OperationType::kSlow;
  barrier.run = [](Operation&) {};
  REQUIRE(rig.fs->submit(cookie, barrier) == Submitted::kLater);
  Write waits(run(0, 2)), beside(run(3, 1));
  CHECK(rig.calls.write_pages(cookie, waits) == PageResult::kDone);
  CHECK(rig.calls.write_pages(cookie, beside) == PageResult::kDone);
  CHECK(rig.calls.maybe_release(cookie, run(1, 1)) == Release::kReleased);  // taken back
  CHECK(waits.status->error().code == ErrorCode::kCancelled);
  CHECK_FALSE(beside.status);
  CHECK(rig.calls.maybe_release(cookie, run(1, 1)) == Release::kReleased);  // gone
  rig.fs->complete(holds);
  rig.settle();
  rig.fs->complete(barrier);
  CHECK(rig.calls.maybe_release(cookie, run(3, 1)) == Release::kBusy);  // on its way
  rig.settle();
  CHECK(beside.status->has_value());
  CHECK(rig.calls.maybe_release(cookie, run(3, 1)) == Release::kReleased);
  CHECK(rig.fs->stats_text().find("VmScan : nos=3 gon=0 bsy=1 can=1 wt=0\n") != std::string::npos);
}

TEST_CASE("alloc_pages is counted as the kernel counts it, with the figure that it never kept") {
  PagesRig rig;
  const CookieRef cookie = rig.acquire("f");
  CHECK(rig.calls.alloc_pages(cookie, run(0, 1)) == PageResult::kDone);
  CHECK(rig.calls.alloc_pages(nullptr, run(0, 1)) == PageResult::kNoBufs);
  const std::string text = rig.fs->stats_text();
  CHECK(text.find("Allocs : n=2 ok=1 wt=0 nbf=1 int=0\nAllocs : ops=1 owt=0 abt=0\n") !=
        std::string::npos);
}

TEST_CASE("uncache_pages and readpages_cancel take writes back and leave what is stored") {
  PagesRig rig;
  const CookieRef cookie = rig.acquire("f");
  rig.store_pages(cookie, run(0, 2));
  rig.calls.uncache_pages(cookie, run(0, 2));
  rig.calls.readpages_cancel(cookie, run(0, 4));
  CHECK(rig.read(cookie, run(0, 2)) == PageResult::kDone);
}

TEST_CASE("a write that waits is cancelled once when its cookie goes") {
  PagesRig rig;
  CookieRef cookie = rig.fs->acquire(rig.share, kFileKind, bytes_of("f"), bytes_of("v1"),
                                     ByteCount{kPageSize * 4}, &rig.file, 2);
  Write write(run(0, 4));
  CHECK(rig.calls.write_pages(cookie, write) == PageResult::kDone);
  rig.fs->relinquish(std::move(cookie), Retire::kYes);
  rig.settle();
  CHECK(write.calls_of_stored == 1);
  CHECK(write.status->error().code == ErrorCode::kCancelled);
}

TEST_CASE("a write that a queue has when the content changes is not taken for the new content") {
  PagesRig rig;
  const CookieRef cookie = rig.acquire("f");
  Write of_before(run(0, 2));
  REQUIRE(rig.calls.write_pages(cookie, of_before) == PageResult::kDone);  // a queue has it
  rig.file.version = "v2";
  rig.fs->invalidate(cookie, bytes_of("v2"), ByteCount{kPageSize * 4});
  REQUIRE(rig.machine.run_last());  // the object is invalidated before the write's turn comes
  rig.settle();
  CHECK(of_before.calls_of_stored == 1);
  CHECK(of_before.status->error().code == ErrorCode::kStale);
  CHECK(rig.read(cookie, run(0, 2)) == PageResult::kNoData);
  rig.store_pages(cookie, run(0, 2));
  CHECK(rig.read(cookie, run(0, 2)) == PageResult::kDone);
}
