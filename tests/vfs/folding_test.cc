// SPDX-License-Identifier: Apache-2.0
// Shares that fold case: a name is one, however it is spelled, in each of larder's tables.
#include <fcntl.h>
#include <stdio.h>

#include <algorithm>

#include "support/catch.h"
#include "vfs/name_keys.h"
#include "vfs/world.h"

using namespace larder;
using namespace larder::test;

namespace {

struct Folding {
  World world{{.profile = SimProfile::kSmb, .settings = trusting_for_a_minute()}};

  bool is_absent(const std::string& name) {
    const Answer answer = world.lookup(name);
    return answer.error && answer.error->sys_errno == ENOENT;
  }
  Answer remove(const std::string& name) {
    return world.run([&](Reply r) { world.vfs->remove_file(kRootNode, name, std::move(r)); });
  }
  Answer rename(const std::string& from, const std::string& to, unsigned flags = 0) {
    return world.run(
        [&](Reply r) { world.vfs->rename(kRootNode, from, kRootNode, to, flags, std::move(r)); });
  }
  bool was_taken_back(const std::string& spelling) {
    const auto& told = world.kernel.asked_to_drop;
    return std::ranges::any_of(told, [&](const auto& one) { return one.second == spelling; });
  }
};

}  // namespace

TEST_CASE("keys fold ASCII letters where the share folds case, and nothing anywhere else") {
  const NameKeys folds(NameKeys::Case::kFolds), tells(NameKeys::Case::kTells);
  CHECK(folds.key("ReadMe.TXT") == "readme.txt");
  CHECK(folds.key("readme") == "readme");
  CHECK(folds.key("\xC3\x89T\xC3\x89") == "\xC3\x89t\xC3\x89");
  CHECK(folds.same("ReadMe", "rEADmE"));
  CHECK_FALSE(folds.same("ReadMe", "ReadMes"));
  CHECK_FALSE(folds.same("[", "{"));
  CHECK(folds.is_sure("ReadMe"));
  CHECK_FALSE(folds.is_sure("\xC3\x89T\xC3\x89"));
  CHECK(tells.key("ReadMe") == "ReadMe");
  CHECK_FALSE(tells.same("ReadMe", "README"));
  CHECK(tells.is_sure("\xC3\x89T\xC3\x89"));
}

TEST_CASE("on a share that folds case each spelling is one file, asked for once") {
  Folding run;
  run.world.share.put("File", "text");
  run.world.age();
  const Answer first = run.world.lookup("File");
  const auto before = run.world.share.calls();
  const Answer other = run.world.lookup("fILE");
  CHECK(other.entry.node == first.entry.node);
  CHECK(run.world.share.calls() == before);
  // The kernel may trust one spelling: then there is one to take back.
  CHECK(first.entry.entry_ttl_ns > 0);
  CHECK(other.entry.entry_ttl_ns == 0);
  // When its time is over, another may take its place.
  run.world.clock.advance(61 * kSecond);
  CHECK(run.world.lookup("fILE").entry.entry_ttl_ns > 0);
  CHECK(run.world.lookup("File").entry.entry_ttl_ns == 0);
}

TEST_CASE("what is removed by one spelling is gone by all, and the kernel is told of its own") {
  Folding run;
  run.world.share.put("file", "text");
  run.world.age();
  REQUIRE(run.world.lookup("file").ok());
  REQUIRE(run.remove("File").ok());
  CHECK(run.is_absent("file"));
  CHECK(run.is_absent("FILE"));
  CHECK(run.was_taken_back("file"));
}

TEST_CASE("a rename by other spellings moves the one name there is") {
  Folding run;
  run.world.share.put("from", "text");
  run.world.share.put("to", "replaced");
  run.world.age();
  const NodeId node = run.world.lookup("from").entry.node;
  REQUIRE(run.world.lookup("to").ok());
  SECTION("replacing") {
    REQUIRE(run.rename("FROM", "TO").ok());
    CHECK(run.is_absent("from"));
    CHECK(run.world.lookup("to").entry.node == node);
    CHECK(run.world.cat("To").data == "text");
  }
  SECTION("changing places") {
    REQUIRE(run.rename("FROM", "TO", RENAME_EXCHANGE).ok());
    CHECK(run.world.lookup("To").entry.node == node);
    CHECK(run.world.cat("fROM").data == "replaced");
  }
  CHECK(run.was_taken_back("from"));
  CHECK(run.was_taken_back("to"));
}

TEST_CASE("a rename that changes the case of a name alone keeps the file") {
  Folding run;
  run.world.share.put("name", "text");
  run.world.age();
  const NodeId node = run.world.lookup("name").entry.node;
  REQUIRE(run.rename("name", "Name").ok());
  CHECK(run.world.lookup("NAME").entry.node == node);
  CHECK(run.world.cat("name").data == "text");
  CHECK(run.world.list().names.back() == "Name");
}

TEST_CASE("no absent name is kept where another spelling of it may come to be") {
  Folding run;
  CHECK(run.is_absent("new"));
  run.world.share.put("NEW", "text");
  CHECK(run.world.cat("new").data == "text");
  CHECK(run.is_absent("other"));
  REQUIRE(run.world.create("Other").ok());
  CHECK(run.world.lookup("other").ok());
}

TEST_CASE("a listing shows the share's spelling, whatever was looked up before") {
  Folding run;
  for (const char* name : {"One", "Two", "Three"}) run.world.share.put(name, "text");
  run.world.age();
  REQUIRE(run.world.lookup("oNE").ok());
  const Answer opened =
      run.world.run([&](Reply r) { run.world.vfs->open_directory(kRootNode, std::move(r)); });
  const Answer all = run.world.run([&](Reply r) {
    run.world.vfs->read_directory_plus(kRootNode, opened.open.handle, 0, 1 << 20, std::move(r));
  });
  run.world.run([&](Reply r) {
    run.world.vfs->release_directory(kRootNode, opened.open.handle, std::move(r));
  });
  REQUIRE(all.names.size() == 5);
  for (std::size_t i = 2; i < all.names.size(); ++i) {
    INFO(all.names[i]);
    CHECK(run.world.share.exists(all.names[i]));
    CHECK(all.entries[i].attributes.size == 4);
    CHECK((all.entries[i].entry_ttl_ns > 0) == (all.names[i] != "One"));
  }
  std::vector<std::string> names(all.names.begin() + 2, all.names.end());
  std::ranges::sort(names);
  CHECK(names == std::vector<std::string>{"One", "Three", "Two"});
}

TEST_CASE("names with letters beyond ASCII are asked for each time on a share that folds case") {
  Folding run;
  run.world.share.put("\xC3\x89t\xC3\xA9", "text");
  run.world.age();
  CHECK(run.world.lookup("\xC3\x89t\xC3\xA9").entry.entry_ttl_ns == 0);
  const auto before = run.world.share.calls();
  CHECK(run.world.lookup("\xC3\x89t\xC3\xA9").ok());
  CHECK(run.world.share.calls() == before + 1);
}
