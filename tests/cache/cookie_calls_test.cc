// SPDX-License-Identifier: Apache-2.0
// Enabling and disabling, sizes, consistency, special cookies, and cookies in several caches.
#include <larder/cookie.h>

#include <memory>
#include <vector>

#include "cache/world.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::cache;
using namespace larder::test;

TEST_CASE("a cookie may be acquired disabled, and be enabled and disabled at any time") {
  World world;
  const CookieRef file = world.fs.acquire(world.netfs, world.data_definition, bytes_of("f"),
                                          bytes_of("v1"), ByteCount{1}, &world, 3, Enable::kNo);
  REQUIRE(file);
  world.settle();
  NotedOperation operation;
  CHECK_FALSE(World::object_of(file));
  CHECK(world.fs.submit(file, operation) == Submitted::kNever);
  world.fs.update(file, bytes_of("v2"), ByteCount{1});
  world.fs.invalidate(file, bytes_of("v2"), ByteCount{1});
  CHECK(world.fs.attr_changed(file, ByteCount{2}).error().code == ErrorCode::kNoBufs);
  CHECK_FALSE(World::object_of(file));

  world.fs.enable(file, bytes_of("v3"), ByteCount{3});
  world.fs.enable(file, bytes_of("v4"), ByteCount{4});  // it is enabled: nothing
  world.settle();
  CHECK(world.backend->kept["f"].aux == "v3");
  const ObjectPtr object = World::object_of(file);
  CHECK(world.fs.submit(file, operation) == Submitted::kNow);

  world.fs.disable(file, Retire::kNo);
  world.fs.disable(file, Retire::kNo);
  world.settle();
  CHECK_FALSE(World::object_of(file));
  CHECK(object->state() == State::kDying);
  world.fs.enable(file, bytes_of("v3"), ByteCount{3});  // waits for the place, not for us
  world.settle();
  CHECK(World::object_of(file)->state() == State::kInit);
  world.fs.complete(operation);
  world.settle();
  CHECK(World::object_of(file)->state() == State::kActive);
  CHECK(world.backend->retires == 0);

  world.fs.disable(file, Retire::kYes);
  world.settle();
  CHECK(world.backend->retires == 1);
  SECTION("disabled, it is deleted again all the same") {
    world.fs.disable(file, Retire::kYes);
    world.settle();
    CHECK(world.backend->retires == 2);
  }
  SECTION("disabled, it is relinquished") { world.fs.relinquish(file, Retire::kYes); }
  SECTION("disabled, it is renamed, and what is enabled is at the new place") {
    world.fs.rename(file, world.netfs, bytes_of("g"));
    world.fs.enable(file, bytes_of("v5"), ByteCount{3});
    world.settle();
    CHECK(world.backend->kept["g"].aux == "v5");
  }
}

TEST_CASE("nothing below a disabled index is given an object") {
  World world;
  const CookieRef share = world.index(world.netfs, "share");
  world.fs.disable(share, Retire::kNo);
  const CookieRef file = world.data(share, "f");
  world.settle();
  CHECK_FALSE(World::object_of(file));
  CHECK_FALSE(world.fs.index_of(share));
  world.fs.enable(share, {}, ByteCount{0});
  NotedOperation operation;
  CHECK(world.fs.submit(file, operation) == Submitted::kLater);
  world.settle();
  CHECK(operation.runs == 1);
  world.fs.complete(operation);
}

TEST_CASE("special cookies are cached as data are, and counted apart") {
  World world;
  const CookieDefinition special{"test.special", ObjectType{7}, nullptr};
  const CookieRef cookie =
      world.fs.acquire(world.netfs, special, bytes_of("s"), {}, ByteCount{0}, nullptr, 5);
  world.settle();
  CHECK(World::object_of(cookie)->state() == State::kActive);
  CHECK(world.backend->kept["s"].type == ObjectType{7});
  CHECK(world.fs.stats_text().find("Cookies: idx=1 dat=0 spc=1\n") != std::string::npos);
}

TEST_CASE("attr_changed is exclusive: behind what came before, ahead of what comes later") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  CHECK(world.fs.attr_changed(nullptr, ByteCount{1}).error().code == ErrorCode::kNoBufs);
  NotedOperation before, behind;
  REQUIRE(world.fs.submit(file, before) == Submitted::kNow);
  CHECK(world.fs.attr_changed(file, ByteCount{4096}).has_value());
  CHECK(world.fs.submit(file, behind) == Submitted::kLater);
  world.settle();
  CHECK(world.backend->sizes.empty());
  world.fs.complete(before);
  world.settle();
  CHECK(world.backend->sizes == std::vector<std::uint64_t>{4096});
  CHECK(behind.runs == 1);
  world.fs.complete(behind);

  world.backend->fail_changes = true;
  const ObjectPtr object = World::object_of(file);
  CHECK(world.fs.attr_changed(file, ByteCount{1}).has_value());
  world.settle();
  CHECK(object->is_dead());  // what it holds may be of any size

  CHECK(world.fs.attr_changed(file, ByteCount{2}).error().code == ErrorCode::kNoBufs);
  world.clock.advance(kSecond);
  CHECK(world.fs.attr_changed(file, ByteCount{3}).has_value());
  world.fs.relinquish(file, Retire::kNo);  // cancelled, and freed
  world.settle();
}

TEST_CASE("check_consistency compares the aux data that are stored") {
  World world;
  CHECK(world.fs.check_consistency(nullptr, {}) == Consistency::kUnknown);
  world.backend->kept["f"] = {ObjectType::kData, "v1", 1};
  const CookieRef file = world.data(world.netfs, "f");
  CHECK(world.fs.check_consistency(file, bytes_of("v1")) == Consistency::kUnknown);
  world.settle();
  CHECK(world.fs.check_consistency(file, bytes_of("v1")) == Consistency::kConsistent);
  CHECK(world.fs.check_consistency(file, bytes_of("v2")) == Consistency::kStale);
  CHECK(world.fs.check_consistency(file, bytes_of("v")) == Consistency::kStale);
  NotedOperation barrier(OperationType::kSlow, Sharing::kExclusive);
  REQUIRE(world.fs.submit(file, barrier) == Submitted::kNow);
  CHECK(world.fs.check_consistency(file, bytes_of("v1")) == Consistency::kUnknown);
  world.settle();
  world.fs.complete(barrier);
  CHECK(World::object_of(file)->is_idle());
}

TEST_CASE("a cookie has an object in each of several caches for an index, in one for data") {
  World world;
  auto made = std::make_unique<ScriptedBackend>();
  ScriptedBackend* second = made.get();
  const CookieRef share = world.index(world.netfs, "share");
  const CookieRef first_file = world.data(share, "f");
  world.settle();
  REQUIRE(world.fs.add_backend(std::move(made), "second"));
  CHECK_FALSE(world.fs.add_backend(std::make_unique<ScriptedBackend>(), "second"));
  Tree& tree = World::tree_of(share);
  CachePtr other;
  ObjectPtr beside;
  {
    MutexLock lock(tree.mutex);
    other = tree.caches.back();
    beside = tree.attach_locked(*share, *other);
  }
  beside->parent_locked()->parent_locked()->raise(Event::kRequeue);
  beside->raise(Event::kRequeue);
  world.settle();
  CHECK(share->all_objects().size() == 2);
  CHECK(second->kept.contains("share"));
  CHECK(&World::object_of(first_file)->cache() != other.get());

  CHECK(world.fs.withdraw("larder").has_value());
  CHECK_FALSE(world.fs.withdraw("larder").has_value());
  CHECK(share->all_objects().size() == 1);
  CHECK_FALSE(World::object_of(first_file));
  // Bound again, to what is left, by the next who needs it, and looked up anew.
  NotedOperation operation;
  CHECK(world.fs.submit(first_file, operation) == Submitted::kLater);
  world.settle();
  CHECK(operation.runs == 1);
  world.fs.complete(operation);
  CHECK(second->kept.contains("f"));
  CHECK(World::object_of(share)->figures().n_children == 1);
}

TEST_CASE("a cache is selected by its tag, also before it is there") {
  World world;
  const CookieRef share = world.index(world.netfs, "share");
  world.fs.select_cache(share, "late");
  const CookieRef file = world.data(share, "f");
  world.settle();
  CHECK_FALSE(World::object_of(file));
  NotedOperation early;
  CHECK(world.fs.submit(file, early) == Submitted::kNever);

  auto made = std::make_unique<ScriptedBackend>();
  ScriptedBackend* late = made.get();
  REQUIRE(world.fs.add_backend(std::move(made), "late"));
  world.clock.advance(2 * kSecond);
  NotedOperation operation;
  CHECK(world.fs.submit(file, operation) == Submitted::kLater);
  world.settle();
  CHECK(operation.runs == 1);
  world.fs.complete(operation);
  CHECK(late->kept.contains("f"));
  CHECK_FALSE(world.backend->kept.contains("f"));
  const std::vector<CacheFigures> caches = world.fs.caches();
  REQUIRE(caches.size() == 2);
  CHECK(caches[1].tag == "late");
  CHECK(caches[1].objects >= 3);
  CHECK(caches[0].objects == 0);
}

TEST_CASE("an object's number is never that of another") {
  World world;
  const CookieRef share = world.index(world.netfs, "share");
  const CookieRef file = world.data(share, "f");
  world.settle();
  const std::uint32_t first = FsCache::object_number(file);
  CHECK(first != 0);
  world.fs.withdraw();
  CHECK(FsCache::object_number(file) == 0);
  CHECK(FsCache::object_number(CookieRef()) == 0);
  REQUIRE(world.fs.add_backend(std::make_unique<ScriptedBackend>()));
  NotedOperation operation;
  CHECK(world.fs.submit(file, operation) == Submitted::kLater);
  world.settle();
  CHECK(FsCache::object_number(operation) == FsCache::object_number(file));
  CHECK(FsCache::object_number(file) > first);
  world.fs.complete(operation);
}

TEST_CASE("a rename moves the objects of an index in all caches") {
  World world;
  auto made = std::make_unique<ScriptedBackend>();
  ScriptedBackend* second = made.get();
  REQUIRE(world.fs.add_backend(std::move(made), "second"));
  const CookieRef share = world.index(world.netfs, "share");
  const CookieRef from = world.index(share, "from");
  world.fs.rename(from, share, bytes_of("to"));
  world.settle();
  CHECK(world.backend->renames == 1);
  CHECK(second->renames == 1);
  for (const ObjectPtr& object : from->all_objects()) CHECK(object->figures().key == "to");
}

namespace {

bool nothing_lingers(World& world) {
  Tree& tree = World::tree_of(world.netfs);
  MutexLock lock(tree.mutex);
  return tree.lingering.empty();
}

}  // namespace

TEST_CASE("a rename whose cookie has lost its new place takes it from nobody") {
  World world;
  const CookieRef a = world.data(world.netfs, "a"), b = world.data(world.netfs, "b");
  world.settle();
  world.fs.rename(a, world.netfs, bytes_of("x"));
  world.fs.rename(a, world.netfs, bytes_of("a"));  // waits behind the first
  world.fs.rename(b, world.netfs, bytes_of("a"));  // a is nobody's now
  const ObjectPtr object = World::object_of(b);
  REQUIRE(world.machine.run_last());  // b's is first, and waits for the death of what lies there
  world.settle();
  CHECK(nothing_lingers(world));
  CHECK(World::object_of(b) == object);  // nor is it deleted
  CHECK(object->figures().key == "a");
  CHECK_FALSE(World::object_of(a));
}

TEST_CASE("two renames that want each other's place do not wait for each other's death") {
  World world;
  const CookieRef a = world.data(world.netfs, "a"), b = world.data(world.netfs, "b");
  world.settle();
  world.fs.rename(a, world.netfs, bytes_of("x"));
  world.fs.rename(b, world.netfs, bytes_of("a"));
  REQUIRE(world.machine.run_last());               // b's waits for what was a
  world.fs.rename(a, world.netfs, bytes_of("b"));  // where b's object still is
  world.settle();
  CHECK(nothing_lingers(world));
  for (const CookieRef& cookie : {a, b}) {
    const ObjectPtr object = World::object_of(cookie);
    if (object) CHECK(object->figures().key == cookie->key.view());
  }
}
