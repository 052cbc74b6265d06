// SPDX-License-Identifier: Apache-2.0
// Renames of cookies, each on its own; in every order with all else: exploration_test.cc.
#include <memory>
#include <string>
#include <vector>

#include "cache/world.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::cache;
using namespace larder::test;

TEST_CASE("rename moves the cookie at once, the object behind what was accepted before") {
  World world;
  const CookieRef from = world.index(world.netfs, "from");
  const CookieRef to = world.index(world.netfs, "to");
  const CookieRef file = world.data(from, "a");
  const CookieRef there = world.data(to, "b");
  world.settle();
  const ObjectPtr object = World::object_of(file);
  NotedOperation before;
  CHECK(world.fs.submit(file, before) == Submitted::kNow);
  world.fs.rename(file, to, bytes_of("b"));
  CHECK_FALSE(world.data(to, "b"));      // taken
  CHECK_FALSE(World::object_of(there));  // replaced
  const CookieRef again = world.data(from, "a");
  CHECK(again);
  world.settle();
  CHECK(world.backend->renames == 0);
  CHECK(World::object_of(again)->state() == State::kInit);  // waits for the old key
  world.fs.complete(before);
  world.settle();
  CHECK(world.backend->renames == 1);
  CHECK(object->figures().key == "b");
  CHECK(object->figures().parent_id == World::object_of(to)->figures().id);
  CHECK(World::object_of(from)->figures().n_children == 1);
  CHECK(World::object_of(to)->figures().n_children == 1);
  CHECK(World::object_of(again)->state() == State::kActive);
  world.fs.relinquish(there, Retire::kNo);
  world.fs.relinquish(file, Retire::kNo);
  world.settle();
  CHECK(object->is_dead());
  CHECK(world.data(to, "b"));
}

TEST_CASE("what cannot be renamed is deleted and not cached again under a wrong name") {
  World world;
  const CookieRef file = world.data(world.netfs, "a");
  world.settle();
  world.backend->fail_renames = true;
  world.fs.rename(file, world.netfs, bytes_of("b"));
  world.settle();
  CHECK(world.backend->retires == 1);
  NotedOperation operation;
  CHECK(world.fs.submit(file, operation) == Submitted::kNever);
  world.fs.relinquish(file, Retire::kNo);
  CHECK(world.data(world.netfs, "b"));
}

TEST_CASE("a cookie is not renamed to a place below itself") {
  World world;
  const CookieRef above = world.index(world.netfs, "above");
  const CookieRef below = world.index(above, "below");
  world.fs.rename(above, below, bytes_of("x"));
  world.fs.rename(above, above, bytes_of("x"));
  const CookieRef file = world.data(below, "f");
  world.settle();
  CHECK(World::object_of(file)->state() == State::kActive);
  CHECK(world.backend->renames == 0);
}
