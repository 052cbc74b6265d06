// SPDX-License-Identifier: Apache-2.0
// Reads of the store that wait for its device.
#include "support/catch.h"
#include "world.h"

namespace larder {
namespace {

using test::Answer;
using test::Asked;
using test::SimEngine;
using test::World;

struct Cached {
  World world;
  std::string content = test::pattern(100'000, 1);
  NodeId node{};
  HandleId handle{};

  explicit Cached(SimEngine::Reader reader) : world({.waits_every = 1, .reader = reader}) {
    world.share.put("f", content);
    world.age();
    CHECK(world.cat("f").data == content);
    node = world.lookup("f").entry.node;
    handle = world.open(node).open.handle;
  }
};

}  // namespace

TEST_CASE("a read whose turn at the store does not come goes to the share") {
  Cached c(SimEngine::Reader::kRing);
  World& world = c.world;
  const Asked first = world.start_read(c.node, c.handle, 0, 4'096);
  const Asked writer =
      world.ask([&](Reply r) { world.vfs->open(c.node, O_RDWR, {}, std::move(r)); });
  world.settle_but_for_the_device();
  REQUIRE(writer->ok());
  const auto calls = world.data_calls();
  const Asked second = world.start_read(c.node, c.handle, 50'000, 4'096);
  world.settle_but_for_the_device();
  CHECK_FALSE(second->done);
  CHECK(world.data_calls() == calls);

  world.clock.advance(20 * kSecond);
  world.settle_but_for_the_device();
  CHECK(second->data == c.content.substr(50'000, 4'096));
  CHECK(world.vfs->counters().store_passed.value() == 1);
  CHECK(world.data_calls() == calls + 1);
  CHECK_FALSE(first->done);

  world.settle();
  CHECK(first->data == c.content.substr(0, 4'096));
  world.release(c.node, writer->open.handle);
  world.release(c.node, c.handle);
}

TEST_CASE("a read whose turn comes in time is served by the store") {
  Cached c(GENERATE(SimEngine::Reader::kRing, SimEngine::Reader::kThread));
  World& world = c.world;
  const Asked first = world.start_read(c.node, c.handle, 0, 4'096);
  const Asked writer =
      world.ask([&](Reply r) { world.vfs->open(c.node, O_RDWR, {}, std::move(r)); });
  world.settle_but_for_the_device();
  const auto calls = world.data_calls();
  const Asked second = world.start_read(c.node, c.handle, 50'000, 4'096);
  world.clock.advance(kSecond);
  world.settle();
  CHECK(first->data == c.content.substr(0, 4'096));
  CHECK(second->data == c.content.substr(50'000, 4'096));
  CHECK(world.vfs->counters().store_passed.value() == 0);
  CHECK(world.data_calls() == calls);
  world.clock.advance(20 * kSecond);
  world.settle();
  world.release(c.node, writer->open.handle);
  world.release(c.node, c.handle);
}

}  // namespace larder
