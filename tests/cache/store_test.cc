// SPDX-License-Identifier: Apache-2.0
// The cache floor on a real store, on a simulated device: what is kept, what is deleted, what comes
// back after a restart.
#include "cache/store_rig.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::cache;
using namespace larder::test;

TEST_CASE("what was filled is there again: for the next cookie, and after a restart") {
  Rig rig;
  CookieRef cookie = rig.acquire("f");
  CHECK(rig.cached(cookie) == 0);
  REQUIRE(rig.fill(cookie));
  CHECK(rig.cached(cookie) == 4);
  rig.fs->relinquish(std::move(cookie), Retire::kNo);
  cookie = rig.acquire("f");
  CHECK(rig.cached(cookie) == 4);
  cookie = nullptr;
  rig.restart();
  CHECK(rig.cached(rig.acquire("f")) == 4);
}

TEST_CASE(
    "what was retired is gone, at once and after a restart, also by a cookie that never looked") {
  Rig rig;
  REQUIRE(rig.fill(rig.acquire("f")));
  REQUIRE(rig.fill(rig.acquire("g")));
  rig.restart();
  CookieRef cookie = rig.fs->acquire(rig.share, kFileKind, bytes_of("f"), bytes_of("v1"),
                                     ByteCount{1}, &rig.file, 2);
  rig.fs->relinquish(std::move(cookie), Retire::kYes);
  rig.settle();
  CHECK(rig.cached(rig.acquire("f")) == 0);
  rig.restart();
  CHECK(rig.cached(rig.acquire("f")) == 0);
  CHECK(rig.cached(rig.acquire("g")) == 4);
}

TEST_CASE("another version on the share is found obsolete at look-up") {
  Rig rig;
  REQUIRE(rig.fill(rig.acquire("f")));
  rig.restart();
  rig.file.version = "v2";
  CookieRef cookie = rig.acquire("f");
  CHECK(rig.cached(cookie) == 0);
  REQUIRE(rig.fill(cookie));
  CHECK(rig.cached(cookie) == 4);
}

TEST_CASE("after an invalidation the old pages and the old fills are refused") {
  Rig rig;
  CookieRef cookie = rig.acquire("f");
  REQUIRE(rig.fill(cookie));
  rig.file.version = "v2";
  rig.fs->invalidate(cookie, bytes_of("v2"), ByteCount{4 * kPageSize});
  CHECK(rig.cached(cookie) == 0);
  rig.settle();
  CHECK(rig.cached(cookie) == 0);
  const Status stale = rig.fill(cookie, 1);
  REQUIRE_FALSE(stale);
  CHECK(stale.error().code == ErrorCode::kStale);
  REQUIRE(rig.fill(cookie));
  cookie = nullptr;
  rig.restart();
  CHECK(rig.cached(rig.acquire("f")) == 4);
}

TEST_CASE("a netfs of another version finds nothing of the old one") {
  Rig rig;
  REQUIRE(rig.fill(rig.acquire("f")));
  rig.restart(2);
  CHECK(rig.cached(rig.acquire("f")) == 0);
}

TEST_CASE("a directory's object is there at once, and its names stay") {
  Rig rig;
  const auto directory = rig.fs->index_of(rig.share);
  REQUIRE(directory);
  CHECK(rig.fs->index_of(rig.share) == directory);
  NameRecord record;
  record.file.inode = 42;
  rig.store->put_name(directory.object, "name", record);
  rig.restart();
  const auto found = rig.store->find_name(rig.fs->index_of(rig.share).object, "name");
  REQUIRE(found);
  CHECK(found->file.inode == 42);
}

TEST_CASE("a renamed object keeps its pages and replaces what was there") {
  Rig rig;
  CookieRef cookie = rig.acquire("a");
  CookieRef other = rig.acquire("b");
  REQUIRE(rig.fill(cookie));
  rig.fs->rename(cookie, rig.share, bytes_of("b"));
  rig.settle();
  CHECK(rig.cached(cookie) == 4);
  CHECK(rig.cached(other) == 0);
  CHECK(rig.cached(rig.acquire("a")) == 0);
  cookie = other = nullptr;
  rig.restart();
  CHECK(rig.cached(rig.acquire("b")) == 4);
}

TEST_CASE("a store that fails is a miss, never an error and never a hang") {
  Rig rig;
  CookieRef cookie = rig.acquire("f");
  REQUIRE(rig.fill(cookie));
  rig.engine->stop_at(1);
  CHECK_FALSE(rig.store->sync());
  REQUIRE(rig.store->state() == store::State::kBypass);
  CHECK(rig.cached(cookie) == 0);
  CHECK(rig.cached(rig.acquire("g")) == 0);
  rig.fs->invalidate(cookie, bytes_of("v2"), ByteCount{1});
  rig.fs->relinquish(std::move(cookie), Retire::kYes);
  rig.settle();
  stats::Registry registry;
  rig.fs->register_in(registry);
  for (const auto& entry : registry.entries()) {
    if (entry.name == "cache.ops_pending") CHECK(entry.read() == 0);
  }
}
