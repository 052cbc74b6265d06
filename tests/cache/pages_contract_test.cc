// SPDX-License-Identifier: Apache-2.0
// The contract of the data calls as one table: in each situation of a cookie, what each call says.
// How the calls do it, and what becomes of what waits: pages_test.cc.
//
// In the kernel's words: kDone is 0, kNoData -ENODATA, kNoBufs -ENOBUFS, kInterrupted -ERESTARTSYS.
// kWaits is what the kernel does inside the call.
#include <larder/pages.h>

#include <vector>

#include "cache/pages_rig.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::cache;
using namespace larder::test;

namespace {

using enum PageResult;

struct Situation : PagesRig {
  CookieRef cookie;
  std::vector<std::unique_ptr<Operation>> held;

  ~Situation() {
    for (const auto& operation : held) fs->complete(*operation);
    settle();
  }
  void acquire_unseen(const std::string& key) {
    cookie = fs->acquire(share, kFileKind, bytes_of(key), bytes_of("v1"), ByteCount{kPageSize * 4},
                         &file, 2);
  }
  void acquire_file() {
    acquire_unseen("f");
    settle();
  }
  void hold(Sharing sharing) {
    held.push_back(std::make_unique<Operation>());
    held.back()->sharing = sharing;
    REQUIRE(fs->submit(cookie, *held.back()) == Submitted::kNow);
  }
  void change_content() {
    file.version = "v2";
    fs->invalidate(cookie, bytes_of("v2"), ByteCount{kPageSize * 4});
  }
};

struct Row {
  const char* when;
  void (*prepare)(Situation& at);
  PageResult read_first, read_all, alloc, write;
  Release release;
  Consistency with_v1;
  bool takes_a_size;  // attr_changed
};

constexpr Release kReleased = Release::kReleased, kBusy = Release::kBusy;
constexpr Consistency kConsistent = Consistency::kConsistent, kStale = Consistency::kStale,
                      kUnknown = Consistency::kUnknown;

// clang-format off
const std::vector<Row> kContract = {
    // situation, preparation                    first page  all pages alloc    write    release    aux v1       size
    {"no cookie",
     [](Situation&) {},                          kNoBufs,    kNoBufs,  kNoBufs, kNoBufs, kReleased, kUnknown,    false},
    {"disabled",
     [](Situation& at) {
       at.acquire_file();
       at.store_pages(at.cookie, run(0, 4));
       at.fs->disable(at.cookie, Retire::kNo);
     },                                          kNoBufs,    kNoBufs,  kNoBufs, kNoBufs, kReleased, kUnknown,    false},
    {"relinquished",
     [](Situation& at) {
       at.acquire_file();
       at.fs->relinquish(at.cookie, Retire::kNo);
     },                                          kNoBufs,    kNoBufs,  kNoBufs, kNoBufs, kReleased, kUnknown,    false},
    {"not looked up yet",
     [](Situation& at) { at.acquire_unseen("f"); }, kWaits,  kWaits,   kDone,   kDone,   kReleased, kUnknown,    true},
    {"its look-up failed",
     [](Situation& at) {
       at.acquire_file();
       at.store_pages(at.cookie, run(0, 1));
       at.engine->stop_at(1);
       REQUIRE_FALSE(at.store->sync());
       at.acquire_unseen("g");
       at.settle();
     },                                          kNoBufs,    kNoBufs,  kNoBufs, kNoBufs, kReleased, kUnknown,    false},
    {"nothing is stored yet",
     [](Situation& at) { at.acquire_file(); },   kNoData,    kNoData,  kDone,   kDone,   kReleased, kConsistent, true},
    {"another page is stored",
     [](Situation& at) {
       at.acquire_file();
       at.store_pages(at.cookie, run(2, 1));
     },                                          kNoData,    kNoData,  kDone,   kDone,   kReleased, kConsistent, true},
    {"the first page is stored",
     [](Situation& at) {
       at.acquire_file();
       at.store_pages(at.cookie, run(0, 1));
     },                                          kDone,      kNoData,  kDone,   kDone,   kReleased, kConsistent, true},
    {"all are stored",
     [](Situation& at) {
       at.acquire_file();
       at.store_pages(at.cookie, run(0, 4));
     },                                          kDone,      kDone,    kDone,   kDone,   kReleased, kConsistent, true},
    {"others read",
     [](Situation& at) {
       at.acquire_file();
       at.store_pages(at.cookie, run(0, 4));
       at.hold(Sharing::kShareable);
     },                                          kDone,      kDone,    kDone,   kDone,   kReleased, kConsistent, true},
    {"an exclusive operation is under way",
     [](Situation& at) {
       at.acquire_file();
       at.store_pages(at.cookie, run(0, 4));
       at.hold(Sharing::kExclusive);
     },                                          kWaits,     kWaits,   kDone,   kDone,   kReleased, kUnknown,    true},
    {"the content has changed just now",
     [](Situation& at) {
       at.acquire_file();
       at.store_pages(at.cookie, run(0, 4));
       at.change_content();
     },                                          kNoBufs,    kNoBufs,  kNoBufs, kNoBufs, kReleased, kUnknown,    false},
    {"the content had changed",
     [](Situation& at) {
       at.acquire_file();
       at.store_pages(at.cookie, run(0, 4));
       at.change_content();
       at.settle();
     },                                          kNoData,    kNoData,  kDone,   kDone,   kReleased, kStale,      true},
    {"another version was stored",
     [](Situation& at) {
       at.acquire_file();
       at.store_pages(at.cookie, run(0, 4));
       at.fs->relinquish(std::move(at.cookie), Retire::kNo);
       at.file.version = "v2";
       at.acquire_unseen("f");
       at.settle();
     },                                          kNoData,    kNoData,  kDone,   kDone,   kReleased, kConsistent, true},
    {"its cache is withdrawn",
     [](Situation& at) {
       at.acquire_file();
       at.store_pages(at.cookie, run(0, 4));
       at.fs->withdraw();
     },                                          kNoBufs,    kNoBufs,  kNoBufs, kNoBufs, kReleased, kUnknown,    false},
};
// clang-format on

template <class Answer>
void check_call(const Row& row, const char* call, Answer expected, auto ask) {
  INFO(row.when << ": " << call);
  Situation at;
  row.prepare(at);
  CHECK(ask(at) == expected);
  at.settle();
}

}  // namespace

TEST_CASE("the contract of the data calls") {
  for (const Row& row : kContract) {
    // What waits must outlive the situation's end.
    Read first(run(0, 1)), all(run(0, 4));
    Write write(run(0, 1));
    check_call(row, "read_or_alloc_page", row.read_first,
               [&](Situation& at) { return at.calls.read_or_alloc_pages(at.cookie, first); });
    check_call(row, "read_or_alloc_pages", row.read_all,
               [&](Situation& at) { return at.calls.read_or_alloc_pages(at.cookie, all); });
    check_call(row, "alloc_pages", row.alloc,
               [](Situation& at) { return at.calls.alloc_pages(at.cookie, run(0, 4)); });
    check_call(row, "write_pages", row.write,
               [&](Situation& at) { return at.calls.write_pages(at.cookie, write); });
    check_call(row, "maybe_release", row.release,
               [](Situation& at) { return at.calls.maybe_release(at.cookie, run(0, 4)); });
    check_call(row, "check_consistency", row.with_v1,
               [](Situation& at) { return at.fs->check_consistency(at.cookie, bytes_of("v1")); });
    check_call(row, "attr_changed", row.takes_a_size, [](Situation& at) {
      return at.fs->attr_changed(at.cookie, ByteCount{kPageSize * 4}).has_value();
    });
    // Each of a call's pages has one fate, and what is not read is to be fetched.
    std::uint64_t pages = 0;
    for (const PageRange& got : all.got) pages += got.count.value();
    for (const PageRange& lacks : all.to_fetch) pages += lacks.count.value();
    INFO(row.when);
    CHECK(pages == 4);
    CHECK(write.calls_of_stored == (row.write == kDone ? 1 : 0));
    CHECK(first.late.has_value() == (row.read_first == kWaits));
    // uncache_page and readpages_cancel have no answer; they are legal everywhere.
    Situation at;
    row.prepare(at);
    at.calls.uncache_pages(at.cookie, run(0, 4));
    at.calls.readpages_cancel(at.cookie, run(0, 4));
  }
}

TEST_CASE("maybe_release: nothing waits, one that waits is taken back, one under way is busy") {
  Situation at;
  at.acquire_file();
  CHECK(at.calls.maybe_release(at.cookie, run(0, 4)) == kReleased);
  Write waits(run(1, 1));
  at.hold(Sharing::kExclusive);
  REQUIRE(at.calls.write_pages(at.cookie, waits) == kDone);
  CHECK(at.calls.maybe_release(at.cookie, run(0, 1)) == kReleased);  // of another page
  CHECK_FALSE(waits.status);
  CHECK(at.calls.maybe_release(at.cookie, run(0, 4)) == kReleased);
  CHECK(waits.status->error().code == ErrorCode::kCancelled);
  at.fs->complete(*at.held.back());
  at.held.clear();
  Write under_way(run(1, 1));
  REQUIRE(at.calls.write_pages(at.cookie, under_way) == kDone);
  CHECK(at.calls.maybe_release(at.cookie, run(0, 4)) == kBusy);
  at.settle();
  CHECK(under_way.status->has_value());
}

TEST_CASE("a read that waits ends once: interrupted by a change of the content, or taken back") {
  Situation at;
  at.acquire_file();
  at.store_pages(at.cookie, run(0, 4));
  at.hold(Sharing::kExclusive);
  Read interrupted(run(0, 4)), taken_back(run(0, 4));
  REQUIRE(at.calls.read_or_alloc_pages(at.cookie, interrupted) == kWaits);
  REQUIRE(at.calls.read_or_alloc_pages(at.cookie, taken_back) == kWaits);
  CHECK(at.fs->cancel(taken_back));
  at.change_content();
  at.settle();
  CHECK(*interrupted.late == kInterrupted);
  CHECK(interrupted.to_fetch == std::vector<PageRange>{run(0, 4)});
  CHECK_FALSE(taken_back.late);
  CHECK(interrupted.got.empty());
}
