// SPDX-License-Identifier: Apache-2.0
// Files that are not cached (nocache=), and those of them that the kernel serves by itself.
#include <fcntl.h>

#include "support/catch.h"
#include "vfs/world.h"

using namespace larder;
using namespace larder::test;

namespace {

struct PassWorld : World {
  explicit PassWorld(WorldOptions options = {}, std::vector<std::string> nocache = {"*.db", "raw"})
      : World([&] {
          options.nocache = std::move(nocache);
          return std::move(options);
        }()) {
    share.put("a.db", "of the share");
    share.put("other", "of the share, and kept");
    age();
  }
  std::string state(NodeId node) {
    return run([&](Reply r) { vfs->get_xattr(node, "user.larder.state", 100, std::move(r)); }).data;
  }
  std::uint64_t kept_extents() const { return store->counters().extents.value(); }
};

}  // namespace

TEST_CASE("patterns mean names on a path, or paths from the root") {
  const PathPatterns patterns({"*.db", ".git", "/home/*/mail", "b/c/"}, PathPatterns::Case::kTells);
  CHECK(patterns.mean("x.db"));
  CHECK(patterns.mean("deep/down/x.db"));
  CHECK(patterns.mean("x.db/below"));
  CHECK(patterns.mean("src/.git/objects/00"));
  CHECK(patterns.mean("home/me/mail"));
  CHECK(patterns.mean("home/me/mail/new/1"));
  CHECK(patterns.mean("b/c"));
  CHECK_FALSE(patterns.mean("X.DB"));
  CHECK_FALSE(patterns.mean("x.dbx"));
  CHECK_FALSE(patterns.mean(".gitignore"));
  CHECK_FALSE(patterns.mean("home/me/also/mail"));
  CHECK_FALSE(patterns.mean("a/b/c"));
  CHECK_FALSE(patterns.mean(""));
  CHECK(PathPatterns({"*.db"}, PathPatterns::Case::kFolds).mean("X.DB"));
  CHECK_FALSE(PathPatterns().mean("x.db"));
  CHECK(PathPatterns().empty());
}

TEST_CASE("a file that is excluded leaves nothing in the cache, whatever is done to it") {
  const SimProfile profile =
      GENERATE(SimProfile::kNfs, SimProfile::kSmb, SimProfile::kSshfs, SimProfile::kS3);
  PassWorld world({.profile = profile});
  world.backings->refuses = true;  // so that reads and writes come here
  const Answer found = world.lookup("a.db");
  const Answer opened = world.open(found.entry.node, O_RDWR);
  REQUIRE(opened.ok());
  CHECK(opened.open.backing == kNoBacking);
  const auto calls = world.data_calls();
  CHECK(world.read(found.entry.node, opened.open.handle, 0, 100).data == "of the share");
  CHECK(world.read(found.entry.node, opened.open.handle, 3, 100).data == "the share");
  CHECK(world.data_calls() == calls + 2);
  CHECK(world.write(found.entry.node, opened.open.handle, 0, "by us").ok());
  CHECK(world.read(found.entry.node, opened.open.handle, 0, 100).data == "by use share");
  CHECK(world.truncate(found.entry.node, 5).ok());
  CHECK(world.read(found.entry.node, opened.open.handle, 0, 100).data == "by us");
  CHECK(world.state(found.entry.node) == "none");
  world.release(found.entry.node, opened.open.handle);
  CHECK(world.share.content("a.db") == "by us");
  CHECK(world.kept_extents() == 0);
  CHECK(world.vfs->counters().excluded_opens.value() == 1);
  CHECK(world.vfs->counters().pass_through_refused.value() == 1);

  CHECK(world.cat("other").data == "of the share, and kept");
  CHECK(world.kept_extents() == 1);
}

TEST_CASE("whoever reads in order of what is excluded fetches nothing ahead, and each byte once") {
  PassWorld world;
  world.backings->refuses = true;
  const std::string content(3 << 20, 'x');
  world.share.put("raw/large", content);
  world.age();
  const Answer folder = world.lookup("raw");
  const Answer found = world.lookup("large", folder.entry.node);
  const Answer opened = world.open(found.entry.node);
  const auto before = world.share.bytes_read();
  for (std::uint64_t at = 0; at < content.size(); at += 128 << 10)
    CHECK(world.read(found.entry.node, opened.open.handle, at, 128 << 10).data.size() == 128 << 10);
  CHECK(world.share.bytes_read() - before == content.size());
  world.release(found.entry.node, opened.open.handle);
}

TEST_CASE("the kernel is given the share's file once, until the last handle goes") {
  PassWorld world;
  const Answer found = world.lookup("a.db");
  const Answer first = world.open(found.entry.node);
  CHECK(first.open.backing == BackingId{1});
  CHECK_FALSE(first.open.direct_io);
  const Answer second = world.open(found.entry.node, O_RDWR);
  CHECK(second.open.backing == first.open.backing);
  CHECK_FALSE(second.open.keep_cache);  // the kernel refuses to open it so
  CHECK(world.backings->now == std::vector<std::uint64_t>{1});
  CHECK(world.state(found.entry.node) == "none");
  world.release(found.entry.node, first.open.handle);
  CHECK(world.backings->now == std::vector<std::uint64_t>{1});
  world.release(found.entry.node, second.open.handle);
  CHECK(world.backings->now.empty());
  CHECK(world.share.open_files() == 0);
  CHECK(world.vfs->counters().pass_through_opens.value() == 2);

  const Answer later = world.open(found.entry.node);
  CHECK(later.open.backing != kNoBacking);
  world.release(found.entry.node, later.open.handle);
  CHECK(world.backings->now.empty());
}

TEST_CASE("who was opening a file when its last handle went is passed through as that one was") {
  PassWorld world;
  const Answer found = world.lookup("a.db");
  const Answer first = world.open(found.entry.node);
  const Asked second =
      world.ask([&](Reply r) { world.vfs->open(found.entry.node, O_RDWR, {}, std::move(r)); });
  world.release(found.entry.node, first.open.handle);
  CHECK(second->open.backing == first.open.backing);
  world.release(found.entry.node, second->open.handle);
  CHECK(world.backings->now.empty());
  CHECK(world.share.open_files() == 0);
  CHECK(world.vfs->counters().pass_through_opens.value() == 2);
}

TEST_CASE("as long as a file is open it is served in one way") {
  PassWorld world;
  const Answer found = world.lookup("a.db");
  const auto move = [&](const char* from, const char* to) {
    return world.run(
        [&](Reply r) { world.vfs->rename(kRootNode, from, kRootNode, to, 0, std::move(r)); });
  };
  SECTION("passed through, also where the kernel takes no more, or its name is no longer meant") {
    const Answer first = world.open(found.entry.node);
    world.backings->refuses = true;
    CHECK(move("a.db", "plain").ok());
    const Answer second = world.open(found.entry.node);
    CHECK(second.open.backing == first.open.backing);
    world.release(found.entry.node, first.open.handle);
    world.release(found.entry.node, second.open.handle);
    // From here on it is a file like any other.
    world.age();
    CHECK(world.cat("plain").data == "of the share");
    CHECK(world.kept_extents() == 1);
  }
  SECTION("by larder, also where the kernel would take it by now") {
    world.backings->refuses = true;
    const Answer first = world.open(found.entry.node);
    world.backings->refuses = false;
    const Answer second = world.open(found.entry.node);
    CHECK(second.open.backing == kNoBacking);
    CHECK(world.backings->now.empty());
    world.release(found.entry.node, first.open.handle);
    world.release(found.entry.node, second.open.handle);
  }
  SECTION("cached, also where its name is meant by now; and what is kept goes at its next open") {
    const Answer kept = world.lookup("other");
    const Answer first = world.open(kept.entry.node);
    CHECK(world.read(kept.entry.node, first.open.handle, 0, 100).ok());
    CHECK(world.kept_extents() == 1);
    CHECK(move("other", "raw").ok());
    const Answer second = world.open(kept.entry.node);
    CHECK(second.open.backing == kNoBacking);
    world.release(kept.entry.node, first.open.handle);
    world.release(kept.entry.node, second.open.handle);
    CHECK(world.kept_extents() == 1);
    const Answer third = world.open(kept.entry.node);
    CHECK(third.open.backing != kNoBacking);
    world.settle();
    CHECK(world.kept_extents() == 0);
    world.release(kept.entry.node, third.open.handle);
  }
}

TEST_CASE("attributes are asked for as long as the kernel writes by itself") {
  PassWorld world({.settings = trusting_for_a_minute()});
  const Answer found = world.lookup("a.db");
  const Answer opened = world.open(found.entry.node, O_RDWR);
  REQUIRE(opened.open.backing != kNoBacking);
  world.share.put("a.db", "written by the kernel");
  CHECK(world.stat(found.entry.node).attributes.size == 21);
  world.share.put("a.db", "and once more");
  CHECK(world.stat(found.entry.node).attributes.size == 13);
  world.share.put("a.db", "last");
  world.release(found.entry.node, opened.open.handle);
  CHECK(world.stat(found.entry.node).attributes.size == 4);
  // Trusted again.
  world.share.put("a.db", "somebody else");
  CHECK(world.stat(found.entry.node).attributes.size == 4);
}

TEST_CASE("a file that is made is passed through as well") {
  PassWorld world;
  const Answer made = world.create("new.db");
  REQUIRE(made.ok());
  CHECK(made.open.backing != kNoBacking);
  world.release(made.entry.node, made.open.handle);
  CHECK(world.backings->now.empty());
}

TEST_CASE("where the share tells only who wrote, writes come here and the rest is passed through") {
  PassWorld world;
  world.share.tell_writer();
  const Answer found = world.lookup("a.db");
  const Answer reader = world.open(found.entry.node);
  const Answer writer = world.open(found.entry.node, O_RDWR);
  CHECK(reader.open.backing == writer.open.backing);
  CHECK_FALSE(reader.open.direct_io);
  CHECK(writer.open.direct_io);
  CHECK(world.write(found.entry.node, writer.open.handle, 0, "IT").ok());
  CHECK(world.read(found.entry.node, writer.open.handle, 0, 100).data == "IT the share");
  world.share.fail_next(SimCall::kFlush, 28);
  CHECK(world.flush(found.entry.node, writer.open.handle).error->sys_errno == 28);
  world.release(found.entry.node, reader.open.handle);
  world.release(found.entry.node, writer.open.handle);
  CHECK(world.backings->now.empty());
  CHECK(world.kept_extents() == 0);
}

TEST_CASE("the share's errors reach who opens, reads and writes what is excluded") {
  PassWorld world;
  const Answer found = world.lookup("a.db");
  world.share.fail_next(SimCall::kOpen, 13);
  CHECK(world.open(found.entry.node).error->sys_errno == 13);
  CHECK(world.backings->last == 0);

  world.backings->refuses = true;
  const Answer opened = world.open(found.entry.node, O_RDWR);
  world.share.fail_next(SimCall::kRead, 5);
  CHECK(world.read(found.entry.node, opened.open.handle, 0, 10).error->sys_errno == 5);
  world.share.fail_next(SimCall::kWrite, 28);
  CHECK(world.write(found.entry.node, opened.open.handle, 0, "x").error->sys_errno == 28);
  CHECK(world.read(found.entry.node, opened.open.handle, 0, 100).data == "of the share");
  world.release(found.entry.node, opened.open.handle);
}

TEST_CASE("a file that is opened while the share is away is served by larder") {
  PassWorld world({.settings = trusting_for_a_minute()});
  const Answer found = world.lookup("a.db");
  world.share.go_away();
  const Answer opened = world.open(found.entry.node);
  if (opened.ok()) {
    CHECK(opened.open.backing == kNoBacking);
    CHECK(world.read(found.entry.node, opened.open.handle, 0, 10).error->code ==
          ErrorCode::kShareAway);
    world.release(found.entry.node, opened.open.handle);
  } else {
    CHECK(opened.error->code == ErrorCode::kShareAway);
  }
  world.share.come_back();
  CHECK(world.cat("a.db").data == "of the share");
  CHECK(world.backings->now.empty());
}
