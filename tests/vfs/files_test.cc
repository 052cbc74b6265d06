// SPDX-License-Identifier: Apache-2.0
// Files that are read by several, held open for long, or have no name.
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/random.h"
#include "support/catch.h"
#include "vfs/world.h"

using namespace larder;
using namespace larder::test;

namespace {

constexpr std::uint64_t kPart = 8 << 20;

// Each reads a part of its own in order, in turn with the others. How often the share is read.
std::uint64_t share_reads_of(unsigned readers) {
  constexpr std::uint64_t kStep = 64 << 10;
  World world;
  world.share.put("f", pattern(4 * kPart, 1));
  world.age();
  const NodeId node = world.lookup("f").entry.node;
  std::vector<HandleId> handles;
  for (unsigned i = 0; i < readers; ++i) handles.push_back(world.open(node).open.handle);
  for (std::uint64_t at = 0; at < kPart; at += kStep) {
    for (unsigned i = 0; i < readers; ++i) {
      const Answer read = world.read(node, handles[i], i * kPart + at, kStep);
      REQUIRE(read.data.size() == kStep);
    }
  }
  for (const HandleId handle : handles) world.release(node, handle);
  return world.share.calls(SimCall::kRead);
}

}  // namespace

TEST_CASE("readers of one file do not break each other's rhythm") {
  const auto alone = share_reads_of(1);
  CHECK(alone <= 4 * (kPart >> 20));
  CHECK(share_reads_of(4) <= 4 * alone + 4);
}

TEST_CASE("files that are held open for long keep all their bytes where the store has no room") {
  constexpr std::uint64_t kSize = 4 << 20;
  constexpr unsigned kFiles = 6;
  const std::uint64_t seed = GENERATE(range(1, 5));
  INFO("seed " << seed);
  World world({.store_size = ByteCount{16u << 20}});
  Random random{Seed{seed}};
  struct File {
    NodeId node;
    HandleId handle;
    std::string held;
  };
  std::vector<File> files;
  for (unsigned i = 0; i < kFiles; ++i) {
    const std::string name = "f" + std::to_string(i);
    world.share.put(name, pattern(kSize, i));
    world.age();
    Answer found;
    const Answer opened = world.find_and_open(name, found, O_RDWR);
    REQUIRE(opened.ok());
    files.push_back({found.entry.node, opened.open.handle, world.share.content(name)});
  }
  for (unsigned n = 0; n < 400; ++n) {
    File& file = files[random.below(kFiles)];
    const std::uint64_t at = random.below(kSize - 70'000), size = 1 + random.below(70'000);
    if (random.one_in(4)) {
      const std::string data = pattern(size, n);
      REQUIRE(world.write(file.node, file.handle, at, data).ok());
      file.held.replace(at, size, data);
    } else {
      const Answer read = world.read(file.node, file.handle, at, size);
      REQUIRE(read.ok());
      REQUIRE((read.data == file.held.substr(at, size)));
    }
  }
  for (unsigned i = 0; i < kFiles; ++i) {
    for (std::uint64_t at = 0; at < kSize; at += 1 << 20) {
      const Answer read = world.read(files[i].node, files[i].handle, at, 1 << 20);
      REQUIRE((read.data == files[i].held.substr(at, 1 << 20)));
    }
    world.release(files[i].node, files[i].handle);
    const std::string name = "f" + std::to_string(i);
    REQUIRE((world.share.content(name) == files[i].held));
    REQUIRE((world.cat(name).data == files[i].held.substr(0, 1 << 20)));
  }
}

TEST_CASE(
    "what was removed and never opened on the share is shown as it was, without attributes of its "
    "own") {
  World world;
  const Answer made = world.run([&](Reply r) {
    world.vfs->make_node(kRootNode, "fifo", S_IFIFO | 0644, 0, {}, std::move(r));
  });
  const NodeId node = made.entry.node;
  REQUIRE(
      world.run([&](Reply r) { world.vfs->remove_file(kRootNode, "fifo", std::move(r)); }).ok());
  world.age();
  const Answer shown = world.stat(node);
  CHECK((shown.ok() && shown.attributes.nlink == 0));
  const std::byte value{'v'};
  const Answer set = world.run([&](Reply r) {
    world.vfs->set_xattr(node, "trusted.t", std::span(&value, 1), 0, std::move(r));
  });
  const Answer got =
      world.run([&](Reply r) { world.vfs->get_xattr(node, "trusted.t", 100, std::move(r)); });
  CHECK(set.error->sys_errno == EOPNOTSUPP);
  CHECK(got.error->sys_errno == EOPNOTSUPP);
}

TEST_CASE("a file without a name is written and read, and found by the name that it is given") {
  for (const SimProfile profile : {SimProfile::kNfs, SimProfile::kSmb}) {
    INFO(to_text(profile));
    World world({.profile = profile});
    const auto create_unnamed = [&] {
      return world.run([&](Reply r) {
        world.vfs->create_unnamed(kRootNode, O_RDWR | O_TMPFILE, 0640, {}, std::move(r));
      });
    };
    const Answer lost = create_unnamed(), kept = create_unnamed();
    REQUIRE(lost.ok());
    REQUIRE(kept.ok());
    CHECK(kept.entry.attributes.mode == (S_IFREG | 0640u));
    CHECK(kept.entry.attributes.nlink == 0);
    CHECK(kept.entry.node != lost.entry.node);
    for (const Answer* one : {&lost, &kept}) {
      REQUIRE(world.write(one->entry.node, one->open.handle, 0, "what is written").ok());
      CHECK(world.read(one->entry.node, one->open.handle, 5, 100).data == "is written");
      CHECK(world.stat(one->entry.node).attributes.size == 15);
    }
    CHECK(world.list().names.size() == 2);  // "." and ".."
    const Answer again = world.open(kept.entry.node);
    REQUIRE(again.ok());
    CHECK(world.read(kept.entry.node, again.open.handle, 0, 100).data == "what is written");
    world.release(kept.entry.node, again.open.handle);
    const Answer linked = world.run(
        [&](Reply r) { world.vfs->make_link(kept.entry.node, kRootNode, "name", std::move(r)); });
    REQUIRE(linked.ok());
    CHECK(linked.entry.node == kept.entry.node);
    CHECK(linked.entry.attributes.nlink == 1);
    world.release(lost.entry.node, lost.open.handle);
    world.release(kept.entry.node, kept.open.handle);
    CHECK(world.share.content("name") == "what is written");
    CHECK(world.cat("name").data == "what is written");
    CHECK(world.list().names == std::vector<std::string>{".", "..", "name"});
  }
  World world({.profile = SimProfile::kSshfs});
  const Answer refused = world.run([&](Reply r) {
    world.vfs->create_unnamed(kRootNode, O_RDWR | O_TMPFILE, 0640, {}, std::move(r));
  });
  REQUIRE(refused.error);
  CHECK(refused.error->sys_errno == EOPNOTSUPP);
}
