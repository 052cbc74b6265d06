// SPDX-License-Identifier: Apache-2.0
// What the operation manager does beyond first come, first served: operations that run again as
// another type, are taken back while in progress, find their object broken, or are too many; and
// what submit says in each state of the object.
#include "cache/operation.h"

#include <memory>
#include <string>
#include <vector>

#include "cache/world.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::cache;
using namespace larder::test;

namespace {

std::uint64_t counter(World& world, std::string_view name) {
  stats::Registry registry;
  world.fs.register_in(registry);
  for (const auto& entry : registry.entries()) {
    if (entry.name == "cache." + std::string(name)) return entry.read();
  }
  FAIL("no counter " << name);
  return 0;
}

}  // namespace

TEST_CASE("an operation runs again as another type, as often as it has work") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  NotedOperation operation(OperationType::kMyThread);
  REQUIRE(world.fs.submit(file, operation) == Submitted::kNow);
  CHECK(world.machine.size() + world.answer.size() == 0);
  world.fs.run_again(operation, OperationType::kSlow);  // a read that found much to copy
  CHECK(world.machine.size() == 1);
  world.settle();
  CHECK(operation.runs == 1);
  world.fs.run_again(operation, OperationType::kFast);
  CHECK(world.answer.size() == 1);
  world.settle();
  CHECK(operation.runs == 2);
  world.fs.run_again(operation, OperationType::kMyThread);  // goes on where it is
  CHECK(world.machine.size() + world.answer.size() == 0);
  CHECK(operation.state == OperationState::kInProgress);
  NotedOperation barrier(OperationType::kSlow, Sharing::kExclusive);
  CHECK(world.fs.submit(file, barrier) == Submitted::kLater);  // in progress all the time
  world.fs.complete(operation);
  world.settle();
  CHECK(barrier.runs == 1);
  world.fs.complete(barrier);
  CHECK(World::object_of(file)->is_idle());
}

TEST_CASE("an operation in progress is taken back by its owner, and what waited behind it goes") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  for (const Sharing sharing : {Sharing::kShareable, Sharing::kExclusive}) {
    NotedOperation operation(OperationType::kMyThread, sharing);
    NotedOperation behind(OperationType::kFast, Sharing::kExclusive);
    REQUIRE(world.fs.submit(file, operation) == Submitted::kNow);
    REQUIRE(world.fs.submit(file, behind) == Submitted::kLater);
    CHECK_FALSE(world.fs.cancel(operation));
    CHECK(world.fs.cancel(operation, Cancel::kInProgress));
    CHECK(operation.state == OperationState::kCancelled);
    CHECK_FALSE(world.fs.cancel(operation, Cancel::kInProgress));
    world.settle();
    CHECK(behind.runs == 1);
    world.fs.complete(behind);
    CHECK(World::object_of(file)->figures().n_exclusive == 0);
  }
  NotedOperation posted(OperationType::kSlow);
  REQUIRE(world.fs.submit(file, posted) == Submitted::kNow);
  CHECK_FALSE(world.fs.cancel(posted, Cancel::kInProgress));  // a queue has it: it will run
  world.settle();
  CHECK(posted.runs == 1);
  CHECK(world.fs.cancel(posted, Cancel::kInProgress));
  CHECK(World::object_of(file)->is_idle());
}

TEST_CASE("the last operation of a dying object may be taken back, and the object goes") {
  World world;
  CookieRef file = world.data(world.netfs, "f");
  world.settle();
  const ObjectPtr object = World::object_of(file);
  NotedOperation operation;
  REQUIRE(world.fs.submit(file, operation) == Submitted::kNow);
  world.fs.relinquish(std::move(file), Retire::kNo);
  world.settle();
  CHECK_FALSE(object->is_dead());
  CHECK(world.fs.cancel(operation, Cancel::kInProgress));
  world.settle();
  CHECK(object->is_dead());
}

TEST_CASE("an operation that finds its object broken takes it away; the cookie tries again") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  const CookieRef other = world.data(world.netfs, "g");
  world.settle();
  const ObjectPtr object = World::object_of(file);
  NotedOperation broken, beside, pending(OperationType::kSlow, Sharing::kExclusive);
  REQUIRE(world.fs.submit(file, broken) == Submitted::kNow);
  REQUIRE(world.fs.submit(file, beside) == Submitted::kNow);
  REQUIRE(world.fs.submit(file, pending) == Submitted::kLater);
  world.fs.abort(broken);
  world.settle();
  CHECK(pending.cancels == 1);
  CHECK(object->state() == State::kDying);  // what is in progress finishes
  NotedOperation late;
  CHECK(world.fs.submit(file, late) == Submitted::kNever);
  world.fs.complete(beside);
  world.settle();
  CHECK(object->is_dead());
  CHECK(World::object_of(other)->state() == State::kActive);
  CHECK(world.fs.submit(file, late) == Submitted::kNever);  // in the pause
  world.clock.advance(kSecond);
  CHECK(world.fs.submit(file, late) == Submitted::kLater);
  world.settle();
  CHECK(late.runs == 1);
  world.fs.complete(late);
  CHECK(counter(world, "rebinds") == 1);
}

TEST_CASE("with each failure in a row the pause doubles, to a minute; a success ends that") {
  World world;
  world.backend->fail_finds = true;
  const CookieRef netfs_object = world.data(world.netfs, "first");  // the root is up from here
  world.settle();
  world.backend->fail_finds = false;
  world.clock.advance(kSecond);
  const CookieRef file = world.data(world.netfs, "f");
  world.settle();
  REQUIRE(World::object_of(file)->state() == State::kActive);
  world.backend->fail_finds = true;
  NotedOperation broken;
  REQUIRE(world.fs.submit(file, broken) == Submitted::kNow);
  world.fs.abort(broken);
  world.settle();
  for (const unsigned pause_s : {1u, 2u, 4u, 8u, 16u, 32u, 64u, 64u}) {
    NotedOperation early, late;
    world.clock.advance(pause_s * kSecond - kMillisecond);
    CHECK(world.fs.submit(file, early) == Submitted::kNever);
    world.clock.advance(kMillisecond);
    CHECK(world.fs.submit(file, late) == Submitted::kLater);
    world.settle();
    CHECK(late.cancels == 1);
  }
  world.backend->fail_finds = false;
  world.clock.advance(64 * kSecond);
  NotedOperation works;
  CHECK(world.fs.submit(file, works) == Submitted::kLater);
  world.settle();
  CHECK(works.runs == 1);
  world.fs.abort(works);
  world.settle();
  world.clock.advance(kSecond);
  NotedOperation again;
  CHECK(world.fs.submit(file, again) == Submitted::kLater);
  world.settle();
  world.fs.complete(again);
}

TEST_CASE("too many operations that wait are refused, for one object and for all") {
  FsCacheOptions options;
  options.operations_per_object = 4;
  options.operations = 6;
  World world(options);
  const CookieRef file = world.data(world.netfs, "f");
  const CookieRef other = world.data(world.netfs, "g");
  std::vector<std::unique_ptr<NotedOperation>> operations;
  const auto submit = [&](const CookieRef& cookie, OperationType type) {
    operations.push_back(std::make_unique<NotedOperation>(type));
    return world.fs.submit(cookie, *operations.back());
  };
  for (int i = 0; i < 4; ++i) CHECK(submit(file, OperationType::kSlow) == Submitted::kLater);
  CHECK(submit(file, OperationType::kSlow) == Submitted::kNever);
  CHECK(submit(other, OperationType::kMyThread) == Submitted::kLater);
  CHECK(submit(other, OperationType::kMyThread) == Submitted::kLater);
  CHECK(submit(other, OperationType::kMyThread) == Submitted::kNever);
  CHECK(counter(world, "ops_over_limit") == 2);
  world.settle();
  // What goes at once on its own thread is never too many.
  for (int i = 0; i < 10; ++i) CHECK(submit(other, OperationType::kMyThread) == Submitted::kNow);
  CHECK(submit(other, OperationType::kSlow) == Submitted::kNever);
  for (const auto& operation : operations) {
    if (operation->state == OperationState::kInProgress) world.fs.complete(*operation);
  }
  CHECK(submit(file, OperationType::kSlow) == Submitted::kNow);  // there is room again
  world.settle();
  world.fs.complete(*operations.back());
}

TEST_CASE("submit says in each state of the object what becomes of an operation") {
  // State, and the answer to a shareable and to an exclusive operation that come there.
  using enum State;
  struct Row {
    State state;
    Submitted answer;
  };
  for (const Row& row : std::vector<Row>{{kInit, Submitted::kLater},
                                         {kLookingUp, Submitted::kLater},
                                         {kCreating, Submitted::kLater},
                                         {kAvailable, Submitted::kLater},
                                         {kActive, Submitted::kNow},
                                         {kUpdating, Submitted::kNow},
                                         {kInvalidating, Submitted::kNever},
                                         {kLcDying, Submitted::kLater},
                                         {kDying, Submitted::kNever},
                                         {kReleasing, Submitted::kNever},
                                         {kWithdrawing, Submitted::kNever},
                                         {kRecycling, Submitted::kNever},
                                         {kDead, Submitted::kNever}}) {
    for (const Sharing sharing : {Sharing::kShareable, Sharing::kExclusive}) {
      INFO(to_text(row.state));
      World world;
      const CookieRef share = world.index(world.netfs, "share");
      world.fs.index_of(share);
      Tree& tree = World::tree_of(share);
      const CookieRef file = world.data(share, "f");
      const ObjectPtr object = World::object_of(file);
      NotedOperation operation(OperationType::kMyThread, sharing);
      bool was_there = false;
      Submitted answer = Submitted::kNever;
      tree.trace = [&](Object& who, State now) {
        if (&who != object.get() || now != row.state || was_there) return;
        was_there = true;
        // To the object: its cookie may have let go of it.
        answer = row.state == kInvalidating ? world.fs.submit(file, operation)
                                            : object->submit(operation);
        if (answer == Submitted::kNow) world.fs.complete(operation);
      };
      if (row.state == kInit) tree.trace(*object, kInit);
      if (row.state == kLcDying) world.backend->fail_finds = true;
      world.settle();
      if (row.state == kUpdating) world.fs.update(file, bytes_of("u"), ByteCount{1});
      if (row.state == kInvalidating) world.fs.invalidate(file, bytes_of("v"), ByteCount{1});
      if (row.state == kDying || row.state == kReleasing) object->raise(Event::kRelease);
      if (row.state == kWithdrawing || row.state == kDead) object->raise(Event::kWithdraw);
      if (row.state == kRecycling) object->raise(Event::kRetire);
      world.settle();
      CHECK(was_there);
      CHECK(answer == row.answer);
      // Quietly: it has its one fate, and nobody stops.
      CHECK(operation.runs + operation.cancels == (answer == Submitted::kLater ? 1 : 0));
      if (operation.runs == 1) world.fs.complete(operation);
      tree.trace = nullptr;
    }
  }
}
