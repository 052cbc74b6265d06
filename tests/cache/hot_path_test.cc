// SPDX-License-Identifier: Apache-2.0
// What a MYTHREAD operation on an active object costs beside its work: nothing is allocated,
// nothing is handed to another thread, and no lock is held while the store reads.
#include <larder/io_engine.h>

#include <functional>

#include "base/mutex.h"
#include "bench/allocations.h"
#include "cache/stats.h"
#include "cache/store_rig.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::cache;
using namespace larder::test;

namespace {

// Says when a thread reads from the device.
struct WatchedEngine final : IoEngine {
  explicit WatchedEngine(Rig& the_rig) : rig(the_rig) {}
  void submit(IoRequest& request) override { rig.engine->submit(request); }
  Status read_now(int fd, ByteOffset offset, std::span<std::byte> into, ReadMode mode) override {
    if (on_read) on_read();
    return rig.engine->read_now(fd, offset, into, mode);
  }
  std::string name() const override { return "watched"; }

  Rig& rig;
  std::function<void()> on_read;
};

struct HotRig : Rig {
  HotRig() {
    through = &watched;
    restart();
    file_cookie = acquire("f");
    REQUIRE(fill(file_cookie));
  }
  ~HotRig() { stop(); }
  std::uint64_t posted() { return fs->counters().ops_posted.value(); }

  WatchedEngine watched{*this};
  CookieRef file_cookie;
};

constexpr int kTimes = 1000;

}  // namespace

TEST_CASE("the count of allocations sees also what is given back at once") {
  const bench::Allocations allocations;
  for (int i = 0; i < kTimes; ++i) {
    const std::unique_ptr<std::uint64_t> gone(new std::uint64_t);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    // So that the compiler cannot leave it out.
    asm volatile("" : : "r"(gone.get()) : "memory");
  }
  CHECK(allocations.count() >= kTimes);
}

TEST_CASE("a MYTHREAD operation on an active object allocates nothing and is handed to nobody") {
  HotRig rig;
  for (const Sharing sharing : {Sharing::kShareable, Sharing::kExclusive}) {
    const std::uint64_t posted = rig.posted();
    const std::size_t queued = rig.machine.size() + rig.answer.size();
    std::uint64_t taken = 0;
    const bench::Allocations allocations;
    for (int i = 0; i < kTimes; ++i) {
      Operation operation;
      operation.sharing = sharing;
      operation.kind = OperationKind::kRead;
      taken += rig.fs->submit(rig.file_cookie, operation) == Submitted::kNow;
      rig.fs->complete(operation);
    }
    CHECK(allocations.count() == 0);
    CHECK(taken == kTimes);
    CHECK(rig.posted() == posted);
    CHECK(rig.machine.size() + rig.answer.size() == queued);
  }
}

TEST_CASE("a warm read within it allocates nothing either, and holds no lock while it reads") {
  HotRig rig;
  // The lowest of all ranks: whoever holds any lock may not take it, and is stopped.
  Mutex lowest(Rank::kControl);
  int reads = 0;
  rig.watched.on_read = [&] {
    MutexLock lock(lowest);
    ++reads;
  };
  AlignedBuffer buffer(4 * kPageSize);
  std::uint64_t pages = 0;
  const std::uint64_t posted = rig.posted();
  const auto read = [&] {
    Operation operation;
    operation.kind = OperationKind::kRead;
    check(rig.fs->submit(rig.file_cookie, operation) == Submitted::kNow, "it is up");
    pages += FsCache::store_of(operation)
                 .read_now(FsCache::data_of(operation), {PageIndex{0}, PageCount{4}}, buffer.span())
                 .value();
    rig.fs->complete(operation);
  };
  read();  // what a first time takes
  const bench::Allocations allocations;
  for (int i = 0; i < kTimes; ++i) read();
  CHECK(allocations.count() == 0);
  CHECK(pages == 4 * (kTimes + 1));
  CHECK(reads >= kTimes);
  CHECK(rig.posted() == posted);
  CHECK(buffer.span()[0] == std::byte{7});
}
