// SPDX-License-Identifier: Apache-2.0
// What the calls of <larder/cookie.h> promise, one by one, on a scripted backend and one thread.
#include <larder/cookie.h>

#include "cache/world.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::cache;
using namespace larder::test;

TEST_CASE("acquiring an index makes no object; a data cookie brings up itself and its ancestors") {
  World world;
  const CookieRef share = world.index(world.netfs, "share");
  world.settle();
  CHECK_FALSE(World::object_of(share));
  const CookieRef file = world.data(share, "f");
  std::vector<std::string> order;
  World::tree_of(file).trace = [&](Object& object, State state) {
    if (state == State::kAvailable) order.emplace_back(object.cookie().key.view());
  };
  world.settle();
  World::tree_of(file).trace = nullptr;
  CHECK(order == std::vector<std::string>{"", "posix", "share", "f"});
  CHECK(World::object_of(file)->state() == State::kActive);
  CHECK(World::object_of(share)->figures().n_children == 1);
  world.fs.relinquish(file, Retire::kNo);
  world.fs.relinquish(share, Retire::kNo);
  world.settle();
}

TEST_CASE("a null cookie is legal everywhere and caches nothing") {
  World world;
  NotedOperation operation;
  CHECK_FALSE(world.data(nullptr, "f"));
  CHECK(world.fs.submit(nullptr, operation) == Submitted::kNever);
  world.fs.update(nullptr, {}, ByteCount{0});
  world.fs.invalidate(nullptr, {}, ByteCount{0});
  world.fs.rename(nullptr, world.netfs, bytes_of("x"));
  world.fs.relinquish(nullptr, Retire::kYes);
  CHECK_FALSE(world.fs.index_of(nullptr));
  const std::string text = world.fs.stats_text();
  CHECK(text.find("Acquire: n=1 nul=1 noc=0 ok=0 nbf=0 oom=0\n") != std::string::npos);
  CHECK(text.find("Relinqs: n=1 nul=1 wcr=0 rtr=0\n") != std::string::npos);
  CHECK(text.find("Updates: n=1 nul=1 run=0\n") != std::string::npos);
}

TEST_CASE("a key has one live cookie, and a netfs name one registration") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  CHECK(file);
  CHECK_FALSE(world.data(world.netfs, "f"));
  CHECK_FALSE(world.fs.register_netfs("posix", 2));
  const Result<CookieRef> other = world.fs.register_netfs("nfs", 2);
  REQUIRE(other);
  CHECK(world.data(*other, "f"));
  world.fs.relinquish(file, Retire::kNo);
  CHECK(world.data(world.netfs, "f"));
}

TEST_CASE("a netfs of another version finds its subtree deleted") {
  for (const char version : {'\1', '\2'}) {
    World world;
    world.backend->kept["posix"] = {ObjectType::kIndex, {version, 0, 0, 0}, 0};
    const CookieRef file = world.data(world.netfs, "f");
    world.settle();
    CHECK(world.backend->retires == (version == 1 ? 0 : 1));
    CHECK(world.backend->kept["posix"].aux == std::string("\1\0\0\0", 4));
    CHECK(World::object_of(file)->state() == State::kActive);
  }
}

TEST_CASE("look-up asks the netfs about the version: okay, needs update, obsolete") {
  World world;
  world.backend->kept["f"] = {ObjectType::kData, "old", 1};
  const auto acquire = [&](AuxCheck answer) {
    world.answer_to_check = answer;
    CookieRef file = world.data(world.netfs, "f", "new");
    world.settle();
    CHECK(World::object_of(file)->state() == State::kActive);
    world.fs.relinquish(std::move(file), Retire::kNo);
    world.settle();
  };
  acquire(AuxCheck::kOkay);
  CHECK(world.backend->updates.empty());
  CHECK(world.backend->kept["f"].aux == "old");
  acquire(AuxCheck::kNeedsUpdate);
  CHECK(world.backend->updates == std::vector<std::string>{"new"});
  acquire(AuxCheck::kObsolete);
  CHECK(world.backend->retires == 1);
  CHECK(world.backend->kept["f"].aux == "new");
}

TEST_CASE("operations that come during look-up are resumed when the object is there") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  NotedOperation mine;
  NotedOperation slow(OperationType::kSlow);
  Operation a_try;
  CHECK(world.fs.submit(file, mine) == Submitted::kLater);
  CHECK(world.fs.submit(file, slow) == Submitted::kLater);
  CHECK(world.fs.submit(file, a_try) == Submitted::kLater);  // not taken: it cannot wait
  CHECK(a_try.state == OperationState::kBlank);
  world.settle();
  CHECK(mine.runs == 1);
  CHECK(slow.runs == 1);
  CHECK(mine.state == OperationState::kInProgress);
  world.fs.complete(mine);
  world.fs.complete(slow);
  CHECK(world.fs.submit(file, a_try) == Submitted::kNow);
  world.fs.complete(a_try);
  CHECK(World::object_of(file)->is_idle());
}

TEST_CASE("an exclusive operation waits for those before it and holds up those behind it") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  NotedOperation first;
  NotedOperation barrier(OperationType::kSlow, Sharing::kExclusive, OperationKind::kTruncate);
  NotedOperation behind;
  CHECK(world.fs.submit(file, first) == Submitted::kNow);
  CHECK(world.fs.submit(file, barrier) == Submitted::kLater);
  CHECK(world.fs.submit(file, behind) == Submitted::kLater);
  world.settle();
  CHECK(barrier.runs + behind.runs == 0);
  SECTION("in order") {
    world.fs.complete(first);
    world.settle();
    CHECK(barrier.runs == 1);
    CHECK(behind.runs == 0);
    world.fs.complete(barrier);
  }
  SECTION("taken back, it holds up nobody") {
    CHECK(world.fs.cancel(barrier));
    CHECK_FALSE(world.fs.cancel(barrier));
    CHECK_FALSE(world.fs.cancel(first));
    world.settle();
    CHECK(barrier.runs + barrier.cancels == 0);
    world.fs.complete(first);
  }
  world.settle();
  CHECK(behind.runs == 1);
  world.fs.complete(behind);
}

TEST_CASE("an exclusive operation starts at once on an idle object") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  NotedOperation alone(OperationType::kMyThread, Sharing::kExclusive, OperationKind::kOther);
  CHECK(world.fs.submit(file, alone) == Submitted::kNow);
  world.fs.complete(alone);
}

TEST_CASE("from invalidate on nothing is taken, until the store has forgotten the old content") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  NotedOperation in_progress;
  NotedOperation barrier(OperationType::kSlow, Sharing::kExclusive);
  NotedOperation too_late;
  CHECK(world.fs.submit(file, in_progress) == Submitted::kNow);
  CHECK(world.fs.submit(file, barrier) == Submitted::kLater);
  world.fs.invalidate(file, bytes_of("v2"), ByteCount{2});
  CHECK(world.fs.submit(file, too_late) == Submitted::kNever);
  world.settle();  // it does not wait for the one in progress
  CHECK(world.backend->invalidates == std::vector<std::string>{"v2"});
  CHECK(barrier.cancels == 1);
  CHECK(world.fs.submit(file, too_late) == Submitted::kNow);
  world.fs.complete(too_late);
  world.fs.complete(in_progress);
}

TEST_CASE("what was queued before an invalidation during look-up never runs") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  NotedOperation early;
  CHECK(world.fs.submit(file, early) == Submitted::kLater);
  world.fs.invalidate(file, bytes_of("v2"), ByteCount{2});
  NotedOperation late;
  CHECK(world.fs.submit(file, late) == Submitted::kNever);
  world.settle();
  CHECK(early.runs == 0);
  CHECK(early.cancels == 1);
  CHECK(World::object_of(file)->state() == State::kActive);
  CHECK(world.fs.submit(file, late) == Submitted::kNow);
  world.fs.complete(late);
}

TEST_CASE("new aux data never reach the store before the invalidation that they came with") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  world.fs.update(file, bytes_of("v1b"), ByteCount{1});
  world.fs.invalidate(file, bytes_of("v2"), ByteCount{2});
  world.settle();
  CHECK(world.backend->invalidates == std::vector<std::string>{"v2"});
  for (const std::string& aux : world.backend->updates) CHECK(aux != "v1b");
  SECTION("also when the object goes before it was done") {
    world.fs.update(file, bytes_of("v3"), ByteCount{3});
    world.fs.invalidate(file, bytes_of("v4"), ByteCount{4});
    world.fs.relinquish(file, Retire::kNo);
    world.backend->updates.clear();
    world.settle();
    CHECK(world.backend->invalidates.back() == "v4");
    CHECK(world.backend->updates.empty());
  }
}

TEST_CASE("an update is legal in every state and not lost when the cookie is relinquished") {
  World world;
  CookieRef file = world.data(world.netfs, "f");
  world.fs.update(file, bytes_of("v2"), ByteCount{1});  // before look-up
  world.settle();
  CHECK(world.backend->updates == std::vector<std::string>{"v2"});
  world.fs.update(file, bytes_of("v3"), ByteCount{1});
  world.fs.relinquish(std::move(file), Retire::kNo);
  world.settle();
  CHECK(world.backend->updates.back() == "v3");
}

TEST_CASE("relinquishing keeps or deletes, cancels what waits and lets what runs finish") {
  for (const Retire retire : {Retire::kNo, Retire::kYes}) {
    World world;
    CookieRef file = world.data(world.netfs, "f");
    world.settle();
    const ObjectPtr object = World::object_of(file);
    NotedOperation running;
    NotedOperation waiting(OperationType::kSlow, Sharing::kExclusive);
    CHECK(world.fs.submit(file, running) == Submitted::kNow);
    CHECK(world.fs.submit(file, waiting) == Submitted::kLater);
    world.fs.relinquish(file, retire);
    CHECK(world.fs.submit(file, waiting) == Submitted::kNever);
    world.settle();
    CHECK(waiting.cancels == 1);
    CHECK(object->state() == State::kDying);
    CHECK(world.backend->retires == 0);
    world.fs.complete(running);
    world.settle();
    CHECK(object->is_dead());
    CHECK(world.backend->retires == (retire == Retire::kYes ? 1 : 0));
  }
}

TEST_CASE("what is deleted before it was looked up is deleted all the same") {
  World world;
  world.backend->kept["f"] = {ObjectType::kData, "v1", 1};
  world.backend->kept["d"] = {ObjectType::kIndex, "", 0};
  world.backend->kept["posix"] = {ObjectType::kIndex, std::string("\1\0\0\0", 4), 0};
  SECTION("a data cookie in INIT") {
    world.fs.relinquish(world.data(world.netfs, "f"), Retire::kYes);
  }
  SECTION("an index without an object") {
    world.fs.relinquish(world.index(world.netfs, "d"), Retire::kYes);
  }
  world.settle();
  CHECK(world.backend->retires == 1);
}

TEST_CASE("a cookie acquired anew waits for the old object of its key, and no thread does") {
  World world;
  CookieRef old_file = world.data(world.netfs, "f");
  world.settle();
  const ObjectPtr old_object = World::object_of(old_file);
  NotedOperation holds;
  CHECK(world.fs.submit(old_file, holds) == Submitted::kNow);
  world.fs.relinquish(std::move(old_file), Retire::kYes);
  const CookieRef file = world.data(world.netfs, "f");
  NotedOperation waits;
  CHECK(world.fs.submit(file, waits) == Submitted::kLater);
  world.settle();
  CHECK(World::object_of(file)->state() == State::kInit);
  CHECK(waits.runs == 0);
  // A third while the first two are there: it takes the place of the second when that goes.
  world.fs.relinquish(file, Retire::kNo);
  const CookieRef third = world.data(world.netfs, "f");
  world.settle();
  CHECK(waits.cancels == 1);
  CHECK(World::object_of(third)->state() == State::kInit);
  CHECK_FALSE(old_object->is_dead());
  const int finds = world.backend->finds;
  world.fs.complete(holds);
  world.settle();
  CHECK(old_object->is_dead());
  CHECK(World::object_of(third)->state() == State::kActive);
  CHECK(world.backend->finds == finds + 1);
  CHECK(world.backend->retires == 1);
  CHECK(world.fs.stats_text().find(" tmo=0\n") == std::string::npos);
}

TEST_CASE("an error of the store kills the one object; an invalidation tries again later") {
  World world;
  const CookieRef good = world.data(world.netfs, "good");
  world.settle();
  world.backend->fail_creates = true;
  const CookieRef file = world.data(world.netfs, "f");
  NotedOperation waits;
  CHECK(world.fs.submit(file, waits) == Submitted::kLater);
  world.settle();
  CHECK(waits.cancels == 1);
  CHECK_FALSE(World::object_of(file));
  CHECK(world.fs.submit(file, waits) == Submitted::kNever);
  CHECK(world.fs.submit(good, waits) == Submitted::kNow);
  world.fs.complete(waits);
  world.fs.invalidate(file, bytes_of("v2"), ByteCount{1});
  world.settle();
  CHECK_FALSE(World::object_of(file));
  world.backend->fail_creates = false;
  world.fs.invalidate(file, bytes_of("v2"), ByteCount{1});
  world.settle();
  CHECK_FALSE(World::object_of(file));  // too soon
  world.clock.advance(kSecond);
  world.fs.invalidate(file, bytes_of("v3"), ByteCount{1});
  world.settle();
  CHECK(world.backend->kept["f"].aux == "v3");
  CHECK(world.fs.submit(file, waits) == Submitted::kNow);
  world.fs.complete(waits);
}

TEST_CASE(
    "an ancestor that fails takes what waits for it along, and the next try is free to work") {
  World world;
  world.backend->fail_finds = true;
  const CookieRef share = world.index(world.netfs, "share");
  const CookieRef file = world.data(share, "f");
  world.settle();
  CHECK_FALSE(World::object_of(file));
  CHECK_FALSE(World::object_of(share));
  world.backend->fail_finds = false;
  const CookieRef other = world.data(share, "g");
  world.settle();
  CHECK(World::object_of(other)->state() == State::kActive);
}

TEST_CASE("index_of brings an index up on the calling thread, also when its machine is queued") {
  World world;
  const CookieRef share = world.index(world.netfs, "share");
  world.fs.index_of(share);
  CHECK(World::object_of(share)->state() == State::kActive);
  CHECK(world.machine.size() <= 4);
  const CookieRef folder = world.index(share, "folder");
  const CookieRef file = world.data(folder, "f");  // kicked, not run
  world.fs.index_of(folder);
  CHECK(World::object_of(folder)->state() == State::kActive);
  world.settle();
  CHECK(World::object_of(file)->state() == State::kActive);
}

TEST_CASE("a withdrawn cache keeps its data, and cookies bind to the next one") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  NotedOperation waits;
  CHECK(world.fs.submit(file, waits) == Submitted::kLater);
  world.fs.withdraw();
  world.settle();
  CHECK(waits.cancels == 1);
  CHECK_FALSE(World::object_of(file));
  CHECK(world.fs.submit(file, waits) == Submitted::kNever);
  CHECK(world.data(world.netfs, "without"));  // unbacked
  CHECK_FALSE(world.fs.index_of(world.netfs));

  auto made = std::make_unique<ScriptedBackend>();
  ScriptedBackend* next = made.get();
  REQUIRE(world.fs.add_backend(std::move(made)));
  CHECK_FALSE(world.fs.add_backend(std::make_unique<ScriptedBackend>()));
  world.fs.invalidate(file, bytes_of("v2"), ByteCount{1});
  world.settle();
  CHECK(next->kept["f"].aux == "v2");
  CHECK(world.fs.submit(file, waits) == Submitted::kNow);
  world.fs.complete(waits);
}

TEST_CASE("retire beats withdraw: what is deleted does not stay in a cache that goes") {
  World world;
  CookieRef file = world.data(world.netfs, "f");
  world.settle();
  world.fs.relinquish(std::move(file), Retire::kYes);  // its machine has not run yet
  world.fs.withdraw();
  world.settle();
  CHECK(world.fs.stats_text().find("CacheEv: nsp=0 stl=0 rtr=1 cul=0\n") != std::string::npos);
}
