// SPDX-License-Identifier: Apache-2.0
// What each level of coherency asks the share for, what is shared while it is asked, and what a
// change of our own does to it.
#include <sys/xattr.h>

#include <map>

#include "support/catch.h"
#include "vfs/world.h"

using namespace larder;
using namespace larder::test;

namespace {

Settings with(Coherency coherency, Nanoseconds ttl_ns = 0) {
  Settings settings;
  settings.coherency = coherency;
  settings.ttl_ns = ttl_ns;
  return settings;
}
const Settings kTtl60 = with(Coherency::kTtl, 60 * kSecond);

Answer read_link(World& world, NodeId node) {
  return world.run([&](Reply r) { world.vfs->read_link(node, std::move(r)); });
}
Answer xattr(World& world, NodeId node, const char* name) {
  return world.run([&](Reply r) { world.vfs->get_xattr(node, name, 1000, std::move(r)); });
}
Answer set_xattr(World& world, NodeId node, const char* name, std::string_view value) {
  return world.run([&](Reply r) {
    world.vfs->set_xattr(node, name, std::as_bytes(std::span(value)), 0, std::move(r));
  });
}
Asked start_lookup(World& world, const std::string& name) {
  return world.ask([&](Reply r) { world.vfs->lookup(kRootNode, name, std::move(r)); });
}
Answer list_plus(World& world) {
  const Answer opened =
      world.run([&](Reply r) { world.vfs->open_directory(kRootNode, std::move(r)); });
  Answer all = world.run([&](Reply r) {
    world.vfs->read_directory_plus(kRootNode, opened.open.handle, 0, 1 << 20, std::move(r));
  });
  world.run(
      [&](Reply r) { world.vfs->release_directory(kRootNode, opened.open.handle, std::move(r)); });
  return all;
}
std::uint64_t share_calls(World& world) { return world.calls->counters().calls.value(); }

}  // namespace

// -- shared while it is asked

TEST_CASE("many who look up one name, or ask for one file, cost one call") {
  World world;
  world.share.put("f", "text");
  const auto before = world.share.calls();
  std::vector<Asked> all;
  for (int i = 0; i < 20; ++i) all.push_back(start_lookup(world, "f"));
  world.settle();
  for (const Asked& one : all) CHECK(one->entry.node == all.front()->entry.node);
  CHECK(world.share.calls() == before + 1);
  world.age();
  std::vector<Asked> stats;
  for (int i = 0; i < 20; ++i)
    stats.push_back(world.ask([&](Reply r) {
      world.vfs->get_attributes(all.front()->entry.node, kNoHandle, std::move(r));
    }));
  world.settle();
  for (const Asked& one : stats) CHECK(one->attributes.size == 4);
  CHECK(world.share.calls() == before + 2);
}

TEST_CASE("a failed look-up fails for all who wait and for nobody after") {
  World world;
  world.share.put("f", "text");
  world.share.fail_next(SimCall::kStat, EIO);
  const Asked a = start_lookup(world, "f"), b = start_lookup(world, "f");
  world.settle();
  CHECK(a->error);
  CHECK(b->error);
  CHECK(world.lookup("f").ok());
}

TEST_CASE("a look-up that raced with a change of our own is not believed behind it") {
  World world({.settings = kTtl60});
  world.share.put("f", "old");
  Asked slow;
  SECTION("removed while it was asked about") {
    // The share answers, and before we hear of it the file goes.
    slow = start_lookup(world, "f");
    world.pool.run_all();
    const Asked removed =
        world.ask([&](Reply r) { world.vfs->remove_file(kRootNode, "f", std::move(r)); });
    while (!removed->done) {
      world.pool.run_all();
      world.answer.run_last();
    }
    world.settle();
    CHECK(slow->ok());
    CHECK(slow->entry.entry_ttl_ns == 0);
    CHECK(world.lookup("f").entry.node.value() == 0);
  }
  SECTION("made while it was asked about") {
    slow = start_lookup(world, "g");
    world.pool.run_all();
    const Asked made = world.ask([&](Reply r) {
      world.vfs->create(kRootNode, "g", O_RDWR | O_CREAT, 0644, {}, std::move(r));
    });
    while (!made->done) {
      world.pool.run_all();
      world.answer.run_last();
    }
    world.settle();
    CHECK(slow->done);
    CHECK(world.lookup("g").entry.node == made->entry.node);
    world.release(made->entry.node, made->open.handle);
  }
}

// -- ttl

TEST_CASE(
    "within its time ttl asks for nothing twice: names, links, xattrs, listings, absent names") {
  World world({.settings = kTtl60});
  world.share.put("f", "text");
  world.share.make_link_to("l", "f");
  const Answer file = world.lookup("f"), link = world.lookup("l");
  set_xattr(world, file.entry.node, "user.a", "value");
  const auto ask_all = [&] {
    CHECK(read_link(world, link.entry.node).data == "f");
    CHECK(xattr(world, file.entry.node, "user.a").data == "value");
    CHECK(xattr(world, file.entry.node, "user.b").error);
    CHECK(world.run([&](Reply r) { world.vfs->list_xattr(file.entry.node, 1000, std::move(r)); })
              .data == std::string("user.a\0", 7));
    const Answer absent = world.lookup("absent");
    CHECK((absent.error || absent.entry.node.value() == 0));
    CHECK(list_plus(world).names.size() == 4);
    CHECK(world.stat(file.entry.node).ok());
  };
  ask_all();
  const auto before = world.share.calls();
  world.clock.advance(50 * kSecond);
  ask_all();
  CHECK(world.share.calls() == before);
  world.clock.advance(20 * kSecond);
  ask_all();
  CHECK(world.share.calls() > before);
}

TEST_CASE("a change of our own is seen at once, whatever is trusted") {
  World world({.settings = with(GENERATE(Coherency::kTtl, Coherency::kImmutable), 60 * kSecond)});
  world.share.put("f", "text");
  const Answer file = world.lookup("f");
  CHECK(xattr(world, file.entry.node, "user.a").error);
  set_xattr(world, file.entry.node, "user.a", "one");
  CHECK(xattr(world, file.entry.node, "user.a").data == "one");
  set_xattr(world, file.entry.node, "user.a", "two");
  CHECK(xattr(world, file.entry.node, "user.a").data == "two");
  world.lookup("g");
  CHECK(world.list().names.size() == 3);
  const Answer made = world.create("g");
  REQUIRE(made.ok());
  CHECK(world.lookup("g").entry.node == made.entry.node);
  CHECK(world.list().names.size() == 4);
  world.run([&](Reply r) { world.vfs->remove_file(kRootNode, "f", std::move(r)); });
  const Answer gone = world.lookup("f");
  CHECK((gone.error || gone.entry.node.value() == 0));
  CHECK(world.list().names.size() == 3);
}

TEST_CASE("a warm listing with attributes asks the share for nothing") {
  World world({.settings = kTtl60});
  for (int i = 0; i < 500; ++i) world.share.put("d" + std::to_string(i), "x");
  list_plus(world);
  const auto before = world.share.calls();
  const Answer again = list_plus(world);
  CHECK(again.names.size() >= 256);
  CHECK(world.share.calls() == before);
}

TEST_CASE("a cold listing asks for many names in one call") {
  World world;
  for (int i = 0; i < 200; ++i) world.share.put("d" + std::to_string(i), "x");
  const auto before = share_calls(world);
  CHECK(list_plus(world).entries.size() == 202);
  CHECK(share_calls(world) - before < 30);
}

// -- no trust on top of trust

TEST_CASE("the kernel gets what is left of larder's own trust") {
  World world({.settings = kTtl60});
  world.share.put("f", "text");
  world.lookup("f");
  world.clock.advance(45 * kSecond);
  const Answer found = world.lookup("f");
  CHECK(found.entry.entry_ttl_ns == 15 * kSecond);
  CHECK(found.entry.attr_ttl_ns == 15 * kSecond);
  const Answer listed = list_plus(world);
  REQUIRE(listed.entries.size() == 3);
  CHECK(listed.entries.back().entry_ttl_ns == 15 * kSecond);
  CHECK(listed.entries.back().attr_ttl_ns == 15 * kSecond);
  world.lookup("absent");
  world.clock.advance(5 * kSecond);
  const Answer absent = world.lookup("absent");
  REQUIRE(absent.ok());
  CHECK(absent.entry.node.value() == 0);
  CHECK(absent.entry.entry_ttl_ns == 55 * kSecond);
}

// -- close-to-open

TEST_CASE("a warm open under close-to-open is exactly one call, and its reads are none") {
  World world;
  world.share.put("f", std::string(50'000, 'x'));
  world.age();
  world.cat("f");
  const Answer found = world.lookup("f");
  const auto before = share_calls(world);
  const Answer opened = world.open(found.entry.node);
  CHECK(world.read(found.entry.node, opened.open.handle, 0, 50'000).data.size() == 50'000);
  world.release(found.entry.node, opened.open.handle);
  CHECK(share_calls(world) == before + 1);
}

// -- strict

TEST_CASE("strict asks at each open and each read, and leaves the kernel nothing to keep") {
  World world({.settings = with(Coherency::kStrict)});
  world.share.keep_attributes_for(0);
  world.share.put("f", std::string(5'000, 'a'));
  world.age();
  const Answer found = world.lookup("f");
  CHECK(found.entry.entry_ttl_ns == 0);
  CHECK(found.entry.attr_ttl_ns == 0);
  const Answer opened = world.open(found.entry.node);
  CHECK(opened.open.direct_io);
  CHECK(world.read(found.entry.node, opened.open.handle, 0, 9'000).data == std::string(5'000, 'a'));
  const auto data = world.data_calls();
  const auto calls = share_calls(world);
  CHECK(world.read(found.entry.node, opened.open.handle, 0, 9'000).data == std::string(5'000, 'a'));
  CHECK(share_calls(world) == calls + 1);
  CHECK(world.data_calls() == data);  // the bytes are still the store's
  world.share.put("f", std::string(6'000, 'b'));
  world.age();
  // The same handle, no open in between.
  CHECK(world.read(found.entry.node, opened.open.handle, 0, 9'000).data == std::string(6'000, 'b'));
  world.share.go_away();
  const Answer away = world.read(found.entry.node, opened.open.handle, 0, 9'000);
  REQUIRE(away.error);
  CHECK(away.error->code == ErrorCode::kShareAway);
  CHECK(world.lookup("f").error);
  world.share.come_back();
  world.release(found.entry.node, opened.open.handle);
}

// -- immutable

TEST_CASE("immutable asks once and never again, and a fetch is one read") {
  World world({.settings = with(Coherency::kImmutable)});
  world.share.put("f", std::string(5'000, 'a'));
  world.age();
  world.lookup("f");
  const auto stats = world.share.calls(SimCall::kFileStat);
  CHECK(world.cat("f").data == std::string(5'000, 'a'));
  CHECK(world.share.calls(SimCall::kFileStat) == stats);
  const auto before = world.share.calls();
  world.clock.advance(30 * 24 * 3600 * kSecond);
  CHECK(world.cat("f").data == std::string(5'000, 'a'));
  CHECK(world.share.calls() == before);
}

// -- figures

TEST_CASE(
    "the share's figures are a second old at most, under ttl as old as all else, never more") {
  const int seconds = GENERATE(1, 30, 60);
  World world({.settings = seconds == 1    ? with(Coherency::kCloseToOpen)
                           : seconds == 30 ? with(Coherency::kTtl, 30 * kSecond)
                                           : with(Coherency::kImmutable)});
  const auto df = [&] {
    const std::uint64_t before = world.share.calls(SimCall::kStatFs);
    CHECK(world.run([&](Reply r) { world.vfs->stat_fs(kRootNode, std::move(r)); }).ok());
    return world.share.calls(SimCall::kStatFs) - before;
  };
  world.clock.advance(61 * kSecond);
  CHECK(df() == 1);
  world.clock.advance(seconds * kSecond - kMillisecond);
  CHECK(df() == 0);
  world.clock.advance(kMillisecond);
  CHECK(df() == 1);
}

// -- away

TEST_CASE("links, xattrs and listings that are known are served while the share is away") {
  World world;
  world.share.put("f", "text");
  world.share.make_link_to("l", "f");
  const Answer file = world.lookup("f"), link = world.lookup("l");
  set_xattr(world, file.entry.node, "user.a", "value");
  xattr(world, file.entry.node, "user.a");
  read_link(world, link.entry.node);
  list_plus(world);
  world.share.go_away();
  world.age();
  CHECK(world.list().names.size() == 4);
  CHECK(read_link(world, link.entry.node).data == "f");
  CHECK(xattr(world, file.entry.node, "user.a").data == "value");
  CHECK(xattr(world, file.entry.node, "user.never").error);
  world.share.come_back();
}

// -- memory

TEST_CASE("a walk over many files keeps within memory, because the kernel is asked to let go") {
  constexpr std::uint64_t kLimit = 2 << 20;
  World world({.memory_bytes = kLimit});
  for (int d = 0; d < 20; ++d)
    for (int i = 0; i < 500; ++i)
      world.share.put("d" + std::to_string(d) + "/f" + std::to_string(i), "x");
  std::map<std::pair<NodeId, std::string>, std::pair<NodeId, std::uint64_t>> dentries;
  std::uint64_t most = 0;
  for (int d = 0; d < 20; ++d) {
    const Answer directory = world.lookup("d" + std::to_string(d));
    for (int i = 0; i < 500; ++i) {
      const std::string name = "f" + std::to_string(i);
      const Answer found = world.lookup(name, directory.entry.node);
      REQUIRE(found.ok());
      auto& [node, lookups] = dentries[{directory.entry.node, name}];
      node = found.entry.node;
      ++lookups;
      // The kernel does as it is asked, a little later.
      for (const auto& dropped : std::exchange(world.kernel.asked_to_drop, {})) {
        const auto at = dentries.find(dropped);
        if (at == dentries.end()) continue;
        world.vfs->forget(at->second.first, at->second.second);
        dentries.erase(at);
      }
      most = std::max(most, world.vfs->memory_used());
    }
  }
  CHECK(most < kLimit + kLimit / 4);
  CHECK(world.vfs->counters().given_back.value() > 1'000);
  CHECK(world.vfs->counters().inodes.value() > 200);  // and not all of them
}

TEST_CASE("fetches that are out count, and give their memory back") {
  World world;
  world.share.put("f", std::string(1 << 20, 'x'));
  world.age();
  const auto before = world.vfs->memory_used();
  const Answer found = world.lookup("f");
  const Answer opened = world.open(found.entry.node);
  const Asked read = world.start_read(found.entry.node, opened.open.handle, 0, 1 << 20);
  CHECK(world.vfs->memory_used() >= before + (1 << 20));
  world.settle();
  CHECK(read->ok());
  world.release(found.entry.node, opened.open.handle);
  CHECK(world.vfs->memory_used() < before + (64 << 10));
}

// -- creds=caller

namespace {

CredentialsRef user(std::uint32_t uid) {
  return std::make_shared<const Credentials>(Credentials{uid, uid, {}});
}

}  // namespace

TEST_CASE("as whoever asks: what one caller is refused another still gets, and is never cached") {
  World world({.settings = kTtl60, .as_caller = true});
  world.share.put("f", "text");
  world.share.refuse(1000);
  SECTION("side by side") {
    world.caller = user(1000);
    const Asked refused = start_lookup(world, "f");
    world.caller = user(1001);
    const Asked let_in = start_lookup(world, "f");
    world.settle();
    CHECK(refused->error->sys_errno == EACCES);
    CHECK(let_in->ok());
  }
  SECTION("one after the other") {
    world.caller = user(1001);
    Answer found;
    const Answer opened = world.find_and_open("f", found);
    REQUIRE(opened.ok());
    CHECK(world.read(found.entry.node, opened.open.handle, 0, 100).data == "text");
    // All of it is cached and trusted, and yet the share decides.
    world.caller = user(1000);
    CHECK(world.open(found.entry.node).error->sys_errno == EACCES);
    const Answer listing =
        world.run([&](Reply r) { world.vfs->open_directory(kRootNode, std::move(r)); });
    CHECK(world
              .run([&](Reply r) {
                world.vfs->read_directory(kRootNode, listing.open.handle, 0, 1 << 20, std::move(r));
              })
              .error->sys_errno == EACCES);
    world.run([&](Reply r) {
      world.vfs->release_directory(kRootNode, listing.open.handle, std::move(r));
    });
    world.caller = user(1001);
    CHECK(world.list().names.size() == 3);
    CHECK(world.open(found.entry.node).ok());
  }
  SECTION("a refusal ends with what refused") {
    world.caller = user(1000);
    CHECK(world.lookup("f").error->sys_errno == EACCES);
    world.share.refuse(1);
    CHECK(world.lookup("f").ok());
  }
}

TEST_CASE(
    "as whoever asks: who has a directory open may sync it, also when it is closed to him by now") {
  World world({.as_caller = true});
  world.share.make_dir("d");
  world.caller = user(1000);
  const NodeId node = world.lookup("d").entry.node;
  const Answer opened = world.run([&](Reply r) { world.vfs->open_directory(node, std::move(r)); });
  const auto sync = [&] {
    return world.run(
        [&](Reply r) { world.vfs->sync_directory(node, SyncWhat::kAll, std::move(r)); });
  };
  CHECK(sync().ok());
  world.share.refuse(1000);
  CHECK(sync().ok());
  world.run([&](Reply r) { world.vfs->release_directory(node, opened.open.handle, std::move(r)); });
}

TEST_CASE("as whoever asks: one name in a closed directory does not close the file's others") {
  World world({.as_caller = true});
  world.share.put("d/f", "text");
  const NodeId directory = world.lookup("d").entry.node;
  const NodeId node = world.lookup("f", directory).entry.node;
  const auto link = [&](const char* name) {
    return world.run([&](Reply r) { world.vfs->make_link(node, kRootNode, name, std::move(r)); });
  };
  REQUIRE(link("h").ok());
  const SetAttributes closed{{.mode = 0644}, kNoHandle};
  REQUIRE(
      world.run([&](Reply r) { world.vfs->set_attributes(directory, closed, std::move(r)); }).ok());
  world.age();
  REQUIRE(world.lookup("f", directory).ok());  // the name that was seen last
  world.caller = user(1000);
  CHECK(world.stat(node).ok());
  const Answer opened = world.open(node);
  CHECK(opened.ok());
  CHECK(world.read(node, opened.open.handle, 0, 100).data == "text");
  world.release(node, opened.open.handle);
  CHECK(link("i").ok());
}

TEST_CASE("as whoever asks: a warm read asks nobody") {
  World world({.as_caller = true});
  world.share.put("f", "text");
  world.age();
  world.caller = user(1001);
  CHECK(world.cat("f").data == "text");
  Answer found;
  const Answer opened = world.find_and_open("f", found);
  const auto before = world.share.calls();
  CHECK(world.read(found.entry.node, opened.open.handle, 0, 100).data == "text");
  CHECK(world.share.calls() == before);
}
