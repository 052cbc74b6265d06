// SPDX-License-Identifier: Apache-2.0
// Events that meet an object or a cookie at the worst moment: while it dies, while the store fails,
// where there is no room. What must be forgotten or deleted is, by whoever comes next if need be.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cache/world.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::cache;
using namespace larder::test;

namespace {

using Versions = std::vector<std::string>;

void use_later(World& world, const CookieRef& cookie) {
  world.clock.advance(2 * kSecond);
  NotedOperation operation;
  if (world.fs.submit(cookie, operation) != Submitted::kNever) {
    world.settle();
    world.fs.complete(operation);
  }
  world.settle();
}

void break_object(World& world, const CookieRef& cookie) {
  NotedOperation operation;
  REQUIRE(world.fs.submit(cookie, operation) == Submitted::kNow);
  world.fs.abort(operation);
}

// As a sweep does it.
void close_object(const CookieRef& cookie) {
  const ObjectPtr object = World::object_of(cookie);
  {
    MutexLock lock(object->tree().mutex);
    object->tree().detach_locked(*cookie, *object);
  }
  object->raise(Event::kRelease);
}

void invalidate(World& world, const CookieRef& cookie, const std::string& aux) {
  world.fs.invalidate(cookie, bytes_of(aux), ByteCount{1});
}

}  // namespace

TEST_CASE("an invalidation that comes while a dying object writes what is due is the cookie's") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  world.backend->on_update = [&] { invalidate(world, file, "v1"); };
  world.fs.update(file, bytes_of("v1"), ByteCount{1});
  SECTION("by an error") {
    break_object(world, file);
    world.settle();
    REQUIRE_FALSE(World::object_of(file));
    REQUIRE(world.backend->updates == Versions{"v1"});
    CHECK(world.backend->invalidates.empty());
  }
  SECTION("by a withdrawal") {
    const auto kept = world.backend->kept;
    world.fs.withdraw();
    auto made = std::make_unique<ScriptedBackend>();
    world.backend = made.get();
    world.backend->kept = kept;
    REQUIRE(world.fs.add_backend(std::move(made)));
  }
  use_later(world, file);
  CHECK(world.backend->invalidates == Versions{"v1"});
  use_later(world, file);
  CHECK(world.backend->invalidates == Versions{"v1"});  // once
}

TEST_CASE("an invalidation of an object whose look-up fails is the cookie's") {
  World world;
  world.backend->kept["f"] = {ObjectType::kData, "v1", 1};
  world.backend->fail_finds = true;
  const CookieRef file = world.data(world.netfs, "f");
  invalidate(world, file, "v1");
  world.settle();
  REQUIRE_FALSE(World::object_of(file));
  world.backend->fail_finds = false;
  use_later(world, file);
  CHECK(world.backend->invalidates == Versions{"v1"});
}

TEST_CASE("what a closed object writes is never the version of a later invalidation") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  world.fs.update(file, bytes_of("v2"), ByteCount{1});
  close_object(file);
  SECTION("that another object does") {
    invalidate(world, file, "v3");
    REQUIRE(World::object_of(file));
  }
  SECTION("that the cookie owes") {
    const std::uint32_t now_ms = mono_ms(World::tree_of(world.netfs));
    {
      MutexLock lock(file->mutex);
      file->pause_from(now_ms);
    }
    invalidate(world, file, "v3");
    REQUIRE_FALSE(World::object_of(file));
  }
  world.settle();
  use_later(world, file);
  CHECK(world.backend->updates.empty());
  CHECK(world.backend->invalidates == Versions{"v3"});
}

TEST_CASE("what cannot be deleted because the store fails is not served once it works again") {
  World world;
  world.backend->kept["f"] = {ObjectType::kData, "v1", 1};
  const CookieRef file = world.fs.acquire(world.netfs, world.data_definition, bytes_of("f"),
                                          bytes_of("v1"), ByteCount{1}, &world, 3, Enable::kNo);
  world.backend->fail_finds = true;
  world.fs.disable(file, Retire::kYes);
  world.settle();
  world.backend->fail_finds = false;
  world.fs.enable(file, bytes_of("v1"), ByteCount{1});
  world.settle();
  CHECK(world.backend->retires == 0);
  CHECK(world.backend->invalidates == Versions{"v1"});
}

TEST_CASE("what is to be deleted is, where there is no room for another object") {
  FsCacheOptions options;
  options.objects = 4;  // of which two are indices, and one must stay free
  World world(options);
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  NotedOperation keeps;
  REQUIRE(world.fs.submit(file, keeps) == Submitted::kNow);
  CookieRef other = world.data(world.netfs, "g");
  world.settle();
  REQUIRE_FALSE(World::object_of(other));
  world.backend->kept["g"] = {ObjectType::kData, "v1", 1};
  SECTION("retired") {
    world.fs.relinquish(std::move(other), Retire::kYes);
    world.settle();
    CHECK(world.backend->retires == 1);
  }
  SECTION("invalidated") {
    invalidate(world, other, "v1");
    world.settle();
    REQUIRE_FALSE(World::object_of(other));
    world.fs.relinquish(std::move(other), Retire::kNo);
    world.settle();
    CHECK(world.backend->invalidates == Versions{"v1"});
  }
  world.fs.complete(keeps);
}
