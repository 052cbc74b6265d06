// SPDX-License-Identifier: Apache-2.0
// The file system, without FUSE and without threads: what a reader may rely on.
#include "support/catch.h"
#include "vfs/world.h"

using namespace larder;
using namespace larder::test;

TEST_CASE("a second read of a file asks the share for no data") {
  World world;
  world.share.put("f", pattern(100'000, 1));
  world.age();
  CHECK(world.cat("f").data == pattern(100'000, 1));
  const auto before = world.data_calls();
  CHECK(world.cat("f").data == pattern(100'000, 1));
  CHECK(world.data_calls() == before);
}

TEST_CASE("a warm read leaves its thread for nobody and copies nothing") {
  World world;
  world.share.put("f", pattern(100'000, 1));
  world.age();
  const Answer found = world.lookup("f");
  const Answer opened = world.open(found.entry.node);
  world.read(found.entry.node, opened.open.handle, 0, 100'000);
  const auto& counters = world.vfs->counters();
  const auto parked = counters.parked.value();
  const auto copied = counters.copied_bytes.value();
  const auto calls = world.share.calls();
  const Asked asked = world.start_read(found.entry.node, opened.open.handle, 5'000, 50'000);
  CHECK(asked->ok());  // answered before anything else ran
  CHECK(asked->data == pattern(100'000, 1).substr(5'000, 50'000));
  CHECK(counters.parked.value() == parked);
  CHECK(counters.copied_bytes.value() == copied);
  CHECK(world.share.calls() == calls);
  world.release(found.entry.node, opened.open.handle);
}

TEST_CASE("what was cached is warm after a restart") {
  const SimProfile profile =
      GENERATE(SimProfile::kNfs, SimProfile::kSmb, SimProfile::kSshfs, SimProfile::kS3);
  INFO(to_text(profile));
  World world({.profile = profile});
  world.share.put("f", pattern(300'000, 1));
  world.age();
  CHECK(world.cat("f").data == pattern(300'000, 1));
  REQUIRE(world.store->sync());
  const auto number = world.lookup("f").entry.inode;
  world.restart(GENERATE(World::Ending::kUnmount, World::Ending::kKill));
  world.share.remount();
  const auto before = world.data_calls();
  CHECK(world.cat("f").data == pattern(300'000, 1));
  CHECK(world.data_calls() == before);
  CHECK(world.lookup("f").entry.inode == number);
}

TEST_CASE("an open sees what was changed on the share") {
  const SimProfile profile =
      GENERATE(SimProfile::kNfs, SimProfile::kSmb, SimProfile::kSshfs, SimProfile::kS3);
  INFO(to_text(profile));
  World world({.profile = profile});
  world.share.keep_attributes_for(0);
  world.share.put("f", pattern(100'000, 1));
  world.age();
  CHECK(world.cat("f").data == pattern(100'000, 1));
  world.share.put("f", pattern(100'000, 2));  // the same size
  world.age();
  CHECK(world.cat("f").data == pattern(100'000, 2));
  world.share.put("f", pattern(5'000, 3));
  world.age();
  CHECK(world.cat("f").data == pattern(5'000, 3));
  world.share.replace("f", pattern(5'000, 4));
  world.age();
  CHECK(world.cat("f").data == pattern(5'000, 4));
  world.share.erase("f");
  world.age();
  CHECK_FALSE(world.cat("f").ok());
}

TEST_CASE("an open that finds another version tells the kernel to ask for its attributes") {
  World world;
  world.share.put("f", "");
  world.age();
  const Answer found = world.lookup("f");
  world.share.put("f", "longer now");
  CHECK(world.open(found.entry.node).ok());
  CHECK(world.kernel.attribute_drops == 1);
  CHECK(world.stat(found.entry.node).attributes.size == 10);
  CHECK(world.open(found.entry.node).ok());
  CHECK(world.kernel.attribute_drops == 1);
}

TEST_CASE("a file that changes under a fetch is read again, and never mixed") {
  World world;
  world.share.put("f", pattern(200'000, 1));
  world.age();
  world.share.during_next(SimCall::kRead, [&] {
    world.clock.advance(kSecond);
    world.share.put("f", pattern(200'000, 2));
  });
  CHECK(world.cat("f").data == pattern(200'000, 2));
  CHECK(world.vfs->counters().stale_flights.value() > 0);
  CHECK(world.kernel.drops > 0);
  CHECK(world.cat("f").data == pattern(200'000, 2));
}

TEST_CASE("a file that changes under every fetch is answered from the share, uncached") {
  World world;
  world.share.put("f", pattern(50'000, 0));
  world.age();
  std::function<void()> change;
  unsigned version = 0;
  change = [&] {
    world.clock.advance(kSecond);
    world.share.put("f", pattern(50'000, ++version));
    if (version < 20) world.share.during_next(SimCall::kRead, change);
  };
  world.share.during_next(SimCall::kRead, change);
  const Answer read = world.cat("f");
  CHECK(read.ok());
  CHECK(read.data.size() == 50'000);
  CHECK(world.vfs->counters().uncached_reads.value() == 1);
}

TEST_CASE("a version too fresh to be told from the next is not kept beyond its handles") {
  World world({.profile = SimProfile::kSshfs});
  world.share.keep_attributes_for(0);
  world.share.put("f", "first");
  CHECK(world.cat("f").data == "first");  // within the second in which it was written
  world.share.put("f", "other");          // the same size, the same second
  CHECK(world.cat("f").data == "other");
  world.restart(World::Ending::kKill);
  world.share.put("f", "third");
  CHECK(world.cat("f").data == "third");
}

TEST_CASE("a fresh version goes with its last handle on every kind of share") {
  const SimProfile profile =
      GENERATE(SimProfile::kNfs, SimProfile::kSmb, SimProfile::kSshfs, SimProfile::kS3);
  INFO(to_text(profile));
  World world({.profile = profile});
  world.share.keep_attributes_for(0);
  world.share.put("f", pattern(20'000, 1));
  world.age();
  world.cat("f");
  const Answer found = world.lookup("f");
  world.clock.advance(123'456'789);
  world.truncate(found.entry.node, 15'000);
  const std::string cut = pattern(20'000, 1).substr(0, 15'000);
  CHECK(world.cat("f").data == cut);
  world.share.put("f", pattern(15'000, 2));  // at the same moment: nothing tells
  CHECK(world.cat("f").data == pattern(15'000, 2));
  world.share.put("f", pattern(15'000, 3));
  world.age();
  CHECK(world.cat("f").data == pattern(15'000, 3));
}

TEST_CASE("thirty-two readers of a cold file fetch each byte once") {
  World world;
  world.share.put("f", pattern(700'000, 1));
  world.age();
  const Answer found = world.lookup("f");
  std::vector<Answer> handles;
  std::vector<Asked> reads;
  for (int i = 0; i < 32; ++i) handles.push_back(world.open(found.entry.node));
  for (const Answer& opened : handles)
    reads.push_back(world.start_read(found.entry.node, opened.open.handle, 0, 700'000));
  world.settle();
  for (const Asked& asked : reads) CHECK(asked->data == pattern(700'000, 1));
  CHECK(world.share.bytes_read() == 700'000);
  for (const Answer& opened : handles) world.release(found.entry.node, opened.open.handle);
}

TEST_CASE("a read behind a write sees it, whatever the order of everything else") {
  const std::uint64_t seed = GENERATE(range(1, 40));
  INFO("seed " << seed);
  Random random(Seed{seed});
  World world;
  world.share.put("f", pattern(60'000, 1));
  world.age();
  std::string expected = pattern(60'000, 1);
  const Answer found = world.lookup("f");
  const Answer opened = world.open(found.entry.node, O_RDWR);
  for (int round = 0; round < 30; ++round) {
    const std::size_t offset = random.below(70'000);
    const std::string data = pattern(1 + random.below(20'000), static_cast<unsigned>(round));
    const Asked early =
        world.start_read(found.entry.node, opened.open.handle, random.below(60'000), 9'000);
    const Asked written = world.start_write(found.entry.node, opened.open.handle, offset, data);
    while (!written->done) world.step(random);
    REQUIRE(written->ok());
    if (offset > expected.size()) expected.resize(offset, '\0');
    expected.replace(offset, data.size(), data);
    const std::size_t from = random.below(expected.size());
    const Asked read = world.start_read(found.entry.node, opened.open.handle, from, 30'000);
    while (!read->done) world.step(random);
    CHECK(read->data == expected.substr(from, 30'000));
    while (!early->done) world.step(random);
    for (std::uint64_t i = random.below(20); i > 0; --i) world.step(random);
  }
  world.release(found.entry.node, opened.open.handle);
  CHECK(world.cat("f").data == expected);
  CHECK(world.share.content("f") == expected);
}

TEST_CASE("what was written stays cached when the share's stamps explain it") {
  World world;
  world.share.put("f", "old");
  world.age();
  const Answer found = world.lookup("f");
  const Answer opened = world.open(found.entry.node, O_RDWR);
  world.clock.advance(123'456'789);  // a stamp with digits below the second
  world.write(found.entry.node, opened.open.handle, 0, pattern(40'960, 3));
  world.clock.advance(kSecond);
  world.release(found.entry.node, opened.open.handle);
  CHECK(world.vfs->counters().sessions_kept.value() == 1);
  const auto before = world.data_calls();
  CHECK(world.cat("f").data == pattern(40'960, 3));
  CHECK(world.data_calls() == before);
  REQUIRE(world.store->sync());
  world.restart(World::Ending::kKill);
  CHECK(world.cat("f").data == pattern(40'960, 3));
  CHECK(world.data_calls() == before);
}

TEST_CASE("what was written stays cached where the share stamps it as it is sent, and no longer") {
  World world;
  world.share.send_late();
  world.share.put("f", "old");
  world.age();
  const Answer found = world.lookup("f");
  const Answer opened = world.open(found.entry.node, O_RDWR);
  world.clock.advance(123'456'789);
  world.write(found.entry.node, opened.open.handle, 0, pattern(40'960, 3));
  world.clock.advance(5 * kSecond);
  CHECK(world.flush(found.entry.node, opened.open.handle).ok());
  const bool behind_our_back = GENERATE(false, true);
  if (behind_our_back) {
    world.clock.advance(kSecond);
    world.share.put("f", pattern(40'960, 4));
  }
  world.clock.advance(kSecond);
  world.release(found.entry.node, opened.open.handle);
  CHECK(world.vfs->counters().sessions_kept.value() == (behind_our_back ? 0 : 1));
  CHECK(world.cat("f").data == pattern(40'960, behind_our_back ? 4 : 3));
}

TEST_CASE("a write session whose stamp is fresh is settled when that has aged") {
  World world;
  world.share.put("f", "old");
  world.age();
  const Answer found = world.lookup("f");
  const Answer opened = world.open(found.entry.node, O_RDWR);
  world.clock.advance(123'456'789);
  world.write(found.entry.node, opened.open.handle, 0, pattern(8'192, 3));
  world.release(found.entry.node, opened.open.handle);
  CHECK(world.vfs->counters().sessions_kept.value() == 0);
  world.clock.advance(20 * kMillisecond);
  world.settle();
  CHECK(world.vfs->counters().sessions_kept.value() == 1);
  const auto before = world.data_calls();
  CHECK(world.cat("f").data == pattern(8'192, 3));
  CHECK(world.data_calls() == before);
}

TEST_CASE(
    "a file that changes under a fetch is not mixed while its last writer's session settles") {
  World world;
  world.share.put("f", std::string(40'000, 'a'));
  world.age();
  Answer found;
  const Answer opened = world.find_and_open("f", found, O_RDWR);
  world.clock.advance(123'456'789);  // the stamp has digits: it is told from the next in 10 ms
  REQUIRE(world.write(found.entry.node, opened.open.handle, 0, std::string(5'000, 'b')).ok());
  world.release(found.entry.node, opened.open.handle);
  REQUIRE(world.vfs->counters().sessions_kept.value() == 0);

  const std::string later(40'000, 'c');
  world.share.during_next(SimCall::kRead, [&] {
    world.clock.advance(3 * kSecond);
    world.share.put("f", later);
  });
  const Answer read = world.cat("f");
  REQUIRE(read.ok());
  CHECK((read.data == later));
}

TEST_CASE("what somebody else wrote in a session is not covered up by it") {
  World world;
  world.share.put("f", pattern(40'960, 1));
  world.age();
  world.cat("f");
  const Answer found = world.lookup("f");
  const Answer opened = world.open(found.entry.node, O_RDWR);
  world.write(found.entry.node, opened.open.handle, 0, pattern(4'096, 2));
  world.clock.advance(kSecond);
  world.share.put("f", pattern(50'000, 7));
  world.clock.advance(kSecond);
  world.release(found.entry.node, opened.open.handle);
  CHECK(world.vfs->counters().sessions_dropped.value() == 1);
  CHECK(world.cat("f").data == pattern(50'000, 7));
}

TEST_CASE("an open sees what was closed elsewhere, also while the file is open for writing here") {
  const SimProfile profile = GENERATE(SimProfile::kNfs, SimProfile::kSshfs);
  World world({.profile = profile});
  world.share.keep_attributes_for(0);
  world.share.put("f", pattern(40'960, 1));
  world.age();
  world.cat("f");
  const Answer found = world.lookup("f");
  const Answer writer = world.open(found.entry.node, O_RDWR);
  world.share.put("f", pattern(40'960, 2));
  world.age();
  CHECK(world.cat("f").data == pattern(40'960, 2));
  CHECK(world.write(found.entry.node, writer.open.handle, 0, "mine").ok());
  world.age();
  CHECK(world.cat("f").data == "mine" + pattern(40'960, 2).substr(4));
  world.release(found.entry.node, writer.open.handle);
  CHECK(world.cat("f").data == "mine" + pattern(40'960, 2).substr(4));
}

TEST_CASE("a kill inside a write session leaves nothing of it") {
  World world({.profile = SimProfile::kSshfs});
  world.share.keep_attributes_for(0);
  world.share.put("f", pattern(40'960, 1));
  world.age();
  const auto stamp = world.share.attributes("f").mtime_ns;
  world.cat("f");
  REQUIRE(world.store->sync());
  const Answer found = world.lookup("f");
  const Answer opened = world.open(found.entry.node, O_RDWR);
  world.write(found.entry.node, opened.open.handle, 0, pattern(40'960, 2));
  world.share.set_mtime("f", stamp);  // as a copying program does: nothing shows the change
  REQUIRE(world.store->sync());
  const SimImage killed = world.engine->image();
  world.release(found.entry.node, opened.open.handle);
  world.restart(World::Ending::kUnmount);
  CHECK(world.cat("f").data == pattern(40'960, 2));
}

TEST_CASE("truncating shows at once and zeros come back where it grows") {
  World world;
  world.share.put("f", pattern(20'000, 1));
  world.age();
  world.cat("f");
  const Answer found = world.lookup("f");
  CHECK(world.truncate(found.entry.node, 5'000).ok());
  CHECK(world.cat("f").data == pattern(20'000, 1).substr(0, 5'000));
  CHECK(world.truncate(found.entry.node, 12'000).ok());
  CHECK(world.cat("f").data == pattern(20'000, 1).substr(0, 5'000) + std::string(7'000, '\0'));
}

TEST_CASE("the share's errors reach the reader and the writer, and are not kept") {
  World world;
  world.share.put("f", pattern(10'000, 1));
  world.age();
  world.share.fail_next(SimCall::kRead, EIO);
  const Answer failed = world.cat("f");
  REQUIRE(failed.error);
  CHECK(failed.error->sys_errno == EIO);
  CHECK(world.cat("f").data == pattern(10'000, 1));
  const Answer found = world.lookup("f");
  const Answer opened = world.open(found.entry.node, O_RDWR);
  world.share.fail_next(SimCall::kWrite, ENOSPC);
  const Answer write = world.write(found.entry.node, opened.open.handle, 0, "x");
  REQUIRE(write.error);
  CHECK(write.error->sys_errno == ENOSPC);
  world.share.fail_next(SimCall::kFlush, EDQUOT);
  const Answer flush = world.run([&](Reply r) {
    world.vfs->flush(found.entry.node, opened.open.handle, LockOwner{1}, std::move(r));
  });
  REQUIRE(flush.error);
  CHECK(flush.error->sys_errno == EDQUOT);
  world.release(found.entry.node, opened.open.handle);
  CHECK(world.cat("f").data == pattern(10'000, 1));
}

TEST_CASE("a broken share that answers short is never believed") {
  World world;
  world.share.put("f", pattern(100'000, 1));
  world.age();
  world.share.cut_next_reads(1);
  CHECK(world.cat("f").data == pattern(100'000, 1));
}

TEST_CASE("a read that falls short is not believed of a file that is being written either") {
  World world;
  world.share.put("f", pattern(100'000, 1));
  world.age();
  const Answer found = world.lookup("f");
  const Answer opened = world.open(found.entry.node, O_RDWR);
  world.write(found.entry.node, opened.open.handle, 90'000, "written");
  world.share.cut_next_reads(1);
  CHECK(world.cat("f").data == world.share.content("f"));
  world.release(found.entry.node, opened.open.handle);
}

TEST_CASE("a file that ends sooner than was thought is read to its end, and no further") {
  World world;
  world.share.put("f", std::string(3 * kPageSize, 'a'));
  world.age();
  Answer found;
  const Answer opened = world.find_and_open("f", found, O_RDWR);
  REQUIRE(opened.ok());
  world.share.put("f", "short");
  CHECK(world.read(found.entry.node, opened.open.handle, 0, 3 * kPageSize).data == "short");
  CHECK(world.read(found.entry.node, opened.open.handle, kPageSize, kPageSize).data.empty());
  world.release(found.entry.node, opened.open.handle);
}

TEST_CASE("a share that is away is not empty, and what is known is served") {
  World world;
  world.share.put("f", pattern(10'000, 1));
  world.share.put("g", "never read");
  world.age();
  world.cat("f");
  world.lookup("g");
  world.share.go_away();
  world.age();
  CHECK(world.cat("f").data == pattern(10'000, 1));
  CHECK(world.lookup("g").ok());
  const Answer unread = world.cat("g");
  REQUIRE(unread.error);
  CHECK(unread.error->code == ErrorCode::kShareAway);
  const Answer unknown = world.lookup("h");
  REQUIRE(unknown.error);
  CHECK(unknown.error->code == ErrorCode::kShareAway);
  CHECK(world.list().error);
  world.share.come_back();
  world.age();
  CHECK(world.cat("g").data == "never read");
  CHECK(world.list().names.size() == 4);
}

TEST_CASE("ttl asks nothing again within its time, and close-to-open asks at each open") {
  World cto;
  cto.share.put("f", "text");
  cto.age();
  cto.cat("f");
  const auto asked = cto.share.calls(SimCall::kOpen);
  cto.cat("f");
  CHECK(cto.share.calls(SimCall::kOpen) == asked + 1);

  Settings settings;
  settings.coherency = Coherency::kTtl;
  settings.ttl_ns = 60 * kSecond;
  World ttl({.settings = settings});
  ttl.share.put("f", "text");
  ttl.age();
  ttl.cat("f");
  const auto calls = ttl.share.calls();
  CHECK(ttl.cat("f").data == "text");
  CHECK(ttl.share.calls() == calls);
  ttl.clock.advance(61 * kSecond);
  CHECK(ttl.cat("f").data == "text");
  CHECK(ttl.share.calls() > calls);
}

TEST_CASE("ttl asks for a listing once, and again behind a change of our own") {
  Settings settings;
  settings.coherency = Coherency::kTtl;
  settings.ttl_ns = 60 * kSecond;
  World world({.settings = settings});
  world.share.put("f", "text");
  CHECK(world.list().names.size() == 3);
  const auto lists = world.share.calls(SimCall::kList);
  CHECK(world.list().names.size() == 3);
  CHECK(world.share.calls(SimCall::kList) == lists);
  CHECK(world.create("g").ok());
  CHECK(world.list().names.size() == 4);
  world.share.put("h", "text");
  world.clock.advance(61 * kSecond);
  CHECK(world.list().names.size() == 5);
}

TEST_CASE("a rename keeps what is cached") {
  const SimProfile profile = GENERATE(SimProfile::kNfs, SimProfile::kSshfs);
  World world({.profile = profile});
  world.share.put("a", pattern(50'000, 1));
  world.age();
  world.cat("a");
  const auto before = world.data_calls();
  CHECK(
      world
          .run([&](Reply r) { world.vfs->rename(kRootNode, "a", kRootNode, "b", 0, std::move(r)); })
          .ok());
  world.age();
  CHECK(world.cat("b").data == pattern(50'000, 1));
  CHECK(world.data_calls() == before);
  REQUIRE(world.store->sync());
  world.restart(World::Ending::kKill);
  world.share.remount();
  CHECK(world.cat("b").data == pattern(50'000, 1));
  CHECK(world.data_calls() == before);
  CHECK_FALSE(world.lookup("a").ok());
}

TEST_CASE("appending where somebody else appended too shows the share's bytes") {
  World world;
  world.share.put("log", "one\n");
  world.age();
  const Answer found = world.lookup("log");
  const Answer opened = world.open(found.entry.node, O_WRONLY | O_APPEND);
  world.share.put("log", "one\nother\n");
  CHECK(world.write(found.entry.node, opened.open.handle, 4, "mine\n").ok());
  CHECK(world.kernel.drops > 0);
  world.clock.advance(kSecond);
  world.release(found.entry.node, opened.open.handle);
  CHECK(world.share.content("log") == "one\nother\nmine\n");
  CHECK(world.cat("log").data == "one\nother\nmine\n");
}

TEST_CASE("pages that the kernel kept go to their place, also through a handle that appends") {
  World world;
  world.share.put("f", "what is there");
  world.age();
  Answer found;
  const Answer opened = world.find_and_open("f", found, O_RDWR | O_APPEND);
  const std::string page = "WHAT";
  const Answer written = world.run([&](Reply r) {
    world.vfs->write(found.entry.node, opened.open.handle, ByteOffset{0},
                     std::as_bytes(std::span(page)), WrittenBy::kKernel, std::move(r));
  });
  REQUIRE(written.ok());
  CHECK(world.share.content("f") == "WHAT is there");
  CHECK(world.stat(found.entry.node).attributes.size == 13);
  REQUIRE(world.write(found.entry.node, opened.open.handle, 0, " too").ok());
  CHECK(world.share.content("f") == "WHAT is there too");
  world.release(found.entry.node, opened.open.handle);
  CHECK(world.cat("f").data == "WHAT is there too");
}

TEST_CASE("a write that outlives the mount keeps its memory") {
  World world;
  world.share.put("f", pattern(10'000, 1));
  const Answer found = world.lookup("f");
  const Answer opened = world.open(found.entry.node, O_RDWR);
  bool answered = false, recycled = true;
  Asked written;
  const std::string data = "payload";
  world.share.during_next(SimCall::kWrite, [&] {
    world.calls->drain();
    world.answer.run_all();
    answered = written->done;
    recycled = written->recycled;
  });
  written = world.start_write(found.entry.node, opened.open.handle, 0, data);
  world.settle();
  CHECK(answered);
  CHECK_FALSE(recycled);
  REQUIRE(written->error);
  CHECK(written->error->code == ErrorCode::kShutdown);
}

TEST_CASE("a number that comes back as another type is another inode, and both live") {
  World world;
  world.share.put("f", "text");
  const Answer file = world.lookup("f");
  const Answer opened = world.open(file.entry.node);
  const auto number = world.share.attributes("f").inode;
  world.share.erase("f");
  world.share.make_dir("f");
  world.share.set_inode("f", number);
  world.age();
  const Answer directory = world.lookup("f");
  REQUIRE(directory.ok());
  CHECK(directory.entry.inode == file.entry.inode);
  CHECK(directory.entry.node != file.entry.node);
  CHECK(world.lookup("f").entry.node == directory.entry.node);
  world.release(file.entry.node, opened.open.handle);
}
