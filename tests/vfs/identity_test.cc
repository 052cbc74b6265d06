// SPDX-License-Identifier: Apache-2.0
// Which file a name, a handle or an answer of the share is about, where other clients and our own
// changes move names and files meanwhile.
#include <unistd.h>

#include <cerrno>

#include "support/catch.h"
#include "vfs/world.h"

using namespace larder;
using namespace larder::test;

TEST_CASE("a create that finds the file there shows what the share holds by now") {
  for (const SimProfile profile : kAllProfiles) {
    INFO(to_text(profile));
    World world({.profile = profile});
    world.share.keep_attributes_for(0);
    world.share.put("f", "what is cut");
    // A change of our own before, so that what was known then counts as asked for before it.
    world.truncate(world.lookup("f").entry.node, 4);
    world.age();
    world.share.put("f", "what another client wrote");
    const Answer made = world.create("f");
    REQUIRE(made.ok());
    CHECK(made.entry.attributes.size == 25);
    CHECK(world.read(made.entry.node, made.open.handle, 0, 100).data ==
          "what another client wrote");
  }
}

TEST_CASE("an open that a change of our own overtook asks once more") {
  World world;
  world.share.put("f", "what is there");
  world.age();
  const NodeId node = world.lookup("f").entry.node;
  // The share has answered the open; before we hear of it the file is cut.
  const Asked opened =
      world.ask([&](Reply r) { world.vfs->open(node, O_RDONLY, {}, std::move(r)); });
  world.pool.run_all();
  SetAttributes cut;
  cut.size = 4;
  const Asked truncated =
      world.ask([&](Reply r) { world.vfs->set_attributes(node, cut, std::move(r)); });
  while (!truncated->done) {
    world.pool.run_all();
    world.answer.run_last();
  }
  const auto before = world.share.calls(SimCall::kFileStat);
  world.settle();
  REQUIRE(opened->ok());
  CHECK(world.share.calls(SimCall::kFileStat) == before + 1);
  CHECK(world.read(node, opened->open.handle, 0, 100).data == "what");
  world.release(node, opened->open.handle);
}

TEST_CASE("an answer to an earlier question does not replace that to a later one") {
  World world;
  world.share.put("f", "");
  world.age();
  const NodeId node = world.lookup("f").entry.node;
  world.age();
  // The share answers a stat; then the file grows, and an open is told so before the stat is heard.
  const Asked stat =
      world.ask([&](Reply r) { world.vfs->get_attributes(node, kNoHandle, std::move(r)); });
  world.pool.run_all();
  world.clock.advance(kSecond);
  world.share.put("f", "longer");
  const Asked opened =
      world.ask([&](Reply r) { world.vfs->open(node, O_RDONLY, {}, std::move(r)); });
  while (!opened->done) {
    world.pool.run_all();
    world.answer.run_last();
  }
  world.settle();
  CHECK(stat->attributes.size == 6);
  CHECK(world.read(node, opened->open.handle, 0, 100).data == "longer");
  world.release(node, opened->open.handle);
}

TEST_CASE(
    "without stable numbers, a handle from before another file took the name speaks for nothing") {
  for (const SimProfile profile : {SimProfile::kSshfs, SimProfile::kS3}) {
    INFO(to_text(profile));
    World world({.profile = profile});
    world.share.keep_attributes_for(0);
    world.share.put("f", "the old file");
    world.age();
    Answer found;
    const Answer old = world.find_and_open("f", found);
    REQUIRE(old.ok());
    world.share.replace("f", "another file, and longer");
    world.age();
    CHECK(world.cat("f").data == "another file, and longer");
    // The share still answers the old handle's file with the old bytes and attributes.
    world.age();
    CHECK(world.stat(found.entry.node).attributes.size == 24);
    CHECK(world.read(found.entry.node, old.open.handle, 0, 100).data == "another file, and longer");
    CHECK(world.truncate(found.entry.node, 7).ok());
    CHECK(world.share.content("f") == "another");
    CHECK(world.cat("f").data == "another");
    world.release(found.entry.node, old.open.handle);
  }
}

TEST_CASE("a file that was opened unasked is fetched by whichever name is left") {
  World world({.settings = trusting_for_a_minute()});
  world.share.put("a", "text");
  world.age();
  const NodeId node = world.lookup("a").entry.node;
  for (const char* name : {"b", "c"})
    REQUIRE(world.run([&](Reply r) { world.vfs->make_link(node, kRootNode, name, std::move(r)); })
                .ok());
  // Paths are made of the newest first.
  world.share.erase("c");
  world.share.replace("b", "another");
  const Answer opened = world.open(node);
  REQUIRE(opened.ok());
  CHECK(world.read(node, opened.open.handle, 0, 100).data == "text");
  world.release(node, opened.open.handle);
}

TEST_CASE("what a handle that was opened unasked asks about goes by whichever name is left") {
  World world({.settings = trusting_for_a_minute()});
  world.share.put("a", "text");
  world.age();
  const NodeId node = world.lookup("a").entry.node;
  for (const char* name : {"b", "c"})
    REQUIRE(world.run([&](Reply r) { world.vfs->make_link(node, kRootNode, name, std::move(r)); })
                .ok());
  const Answer opened = world.open(node);
  // Paths are made of the newest first.
  world.share.erase("c");
  world.share.replace("b", "another");
  world.age();
  world.clock.advance(60 * kSecond);
  const Answer shown = world.stat(node);
  REQUIRE(shown.ok());
  CHECK(shown.attributes.size == 4);
  const auto list = [&] {
    return world.run([&](Reply r) { world.vfs->list_xattr(node, 1000, std::move(r)); });
  };
  CHECK(list().ok());
  const auto hole = world.run([&](Reply r) {
    world.vfs->seek(node, opened.open.handle, ByteOffset{0}, SEEK_HOLE, std::move(r));
  });
  CHECK(hole.count == 4);
  SetAttributes change;
  change.mode = 0600;
  CHECK(world.run([&](Reply r) { world.vfs->set_attributes(node, change, std::move(r)); }).ok());
  CHECK((world.share.attributes("a").mode & 07777) == 0600);
  CHECK((world.share.attributes("b").mode & 07777) == 0644);
  world.release(node, opened.open.handle);
}

TEST_CASE("a session that settles late does not bring back what an open has found changed") {
  World world;
  const Answer made = world.create("f");
  world.release(made.entry.node, made.open.handle);
  // Its stamp is too fresh to settle; meanwhile another client writes, and an open is told so.
  world.clock.advance(kMillisecond);
  world.share.put("f", "longer");
  Answer found;
  const Answer opened = world.find_and_open("f", found);
  REQUIRE(opened.ok());
  world.clock.advance(15 * kMillisecond);
  world.settle();
  CHECK(world.stat(found.entry.node).attributes.size == 6);
  CHECK(world.read(found.entry.node, opened.open.handle, 0, 100).data == "longer");
  world.release(found.entry.node, opened.open.handle);
}

TEST_CASE("the kernel is not given the inode of what was removed for what has its number by now") {
  World world;
  const auto make = [&] {
    return world.run(
        [&](Reply r) { world.vfs->make_directory(kRootNode, "d", 0755, {}, std::move(r)); });
  };
  const Entry first = make().entry;
  const auto number = world.share.attributes("d").inode;
  REQUIRE(
      world.run([&](Reply r) { world.vfs->remove_directory(kRootNode, "d", std::move(r)); }).ok());
  CHECK(world.stat(first.node).attributes.nlink == 0);
  SetAttributes change;
  change.mode = 0700;
  const auto change_first = [&] {
    return world.run([&](Reply r) { world.vfs->set_attributes(first.node, change, std::move(r)); });
  };
  const Attributes changed = change_first().attributes;
  CHECK(changed.mode == (S_IFDIR | 0700));
  CHECK(changed.nlink == 0);
  world.share.make_dir("e");
  world.share.set_inode("e", number);
  const Entry second = world.lookup("e").entry;
  CHECK(second.inode == first.inode);
  CHECK(second.node != first.node);
  CHECK(second.generation != first.generation);
  CHECK(world.stat(second.node).attributes.nlink == 2);
  // Somebody's working directory stays what it was, and what he does to it is not done to the
  // other.
  CHECK(world.stat(first.node).attributes.nlink == 0);
  CHECK(world.stat(first.node).attributes.mode == (S_IFDIR | 0700));
  change.mode = 0711;
  CHECK(change_first().attributes.mode == (S_IFDIR | 0711));
  CHECK(world.share.attributes("e").mode == (S_IFDIR | 0755));
  CHECK(world.stat(second.node).attributes.mode == (S_IFDIR | 0755));
}

TEST_CASE("a file that another client renamed is to the kernel what it was, by its old name too") {
  World world;
  world.share.put("f", "text");
  world.age();
  const Entry by_old_name = world.lookup("f").entry;
  REQUIRE(world.share.rename("f", "g", 0));
  world.clock.advance(2 * kSecond);
  CHECK(!world.lookup("f").ok());
  const Entry by_new_name = world.lookup("g").entry;
  CHECK(by_new_name.node == by_old_name.node);
  CHECK(by_new_name.generation == by_old_name.generation);
  CHECK(world.stat(by_old_name.node).attributes.nlink == 1);
}

TEST_CASE("a session that settles behind the last name's removal does not bring the name back") {
  World world;
  world.share.put("f", "text");
  world.age();
  Answer found;
  const Answer opened = world.find_and_open("f", found, O_RDWR);
  const NodeId node = found.entry.node;
  world.clock.advance(123'456'789);  // so that stamps have digits below the second
  REQUIRE(world.write(node, opened.open.handle, 0, "TEXT").ok());
  world.release(node, opened.open.handle);  // it settles when the stamp of this is old enough
  REQUIRE(world.run([&](Reply r) { world.vfs->remove_file(kRootNode, "f", std::move(r)); }).ok());
  world.clock.advance(kSecond / 10);
  world.settle();
  CHECK(world.stat(node).attributes.nlink == 0);
}

TEST_CASE("what was known of a file is not told of the one that has its number by now") {
  World world({.settings = trusting_for_a_minute()});
  world.share.make_link_to("l", "old");
  world.share.put("f", "text");
  const auto read_link = [&](NodeId node) {
    return world.run([&](Reply r) { world.vfs->read_link(node, std::move(r)); }).data;
  };
  const auto has_xattr = [&](NodeId node) {
    return world.run([&](Reply r) { world.vfs->get_xattr(node, "user.a", 1000, std::move(r)); })
        .ok();
  };
  const NodeId link = world.lookup("l").entry.node, file = world.lookup("f").entry.node;
  const std::byte value{'v'};
  REQUIRE(world
              .run([&](Reply r) {
                world.vfs->set_xattr(file, "user.a", std::span(&value, 1), 0, std::move(r));
              })
              .ok());
  REQUIRE(has_xattr(file));
  REQUIRE(read_link(link) == "old");
  const auto link_number = world.share.attributes("l").inode;
  const auto file_number = world.share.attributes("f").inode;
  const auto remove = [&](const char* name) {
    return world.run([&](Reply r) { world.vfs->remove_file(kRootNode, name, std::move(r)); }).ok();
  };
  SECTION("removed by us, while the kernel still knows it") {
    REQUIRE(remove("l"));
    REQUIRE(remove("f"));
  }
  SECTION("forgotten by the kernel") {
    REQUIRE(remove("l"));
    REQUIRE(remove("f"));
    world.vfs->forget(link, 1);
    world.vfs->forget(file, 1);
    world.settle();
  }
  bool kernel_keeps = false;
  SECTION("removed by another client") {
    world.share.erase("l");
    world.share.erase("f");
    world.clock.advance(kSecond);
    kernel_keeps = true;
  }
  SECTION("of another type by now") {
    world.share.erase("l");
    world.share.erase("f");
    world.share.make_link_to("n", "new");
    world.share.set_inode("n", file_number);
    CHECK(!has_xattr(world.lookup("n").entry.node));
    world.share.erase("n");
    world.clock.advance(kSecond);
  }
  // As with ext4 below NFS, the numbers are given again at once.
  world.share.make_link_to("m", "new");
  world.share.set_inode("m", link_number);
  world.share.put("g", "more");
  world.share.set_inode("g", file_number);
  const auto drops = world.kernel.drops;
  CHECK(read_link(world.lookup("m").entry.node) == "new");
  CHECK((world.kernel.drops != drops || !kernel_keeps));
  CHECK(!has_xattr(world.lookup("g").entry.node));
}

TEST_CASE("what we do by a name that another client has given away is done to what has it now") {
  World world({.settings = trusting_for_a_minute()});
  world.share.put("f", "text");
  world.share.put("g", "text");
  world.age();
  const NodeId node = world.lookup("f").entry.node;
  REQUIRE(world.cat("f").data == "text");
  // Under its other name the file is where it was.
  REQUIRE(
      world.run([&](Reply r) { world.vfs->make_link(node, kRootNode, "h", std::move(r)); }).ok());
  REQUIRE(world.lookup("f").entry.node == node);
  world.share.replace("h", "the other file");
  const auto size_shown = [&] { return world.stat(node).attributes.size; };
  SECTION("a link") {
    const Answer made =
        world.run([&](Reply r) { world.vfs->make_link(node, kRootNode, "i", std::move(r)); });
    REQUIRE(made.ok());
    CHECK(made.entry.node != node);
    CHECK(made.entry.attributes.size == 14);
    CHECK(world.cat("i").data == "the other file");
    CHECK(size_shown() == 4);
  }
  SECTION("a rename") {
    REQUIRE(world
                .run([&](Reply r) {
                  world.vfs->rename(kRootNode, "h", kRootNode, "i", 0, std::move(r));
                })
                .ok());
    CHECK(world.cat("i").data == "the other file");
    CHECK(world.cat("f").data == "text");
    CHECK(size_shown() == 4);
  }
  SECTION("an extended attribute") {
    world.run([&](Reply r) {
      world.vfs->set_xattr(node, "user.note", std::as_bytes(std::span("x", 1)), 0, std::move(r));
    });
    CHECK(size_shown() == 4);
  }
}

TEST_CASE(
    "a file that lost its name to another client's is not opened by the name it was moved to") {
  World world({.settings = trusting_for_a_minute()});
  world.share.put("f", "ours");
  world.age();
  const NodeId node = world.lookup("f").entry.node;
  const Answer writer = world.open(node, O_RDWR);
  world.share.replace("f", "the other file");
  REQUIRE(
      world
          .run([&](Reply r) { world.vfs->rename(kRootNode, "f", kRootNode, "g", 0, std::move(r)); })
          .ok());
  // The kernel has moved its own name along, and opens what that is.
  CHECK(world.kernel.asked_to_drop == std::vector{std::pair(kRootNode, std::string("g"))});
  const Answer by_name = world.open(node);
  REQUIRE(by_name.error);
  CHECK(by_name.error->code == ErrorCode::kShareStale);
  CHECK(world.cat("g").data == "the other file");
  world.release(node, writer.open.handle);
}

TEST_CASE("a change of our own does not cover up another's that put the time back") {
  World world({.settings = trusting_for_a_minute()});
  world.share.put("f", "what was there");
  world.age();
  const NodeId node = world.lookup("f").entry.node;
  REQUIRE(world.cat("f").data == "what was there");
  const std::int64_t mtime_ns = world.share.attributes("f").mtime_ns;
  world.share.put("f", "what is in it!");
  world.share.set_mtime("f", mtime_ns);
  world.age();
  REQUIRE(world.cat("f").data == "what was there");  // trusted, as it should be
  std::string name = "f";
  SECTION("a mode") {
    world.run([&](Reply r) {
      SetAttributes change;
      change.mode = 0600;
      world.vfs->set_attributes(node, change, std::move(r));
    });
  }
  SECTION("a link") {
    world.run([&](Reply r) { world.vfs->make_link(node, kRootNode, "g", std::move(r)); });
  }
  SECTION("a rename") {
    name = "g";
    world.run([&](Reply r) { world.vfs->rename(kRootNode, "f", kRootNode, "g", 0, std::move(r)); });
  }
  SECTION("an extended attribute") {
    world.run([&](Reply r) {
      world.vfs->set_xattr(node, "user.note", std::as_bytes(std::span("x", 1)), 0, std::move(r));
    });
  }
  CHECK(world.cat(name).data == "what is in it!");
}

TEST_CASE("what others write behind our last write is not covered up by our session") {
  World world;
  world.share.put("f", "what was there");
  world.age();
  Answer found;
  const Answer writer = world.find_and_open("f", found, O_RDWR);
  const std::string bytes = "WHAT";
  REQUIRE(world.write(found.entry.node, writer.open.handle, 0, bytes).ok());
  world.clock.advance(50 * kMillisecond);
  // Of the same size, so that only the time stamp tells.
  world.share.put("f", "WHAT was THERE");
  world.clock.advance(50 * kMillisecond);
  world.release(found.entry.node, writer.open.handle);
  CHECK(world.cat("f").data == "WHAT was THERE");
}

// -- truncates and writes that overtake each other

namespace {

struct Overtaken {
  World world;
  Answer found, writer;
  Overtaken() {
    world.share.put("f", std::string(8192, 'a'));
    world.age();
    writer = world.find_and_open("f", found, O_RDWR);
    REQUIRE(writer.ok());
  }
  ~Overtaken() { world.release(found.entry.node, writer.open.handle); }
  Asked start_truncate(std::uint64_t size) {
    SetAttributes cut;
    cut.size = size;
    cut.handle = writer.open.handle;
    return world.ask(
        [&](Reply r) { world.vfs->set_attributes(found.entry.node, cut, std::move(r)); });
  }
  Asked start_open_truncated() {
    return world.ask(
        [&](Reply r) { world.vfs->open(found.entry.node, O_RDWR | O_TRUNC, {}, std::move(r)); });
  }
  Asked start_write(std::uint64_t offset) {
    return world.start_write(found.entry.node, writer.open.handle, offset, bytes);
  }
  // The share has answered all; the answers are heard in the opposite order.
  void hear_last_first() {
    while (world.answer.run_last()) {
    }
    world.settle();
  }
  void check_that_all_is_shown() {
    const auto shown = [&] {
      return world.read(found.entry.node, writer.open.handle, 0, 1 << 20).data;
    };
    CHECK((shown() == world.share.content("f")));
    CHECK(world.stat(found.entry.node).attributes.size == world.share.content("f").size());
    // What was cut off comes back as zeros.
    REQUIRE(world.truncate(found.entry.node, 65536, writer.open.handle).ok());
    CHECK((shown() == world.share.content("f")));
    world.release(found.entry.node, writer.open.handle);
    CHECK((world.cat("f").data == world.share.content("f")));
    world.age();
    CHECK((world.cat("f").data == world.share.content("f")));
    writer = world.find_and_open("f", found, O_RDWR);
  }
  const std::string bytes = std::string(8192, 'b');
};

}  // namespace

TEST_CASE("a truncate whose answer a later write overtook does not hide what was written") {
  Overtaken run;
  const Asked cut = run.start_truncate(100);
  run.world.pool.run_all();
  const Asked written = run.start_write(4096);
  run.world.pool.run_all();
  run.hear_last_first();
  REQUIRE(cut->ok());
  REQUIRE(written->ok());
  run.check_that_all_is_shown();
}

TEST_CASE("a write whose answer a later truncate overtook does not bring back what was cut off") {
  Overtaken run;
  const Asked written = run.start_write(4096);
  run.world.pool.run_all();
  const Asked cut = run.start_truncate(100);
  run.world.pool.run_all();
  run.hear_last_first();
  REQUIRE(cut->ok());
  REQUIRE(written->ok());
  run.check_that_all_is_shown();
}

TEST_CASE("an open that truncates and a write may overtake each other") {
  Overtaken run;
  Asked opened, written;
  SECTION("the write comes last, and is heard of first") {
    opened = run.start_open_truncated();
    run.world.pool.run_all();
    written = run.start_write(4096);
  }
  SECTION("the open comes last, and is heard of first") {
    written = run.start_write(4096);
    run.world.pool.run_all();
    opened = run.start_open_truncated();
  }
  run.world.pool.run_all();
  run.hear_last_first();
  REQUIRE(opened->ok());
  REQUIRE(written->ok());
  run.world.release(run.found.entry.node, opened->open.handle);
  run.check_that_all_is_shown();
}

TEST_CASE("a truncate by a name that is another file's by now says nothing of this one") {
  World world({.settings = trusting_for_a_minute()});
  world.share.put("f", "text");
  world.age();
  const NodeId node = world.lookup("f").entry.node;
  REQUIRE(world.cat("f").data == "text");
  const Answer reader = world.open(node);  // the share hears nothing of it
  world.share.replace("f", "another");
  CHECK_FALSE(world.truncate(node, 2).ok());
  CHECK(world.read(node, reader.open.handle, 0, 100).data == "text");
  world.release(node, reader.open.handle);
}

// -- where data and holes lie

TEST_CASE("where data and holes lie is asked once, and again for what changed") {
  World world({.settings = trusting_for_a_minute()});
  world.share.put("f", "text");
  world.age();
  Answer found;
  const Answer opened = world.find_and_open("f", found, O_RDWR);
  REQUIRE(opened.ok());
  world.release(found.entry.node, opened.open.handle);
  world.age();
  const Answer again = world.find_and_open("f", found);
  const auto hole_from = [&](std::uint64_t offset) {
    return world.run([&](Reply r) {
      world.vfs->seek(found.entry.node, again.open.handle, ByteOffset{offset}, SEEK_HOLE,
                      std::move(r));
    });
  };
  CHECK(hole_from(0).count == 4);
  CHECK(hole_from(4).error->sys_errno == ENXIO);
  const auto before = world.share.calls();
  CHECK(hole_from(0).count == 4);
  CHECK(hole_from(4).error->sys_errno == ENXIO);
  CHECK(world.share.calls() == before);
  SECTION("by us") {
    REQUIRE(world.truncate(found.entry.node, 9).ok());
    CHECK(hole_from(0).count == 9);
  }
  SECTION("by another client, when the time is up") {
    world.share.put("f", "longer text");
    CHECK(hole_from(0).count == 4);
    world.clock.advance(60 * kSecond);
    CHECK(hole_from(0).count == 11);
  }
  SECTION("while it is written here it is asked each time") {
    const Answer writer = world.find_and_open("f", found, O_RDWR);
    const std::string more = "more";
    REQUIRE(world.write(found.entry.node, writer.open.handle, 4, more).ok());
    CHECK(hole_from(0).count == 8);
    world.release(found.entry.node, writer.open.handle);
  }
  world.release(found.entry.node, again.open.handle);
}
