// SPDX-License-Identifier: Apache-2.0
// What hung and crashed in the kernel's FS-Cache over the years, one test each: that it cannot
// happen here. The name says what users saw, or what the log said. Faults that take a store:
// faults_store_test.cc; what silently stopped caching: faults_uncached_test.cc.
#include <larder/cookie.h>

#include <memory>
#include <string>
#include <vector>

#include "cache/world.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::cache;
using namespace larder::test;

TEST_CASE("kslowd blocked for 120 s: all workers wait for a dying predecessor") {
  World world;
  std::vector<CookieRef> files;
  std::vector<std::unique_ptr<NotedOperation>> hold;
  for (int i = 0; i < 40; ++i) files.push_back(world.data(world.netfs, "f" + std::to_string(i)));
  world.settle();
  for (CookieRef& file : files) {
    hold.push_back(std::make_unique<NotedOperation>());
    REQUIRE(world.fs.submit(file, *hold.back()) == Submitted::kNow);
    world.fs.relinquish(std::move(file), Retire::kYes);
  }
  for (int i = 0; i < 40; ++i)
    files[static_cast<std::size_t>(i)] = world.data(world.netfs, "f" + std::to_string(i));
  // One thread steps all machines: had any waited for another, this would not return.
  world.settle();
  for (const CookieRef& file : files) CHECK(World::object_of(file)->state() == State::kInit);
  const CookieRef other = world.data(world.netfs, "other");
  world.settle();
  CHECK(World::object_of(other)->state() == State::kActive);
  for (const auto& operation : hold) world.fs.complete(*operation);
  world.settle();
  for (const CookieRef& file : files) CHECK(World::object_of(file)->state() == State::kActive);
}

TEST_CASE("reader waits for ever on LOOKING_UP: the flag is set again behind a failed look-up") {
  World world;
  world.backend->fail_finds = true;
  const CookieRef file = world.data(world.netfs, "f");
  NotedOperation reader;
  REQUIRE(world.fs.submit(file, reader) == Submitted::kLater);
  CHECK(file->has(kCookieLookingUp));
  world.settle();
  CHECK_FALSE(file->has(kCookieLookingUp));
  CHECK(reader.cancels == 1);
  NotedOperation next;
  CHECK(world.fs.submit(file, next) == Submitted::kNever);
  CHECK_FALSE(file->has(kCookieLookingUp));
}

TEST_CASE("unexpected submission: a read against a failed look-up is refused quietly") {
  World world;
  world.backend->fail_creates = true;
  const CookieRef file = world.data(world.netfs, "f");
  const ObjectPtr object = World::object_of(file);
  for (NotedOperation operation; world.machine.run_one(); world.answer.run_all()) {
    if (world.fs.submit(file, operation) != Submitted::kLater) continue;
    CHECK(world.fs.cancel(operation));
  }
  CHECK(object->is_dead());
}

TEST_CASE("an object with pending operations could not die") {
  World world;
  CookieRef file = world.data(world.netfs, "f");
  world.settle();
  const ObjectPtr object = World::object_of(file);
  NotedOperation first(OperationType::kMyThread, Sharing::kExclusive), second, third;
  REQUIRE(world.fs.submit(file, first) == Submitted::kNow);
  REQUIRE(world.fs.submit(file, second) == Submitted::kLater);
  REQUIRE(world.fs.submit(file, third) == Submitted::kLater);
  world.fs.relinquish(std::move(file), Retire::kNo);
  world.settle();
  CHECK(second.cancels + third.cancels == 2);
  world.fs.complete(first);
  world.settle();
  CHECK(object->is_dead());
}

TEST_CASE("an exclusive operation never started on an idle object") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  NotedOperation alone(OperationType::kSlow, Sharing::kExclusive);
  CHECK(world.fs.submit(file, alone) == Submitted::kNow);
  world.settle();
  CHECK(alone.runs == 1);
  world.fs.complete(alone);
}

TEST_CASE("double accounting in cancel: by cancel, and again when the last reference goes") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  const ObjectPtr object = World::object_of(file);
  NotedOperation holds;
  REQUIRE(world.fs.submit(file, holds) == Submitted::kNow);
  {
    NotedOperation exclusive(OperationType::kSlow, Sharing::kExclusive), shared;
    REQUIRE(world.fs.submit(file, exclusive) == Submitted::kLater);
    REQUIRE(world.fs.submit(file, shared) == Submitted::kLater);
    CHECK(object->figures().n_ops == 3);
    CHECK(object->figures().n_exclusive == 1);
    CHECK(world.fs.cancel(exclusive));
    CHECK_FALSE(world.fs.cancel(exclusive));
    world.settle();
    CHECK(shared.runs == 1);
    CHECK(world.fs.cancel(shared, Cancel::kInProgress));
    CHECK_FALSE(world.fs.cancel(shared, Cancel::kInProgress));
  }
  CHECK(object->figures().n_ops == 1);
  CHECK(object->figures().n_exclusive == 0);
  CHECK(object->figures().n_in_progress == 1);
  world.fs.complete(holds);
  CHECK(object->is_idle());
}

TEST_CASE("6 == 5 is false: the last reference of an operation is dropped by who works for it") {
  // An operation is its owner's record: nobody else can end it. Freed from within run(), at once.
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  struct Freed : Operation {
    FsCache* fs = nullptr;
  };
  for (const OperationType type : {OperationType::kFast, OperationType::kSlow}) {
    auto* const operation = new Freed;
    operation->type = type;
    operation->fs = &world.fs;
    operation->run = [](Operation& self) {
      const std::unique_ptr<Freed> gone(static_cast<Freed*>(&self));
      gone->fs->complete(self);
    };
    CHECK(world.fs.submit(file, *operation) == Submitted::kNow);
    world.settle();
  }
  CHECK(World::object_of(file)->is_idle());
}

TEST_CASE("unmount against attach: a cookie is put once too often when attaching fails") {
  World world;
  const CookieRef share = world.index(world.netfs, "share");
  world.fs.index_of(share);
  const ObjectPtr parent = World::object_of(share);
  NotedOperation hold;
  REQUIRE(world.fs.submit(share, hold) == Submitted::kNow);
  parent->raise(Event::kWithdraw);
  world.settle();
  REQUIRE(parent->state() == State::kDying);
  CookieRef file = world.data(share, "f");  // its parent is dying: it gets no object
  REQUIRE(file);
  CHECK_FALSE(World::object_of(file));
  CHECK(parent->figures().n_children == 0);
  world.fs.relinquish(std::move(file), Retire::kNo);
  world.fs.complete(hold);
  world.settle();
  CHECK(parent->is_dead());
}

TEST_CASE("a new cookie against a dying one for the same key") {
  World world;
  CookieRef old_file = world.data(world.netfs, "f");
  world.settle();
  NotedOperation hold;
  REQUIRE(world.fs.submit(old_file, hold) == Submitted::kNow);
  world.fs.relinquish(std::move(old_file), Retire::kYes);
  const CookieRef file = world.data(world.netfs, "f");
  REQUIRE(file);
  CHECK_FALSE(world.data(world.netfs, "f"));  // but two live ones are refused
  world.settle();
  world.fs.complete(hold);
  world.settle();
  CHECK(World::object_of(file)->state() == State::kActive);
}

TEST_CASE("unexpected object collision: liveness asked of the new object instead of the old") {
  World world;
  CookieRef old_file = world.data(world.netfs, "f");
  world.settle();
  const ObjectPtr old_object = World::object_of(old_file);
  world.fs.relinquish(std::move(old_file), Retire::kNo);  // dying, its machine has not run
  const CookieRef file = world.data(world.netfs, "f");
  bool both = false;
  World::tree_of(file).trace = [&](Object& who, State state) {
    both |= &who != old_object.get() && state == State::kLookingUp && !old_object->is_dead() &&
            who.figures().state > State::kLookingUp;
  };
  world.settle();
  World::tree_of(file).trace = nullptr;
  CHECK_FALSE(both);
  CHECK(World::object_of(file)->state() == State::kActive);
}

TEST_CASE("NULL deref in uncache_page: cookies switched on open for write while pages are marked") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  NotedOperation reads;
  REQUIRE(world.fs.submit(file, reads) == Submitted::kNow);
  world.fs.disable(file, Retire::kYes);  // instead of another cookie
  world.settle();
  CHECK(reads.object->state() == State::kDying);  // what a read uses stays until it is complete
  world.fs.complete(reads);
  world.settle();
  NotedOperation later;
  CHECK(world.fs.submit(file, later) == Submitted::kNever);
}

TEST_CASE("NULL deref in read_or_alloc_pages: retired and acquired anew to invalidate") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  NotedOperation reads;
  REQUIRE(world.fs.submit(file, reads) == Submitted::kNow);
  world.fs.invalidate(file, bytes_of("v2"), ByteCount{1});
  world.settle();
  CHECK(World::object_of(file) == reads.object);  // the same cookie, the same object
  CHECK(world.backend->invalidates.size() == 1);  // and nothing waited for the read
  world.fs.complete(reads);
}

TEST_CASE("identity must be in the key: the same number used again is found obsolete by its aux") {
  World world;
  world.backend->kept["f"] = {ObjectType::kData, "of the old file", 1};
  world.answer_to_check = AuxCheck::kObsolete;
  const CookieRef file = world.data(world.netfs, "f", "of the new file");
  world.settle();
  CHECK(world.backend->retires == 1);
  CHECK(world.backend->kept["f"].aux == "of the new file");
}

TEST_CASE("out of bounds in key hashing: keys of every length, and with any bytes") {
  World world;
  std::vector<CookieRef> files;
  for (std::size_t length = 1; length <= 255; ++length) {
    files.push_back(world.data(world.netfs, std::string(length, '\0')));
    CHECK(files.back());
  }
  CHECK_FALSE(world.data(world.netfs, ""));
  CHECK_FALSE(world.data(world.netfs, std::string(256, 'x')));
  CHECK_FALSE(world.data(world.netfs, "x", std::string(256, 'x')));
  for (std::size_t length = 1; length <= 255; ++length) {
    CHECK_FALSE(world.data(world.netfs, std::string(length, '\0')));
  }
  world.settle();
  for (const CookieRef& file : files) CHECK(World::object_of(file)->state() == State::kActive);
}

TEST_CASE("BUG rdwr.c:716: nothing is asserted of the store, which may refuse everything") {
  World world;
  world.backend->fail_finds = world.backend->fail_creates = true;
  world.backend->fail_renames = world.backend->fail_changes = true;
  const CookieRef share = world.index(world.netfs, "share");
  const CookieRef file = world.data(share, "f");
  NotedOperation operation;
  CHECK(world.fs.submit(file, operation) == Submitted::kLater);
  world.fs.update(file, bytes_of("u"), ByteCount{1});
  world.fs.invalidate(file, bytes_of("v"), ByteCount{1});
  world.fs.rename(file, world.netfs, bytes_of("g"));
  CHECK_FALSE(world.fs.attr_changed(file, ByteCount{1}).has_value());
  world.settle();
  CHECK(operation.cancels == 1);
  CHECK_FALSE(world.fs.index_of(share));
  world.fs.relinquish(file, Retire::kYes);
  world.settle();
}

TEST_CASE("a dead object is dispatched again: an event raised while it dies") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  const ObjectPtr object = World::object_of(file);
  World::tree_of(file).trace = [&](Object& who, State state) {
    if (&who != object.get() || state != State::kDead) return;
    for (std::size_t e = 0; e < kEvents; ++e) who.raise(static_cast<Event>(e));
  };
  world.fs.relinquish(file, Retire::kNo);
  world.settle();
  object->tree().trace = nullptr;
  CHECK(object->is_dead());
  for (std::size_t e = 0; e < kEvents; ++e) object->raise(static_cast<Event>(e));
  CHECK(world.machine.size() == 0);  // it asks for no event any more
}

TEST_CASE("an item that a worker refuses leaves the queue: nobody waits behind what is cancelled") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  NotedOperation first(OperationType::kSlow, Sharing::kExclusive, OperationKind::kFill);
  NotedOperation behind(OperationType::kSlow, Sharing::kExclusive, OperationKind::kFill);
  REQUIRE(world.fs.submit(file, first) == Submitted::kNow);
  REQUIRE(world.fs.submit(file, behind) == Submitted::kLater);
  world.settle();
  CHECK(world.fs.cancel(first, Cancel::kInProgress));  // it found that it has nothing to store
  world.settle();
  CHECK(behind.runs == 1);
  world.fs.complete(behind);
}

TEST_CASE("an API whose 0 means yes was read the other way round: consistency is an enum") {
  STATIC_REQUIRE_FALSE(std::is_convertible_v<Consistency, int>);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<Consistency, bool>);
}

TEST_CASE("UPDATE during the look-up was an unsupported event: it is legal in every state") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  world.fs.update(file, bytes_of("u"), ByteCount{1});
  world.settle();
  CHECK(World::object_of(file)->state() == State::kActive);
  CHECK(world.backend->updates == std::vector<std::string>{"u"});
}

TEST_CASE("key instability: what lies under a key is found by its bytes alone") {
  World world;
  CookieRef file = world.data(world.netfs, "f");
  world.settle();
  world.fs.relinquish(std::move(file), Retire::kNo);
  world.settle();
  std::string bytes = "f";  // another place in memory
  const CookieRef again = world.data(world.netfs, bytes);
  bytes = "g";  // the cookie keeps a key of its own
  world.settle();
  CHECK(World::object_of(again)->figures().key == "f");
  CHECK(world.fs.counters().lookups_positive.value() == 2);  // the root, and this
}
