// SPDX-License-Identifier: Apache-2.0
// Objects go while their cookies stay: by name, and where there are too many, who was not used
// goes.
#include <algorithm>
#include <string>
#include <vector>

#include "base/random.h"
#include "cache/world.h"
#include "support/catch.h"

namespace larder::test {
namespace {

using namespace larder::cache;

// Uses the cookie once; whether it has an object afterwards.
bool use(World& world, const CookieRef& cookie) {
  NotedOperation operation;
  const Submitted submitted = world.fs.submit(cookie, operation);
  if (submitted == Submitted::kNever) return false;
  world.settle();
  world.fs.complete(operation);
  return World::object_of(cookie) != nullptr;
}

std::size_t with_object(const std::vector<CookieRef>& cookies) {
  return static_cast<std::size_t>(
      std::count_if(cookies.begin(), cookies.end(),
                    [](const CookieRef& cookie) { return World::object_of(cookie) != nullptr; }));
}

}  // namespace

TEST_CASE("a culled cookie stays, and caches again from its next use on") {
  World world;
  const CookieRef share = world.index(world.netfs, "share");
  const CookieRef file = world.data(share, "f");
  world.settle();
  const std::uint32_t before = FsCache::object_number(file);
  CHECK(world.fs.cull(file) == Culled::kYes);
  CHECK_FALSE(World::object_of(file));
  world.settle();
  CHECK(world.backend->retires == 1);
  CHECK(use(world, file));
  CHECK(FsCache::object_number(file) > before);
  CHECK(world.fs.stats_text().find("CacheEv: nsp=0 stl=0 rtr=1 cul=1") != std::string::npos);
}

TEST_CASE("what is used is not culled, nor is an index, nor what is no cookie") {
  World world;
  const CookieRef share = world.index(world.netfs, "share");
  const CookieRef file = world.data(share, "f");
  world.settle();
  NotedOperation operation;
  REQUIRE(world.fs.submit(file, operation) == Submitted::kNow);
  CHECK(world.fs.cull(file) == Culled::kInUse);
  world.fs.complete(operation);
  CHECK(world.fs.cull(share) == Culled::kNothing);
  CHECK(world.fs.cull(nullptr) == Culled::kNothing);
  CHECK(world.backend->retires == 0);
}

TEST_CASE("what was never looked up is culled too") {
  World world;
  const CookieRef share = world.index(world.netfs, "share");
  const CookieRef file =
      world.fs.acquire(share, world.data_definition, bytes_of("f"), {}, ByteCount{1}, &world, 3);
  CHECK(world.fs.cull(file) == Culled::kYes);
  world.settle();
  CHECK_FALSE(World::object_of(file));
  CHECK(use(world, file));
}

TEST_CASE("where there are too many objects the idle ones are closed, and their data kept") {
  World world({.objects = 100, .frun = 40, .fcull = 20, .fstop = 5});
  const CookieRef share = world.index(world.netfs, "share");
  std::vector<CookieRef> files;
  for (int i = 0; i < 70; ++i) files.push_back(world.data(share, "f" + std::to_string(i)));
  world.settle();
  CHECK(with_object(files) == 70);
  // Ten of them are in use all the time.
  std::vector<NotedOperation> operations(10);
  for (std::size_t i = 0; i < operations.size(); ++i) {
    REQUIRE(world.fs.submit(files[i], operations[i]) == Submitted::kNow);
  }
  for (int i = 70; i < 200; ++i) {
    files.push_back(world.data(share, "f" + std::to_string(i)));
    world.settle();
    CHECK(World::tree_of(share).counters.objects_live.value() <= 95);
  }
  CHECK(World::tree_of(share).counters.objects_closed.value() >= 100);
  CHECK(world.backend->retires == 0);
  for (std::size_t i = 0; i < operations.size(); ++i) {
    CHECK(World::object_of(files[i]));
    world.fs.complete(operations[i]);
  }
  // There are always victims: each of them can be used again.
  for (const CookieRef& file : files) CHECK(use(world, file));
}

TEST_CASE("an object that is used stays longer than one that is not") {
  World world({.objects = 50, .frun = 40, .fcull = 20, .fstop = 5});
  const CookieRef share = world.index(world.netfs, "share");
  const CookieRef hot = world.data(share, "hot");
  world.settle();
  const std::uint32_t number = FsCache::object_number(hot);
  std::vector<CookieRef> cold;
  for (int i = 0; i < 300; ++i) {
    cold.push_back(world.data(share, "f" + std::to_string(i)));
    world.settle();
    world.clock.advance(kSecond);
    REQUIRE(use(world, hot));
  }
  CHECK(FsCache::object_number(hot) == number);
}

TEST_CASE("the idle ones go in the order of their last use, whatever that of their making was") {
  World world({.objects = 200, .frun = 40, .fcull = 20, .fstop = 5});
  const CookieRef share = world.index(world.netfs, "share");
  Random random(Seed{5});
  std::vector<CookieRef> files;
  // With the root, the netfs and the share one less than the sweep begins at.
  for (int i = 0; i < 156; ++i) files.push_back(world.data(share, "f" + std::to_string(i)));
  world.settle();
  for (std::size_t i = files.size(); i > 1; --i) std::swap(files[i - 1], files[random.below(i)]);
  for (const CookieRef& file : files) {
    world.clock.advance(kSecond);
    REQUIRE(use(world, file));
  }
  Counters& counters = World::tree_of(share).counters;
  REQUIRE(counters.objects_swept.value() == 0);
  world.data(share, "one more");
  world.data(share, "and one");
  world.settle();
  CHECK(counters.objects_closed.value() == 40);
  for (std::size_t i = 0; i < files.size(); ++i) {
    INFO(i);
    CHECK((World::object_of(files[i]) == nullptr) == (i < 40));
  }
}

TEST_CASE("what was used while a sweep chose it stays") {
  World world({.objects = 200, .frun = 40, .fcull = 20, .fstop = 5});
  const CookieRef share = world.index(world.netfs, "share");
  std::vector<CookieRef> files;
  for (int i = 0; i < 157; ++i) files.push_back(world.data(share, "f" + std::to_string(i)));
  world.settle();
  const CookieRef one_more = world.data(share, "one more");
  world.clock.advance(kSecond);
  REQUIRE(world.machine.run_one());  // the sweep looks at them
  NotedOperation operation;
  REQUIRE(world.fs.submit(files[0], operation) == Submitted::kNow);
  world.fs.complete(operation);
  world.settle();
  CHECK(World::object_of(files[0]));
  CHECK_FALSE(World::object_of(files[1]));
}

TEST_CASE("a sweep that finds too little is not made again at once") {
  World world({.objects = 100, .frun = 40, .fcull = 20, .fstop = 5});
  const CookieRef share = world.index(world.netfs, "share");
  std::vector<CookieRef> files;
  std::vector<NotedOperation> operations(77);
  for (NotedOperation& operation : operations) {
    files.push_back(world.data(share, "f" + std::to_string(files.size())));
    world.settle();
    REQUIRE(world.fs.submit(files.back(), operation) == Submitted::kNow);
  }
  Counters& counters = World::tree_of(share).counters;
  for (int i = 0; i < 10; ++i) {
    files.push_back(world.data(share, "g" + std::to_string(i)));
    world.settle();
  }
  const std::uint64_t once = counters.objects_swept.value();
  CHECK(once > 0);
  CHECK(once < 100);
  world.clock.advance(2 * kSecond);
  files.push_back(world.data(share, "h"));
  world.settle();
  CHECK(counters.objects_swept.value() > once);
  CHECK(counters.objects_closed.value() > 0);
  for (NotedOperation& operation : operations) world.fs.complete(operation);
}

TEST_CASE("below fstop no object is made, and nobody sees an error") {
  World world({.objects = 20, .frun = 40, .fcull = 20, .fstop = 5});
  const CookieRef share = world.index(world.netfs, "share");
  std::vector<CookieRef> files;
  std::vector<NotedOperation> operations(30);
  std::size_t taken = 0;
  for (std::size_t i = 0; i < operations.size(); ++i) {
    files.push_back(world.data(share, "f" + std::to_string(i)));
    world.settle();
    taken += world.fs.submit(files[i], operations[i]) != Submitted::kNever;
  }
  CHECK(taken >= 10);
  CHECK(taken < 20);
  CHECK(World::tree_of(share).counters.events_no_space.value() > 0);
  for (NotedOperation& operation : operations) {
    if (operation.state.load() == OperationState::kInProgress) world.fs.complete(operation);
  }
  // Behind its pause the next one asks for room, of which there is by now, and the one behind it
  // has it.
  world.clock.advance(70 * kSecond);
  CHECK_FALSE(use(world, files.back()));
  world.settle();
  world.clock.advance(70 * kSecond);
  CHECK(use(world, files.back()));
}

}  // namespace larder::test
