// SPDX-License-Identifier: Apache-2.0
// No invalidation is lost, whatever the cookie has or has not at that moment. The version stays the
// same throughout, so nothing but the invalidation says that what is stored must go.
#include <memory>
#include <utility>

#include "cache/store_rig.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::cache;
using namespace larder::test;

namespace {

void invalidate(Rig& rig, const CookieRef& cookie) {
  rig.fs->invalidate(cookie, bytes_of(rig.file.version), ByteCount{kPageSize * 4});
}

// Uses the cookie until it has an object that is up.
void bring_up(Rig& rig, const CookieRef& cookie) {
  rig.clock.advance(2 * kSecond);
  static_cast<void>(rig.cached(cookie));
  rig.settle();
  REQUIRE(rig.fs->state_of(cookie) == "ACTV");
}

// What was stored is gone, and it caches again.
void holds_nothing_of_before(Rig& rig, const CookieRef& cookie) {
  bring_up(rig, cookie);
  CHECK(rig.cached(cookie) == 0);
  REQUIRE(rig.fill(cookie));
  CHECK(rig.cached(cookie) == 4);
}

void break_object(Rig& rig, const CookieRef& cookie) {
  Operation operation;
  REQUIRE(rig.fs->submit(cookie, operation) == Submitted::kNow);
  rig.fs->abort(operation);
  rig.settle();
  REQUIRE(rig.fs->state_of(cookie) == "none");
}

}  // namespace

TEST_CASE("invalidated while its object is closed for others") {
  FsCacheOptions options;
  options.objects = 6;  // of which three are indices
  options.frun = 40;
  options.fcull = 20;
  options.fstop = 0;
  Rig rig(options);
  const CookieRef cookie = rig.acquire("f");
  REQUIRE(rig.fill(cookie));
  const CookieRef other = rig.acquire("g");
  REQUIRE(rig.fs->state_of(cookie) == "none");
  invalidate(rig, cookie);
  rig.settle();
  holds_nothing_of_before(rig, cookie);
}

TEST_CASE("invalidated in the pause behind a failure") {
  Rig rig;
  CookieRef cookie = rig.acquire("f");
  REQUIRE(rig.fill(cookie));
  break_object(rig, cookie);
  invalidate(rig, cookie);
  rig.settle();
  REQUIRE(rig.fs->state_of(cookie) == "none");
  SECTION("and used") { holds_nothing_of_before(rig, cookie); }
  SECTION("and renamed") {
    rig.fs->rename(cookie, rig.share, bytes_of("other"));
    rig.settle();
    CHECK(rig.cached(rig.acquire("other")) == 0);
    CHECK(rig.cached(rig.acquire("f")) == 0);
  }
  SECTION("and relinquished, by who comes next") {
    rig.fs->relinquish(std::move(cookie), Retire::kNo);
    holds_nothing_of_before(rig, rig.acquire("f"));
  }
}

TEST_CASE("invalidated while its store is withdrawn, which is then added again") {
  Rig rig;
  const CookieRef cookie = rig.acquire("f");
  REQUIRE(rig.fill(cookie));
  rig.fs->withdraw();
  invalidate(rig, cookie);
  REQUIRE(rig.fs->add_cache(*rig.store));
  holds_nothing_of_before(rig, cookie);
}

TEST_CASE("invalidated while it is disabled") {
  Rig rig;
  CookieRef cookie = rig.acquire("f");
  REQUIRE(rig.fill(cookie));
  rig.fs->disable(cookie, Retire::kNo);
  rig.settle();
  invalidate(rig, cookie);
  SECTION("and enabled") {
    rig.fs->enable(cookie, bytes_of(rig.file.version), ByteCount{kPageSize * 4});
    rig.settle();
    holds_nothing_of_before(rig, cookie);
  }
  SECTION("and relinquished") {
    rig.fs->relinquish(std::move(cookie), Retire::kNo);
    rig.settle();
    holds_nothing_of_before(rig, rig.acquire("f"));
  }
}

TEST_CASE("invalidated before its object is looked up") {
  Rig rig;
  REQUIRE(rig.fill(rig.acquire("f")));
  rig.restart();
  CookieRef cookie =
      rig.fs->acquire(rig.share, kFileKind, bytes_of("f"), bytes_of(rig.file.version),
                      ByteCount{kPageSize * 4}, &rig.file, 2);
  invalidate(rig, cookie);
  SECTION("and used") { holds_nothing_of_before(rig, cookie); }
  SECTION("and relinquished") {
    rig.fs->relinquish(std::move(cookie), Retire::kNo);
    rig.settle();
    CHECK(rig.cached(rig.acquire("f")) == 0);
  }
  SECTION("and disabled") {
    rig.fs->disable(cookie, Retire::kNo);
    rig.settle();
    rig.fs->enable(cookie, bytes_of(rig.file.version), ByteCount{kPageSize * 4});
    holds_nothing_of_before(rig, cookie);
  }
  SECTION("and withdrawn") {
    rig.fs->withdraw();
    REQUIRE(rig.fs->add_cache(*rig.store));
    holds_nothing_of_before(rig, cookie);
  }
}
