// SPDX-License-Identifier: Apache-2.0
// How the kernel's FS-Cache silently stopped caching, one test each: that it cannot happen here.
// What hung or crashed: faults_test.cc; what takes a store: faults_store_test.cc.
#include <larder/cookie.h>

#include <memory>
#include <string>

#include "cache/world.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::cache;
using namespace larder::test;

namespace {

std::string line_of(World& world, const std::string& begin) {
  const std::string text = world.fs.stats_text();
  const std::size_t at = text.find(begin);
  return text.substr(at, text.find('\n', at) - at);
}

}  // namespace

TEST_CASE("one write error kills the object for ever: the next operation tries again") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  NotedOperation write(OperationType::kSlow, Sharing::kShareable, OperationKind::kFill);
  REQUIRE(world.fs.submit(file, write) == Submitted::kNow);
  world.settle();
  world.fs.abort(write);
  world.settle();
  world.clock.advance(kSecond);
  NotedOperation read;
  CHECK(world.fs.submit(file, read) == Submitted::kLater);
  world.settle();
  CHECK(read.runs == 1);
  world.fs.complete(read);
}

TEST_CASE("one error kills the whole cache until the daemon restarts: it is the object's alone") {
  World world;
  const CookieRef bad = world.data(world.netfs, "bad");
  const CookieRef good = world.data(world.netfs, "good");
  world.settle();
  NotedOperation write(OperationType::kMyThread);
  REQUIRE(world.fs.submit(bad, write) == Submitted::kNow);
  world.fs.abort(write);
  world.settle();
  NotedOperation read;
  CHECK(world.fs.submit(good, read) == Submitted::kNow);
  world.fs.complete(read);
  const CookieRef another = world.data(world.netfs, "another");
  world.settle();
  CHECK(World::object_of(another)->state() == State::kActive);
}

TEST_CASE("a file opened while there is no space stays uncached until it is opened again") {
  World world;
  const CookieRef other = world.data(world.netfs, "other");
  world.settle();
  world.backend->fail_creates = true;  // the store is full
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  NotedOperation read;
  CHECK(world.fs.submit(file, read) == Submitted::kNever);
  CHECK(line_of(world, "CacheEv").find("nsp=1 ") != std::string::npos);
  world.backend->fail_creates = false;
  world.clock.advance(kSecond);
  CHECK(world.fs.submit(file, read) == Submitted::kLater);
  world.settle();
  world.fs.complete(read);
}

TEST_CASE("errors are hidden: each reason for which nothing is cached is counted") {
  World world;
  world.data(world.netfs, "f");
  world.settle();
  world.backend->fail_creates = true;
  const CookieRef full = world.data(world.netfs, "full");
  world.settle();
  NotedOperation refused;
  CHECK(world.fs.submit(full, refused) == Submitted::kNever);
  CHECK(line_of(world, "CacheEv") == "CacheEv: nsp=1 stl=0 rtr=0 cul=0");
  CHECK(line_of(world, "Retrvls: n") == "Retrvls: n=1 ok=0 wt=0 nod=0 nbf=1 int=0 oom=0");
}

TEST_CASE("a withdrawn cache that comes back is not bound again") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  world.fs.withdraw();
  NotedOperation operation;
  CHECK(world.fs.submit(file, operation) == Submitted::kNever);
  auto made = std::make_unique<ScriptedBackend>();
  ScriptedBackend* const next = made.get();
  next->kept["f"] = {ObjectType::kData, "what it was", 1};
  world.answer_to_check = AuxCheck::kObsolete;  // it is not trusted
  REQUIRE(world.fs.add_backend(std::move(made)));
  CHECK(world.fs.submit(file, operation) == Submitted::kLater);
  world.settle();
  CHECK(operation.runs == 1);
  CHECK(next->retires == 1);
  world.fs.complete(operation);
}
