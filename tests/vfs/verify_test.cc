// SPDX-License-Identifier: Apache-2.0
// verify: a cache that lies is found out, and nobody is lied to.
#include <sys/xattr.h>

#include "support/catch.h"
#include "vfs/world.h"

using namespace larder;
using namespace larder::test;

namespace {

struct Verifying {
  World world;
  Verifying() : world({.settings = settings(), .verify = true}) {}
  static Settings settings() {
    Settings settings;
    settings.coherency = Coherency::kTtl;
    settings.ttl_ns = settings.negative_ttl_ns = 60 * kSecond;
    return settings;
  }
  std::uint64_t lies() { return world.vfs->counters().stale_answers.value(); }
};

}  // namespace

TEST_CASE("verify finds content that changed and shows it nowhere") {
  Verifying run;
  const std::string old_bytes(3 * kPageSize, 'a');
  std::string new_bytes = old_bytes;
  new_bytes[kPageSize + 5] = 'b';
  run.world.share.put("f", old_bytes);
  run.world.age();
  CHECK((run.world.cat("f").data == old_bytes));
  CHECK((run.world.cat("f").data == old_bytes));
  CHECK(run.lies() == 0);
  run.world.share.put_quietly("f", new_bytes);
  CHECK((run.world.cat("f").data == new_bytes));
  CHECK(run.lies() == 1);
  CHECK((run.world.cat("f").data == new_bytes));
  CHECK(run.lies() == 1);
}

TEST_CASE("without verify the same is served as it was kept") {
  World world({.settings = Verifying::settings()});
  world.share.put("f", "old");
  world.age();
  CHECK(world.cat("f").data == "old");
  world.share.put_quietly("f", "new");
  CHECK(world.cat("f").data == "old");
  CHECK(world.vfs->counters().stale_answers.value() == 0);
}

TEST_CASE("verify finds names, attributes, links, listings and absent names that changed") {
  Verifying run;
  World& world = run.world;
  world.share.put("f", "text");
  world.share.make_link_to("link", "here");
  world.age();
  const NodeId file = world.lookup("f").entry.node;
  const NodeId link = world.lookup("link").entry.node;
  const auto target = [&] {
    return world.run([&](Reply r) { world.vfs->read_link(link, std::move(r)); }).data;
  };
  REQUIRE(world.lookup("absent").error->sys_errno == ENOENT);
  REQUIRE(world.list().ok());
  REQUIRE(target() == "here");
  CHECK(run.lies() == 0);
  SECTION("attributes") {
    world.share.put("f", "longer");
    CHECK(world.stat(file).attributes.size == 6);
    CHECK(run.lies() == 1);
  }
  SECTION("a name that is another file's") {
    world.share.replace("f", "another");
    CHECK(world.lookup("f").entry.node != file);
    CHECK(run.lies() == 1);
  }
  SECTION("a name that is gone") {
    world.share.erase("f");
    CHECK(world.lookup("f").error->sys_errno == ENOENT);
    CHECK(run.lies() == 1);
  }
  SECTION("an absent name, and the listing") {
    world.share.put("absent", "");
    CHECK(world.lookup("absent").ok());
    CHECK(run.lies() == 1);
    CHECK(world.list().names.size() == 5);
    CHECK(run.lies() >= 2);
  }
  SECTION("a link's target") {
    world.share.erase("link");
    world.share.make_link_to("link", "elsewhere");
    CHECK(target() == "elsewhere");
    CHECK(run.lies() == 1);
  }
}

TEST_CASE("verify finds nothing where only we change anything") {
  Verifying run;
  World& world = run.world;
  const Answer made = world.create("f");
  const std::string bytes(3 * kPageSize + 100, 'a');
  for (int i = 0; i < 4; ++i) {
    const Asked written = world.start_write(made.entry.node, made.open.handle,
                                            static_cast<std::uint64_t>(i) * 5000, bytes);
    const Asked read = world.start_read(made.entry.node, made.open.handle, 0, 1 << 20);
    world.settle();
    REQUIRE(written->ok());
    REQUIRE(read->ok());
    CHECK(world.stat(made.entry.node).ok());
    CHECK((world.cat("f").data == world.share.content("f")));
  }
  world.truncate(made.entry.node, 7000);
  CHECK((world.cat("f").data == world.share.content("f")));
  world.release(made.entry.node, made.open.handle);
  world.age();
  CHECK((world.cat("f").data == world.share.content("f")));
  CHECK((world.cat("f").data == world.share.content("f")));
  CHECK(world.list().ok());
  CHECK(run.lies() == 0);
}
