// SPDX-License-Identifier: Apache-2.0
// What larderctl shows of a store that is not mounted: its map, and exit codes as fsck(8) has them.
#include <larder/device.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <fstream>

#include "ctl/progress.h"
#include "ctl/store_commands.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::ctl;
using store::Region;
using store::Use;

namespace {

const std::vector<Region> kRegions{
    {ByteOffset{0}, ByteCount{64 << 10}, Use::kSuperblock},
    {ByteOffset{64 << 10}, ByteCount{64 << 10}, Use::kJournal},
    {ByteOffset{128 << 10}, ByteCount{128 << 10}, Use::kCheckpoint},
    {ByteOffset{256 << 10}, ByteCount{256 << 10}, Use::kUsed},
    {ByteOffset{512 << 10}, ByteCount{128 << 10}, Use::kHot},
    {ByteOffset{640 << 10}, ByteCount{64 << 10}, Use::kQuarantined},
    {ByteOffset{704 << 10}, ByteCount{320 << 10}, Use::kFree},
};

class Directory {
 public:
  Directory() {
    std::string path = (std::filesystem::temp_directory_path() / "larder-fsck.XXXXXX").string();
    REQUIRE(::mkdtemp(path.data()) != nullptr);
    path_ = path;
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  std::string path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

int run(std::vector<std::string> words) {
  CLI::App app;
  std::function<int()> chosen;
  add_store_commands(app, chosen);
  std::reverse(words.begin(), words.end());
  app.parse(words);
  REQUIRE(chosen);
  return chosen();
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++found;
  return found;
}

}  // namespace

TEST_CASE("the map shows each part of the file in its place and by its size") {
  const std::string text = map_text(kRegions, 16, 1);
  INFO(text);
  CHECK(text.find("SJCCuuuuHHQ.....\n") != text.npos);
  CHECK(text.find("one letter is 64.0 KiB") != text.npos);
  for (const char* line : {"quarantined  64.0 KiB", "hot          128.0 KiB"})
    CHECK(text.find(line) != text.npos);
}

TEST_CASE("the map is a picture of its own, with each kind in its legend") {
  const std::string svg = map_svg(kRegions, "/store <of> a & b");
  CHECK(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
  CHECK(svg.ends_with("</svg>\n"));
  CHECK(svg.find("/store &lt;of> a &amp; b") != svg.npos);
  for (const Region& region : kRegions)
    CHECK(count(svg, ">" + std::string(to_text(region.use)) + " ") == 1);
}

TEST_CASE("a quarantined extent marks its cell, however small it is") {
  std::vector<Region> regions = kRegions;
  regions.back() = {ByteOffset{704 << 10}, ByteCount{1 << 30}, Use::kFree};
  CHECK(map_text(regions, 8, 1).find("Q.......\n") != std::string::npos);
  CHECK(map_text({}, 8, 1).find("........") != std::string::npos);
}

TEST_CASE("fsck's exit codes are those of fsck(8)") {
  const Directory directory;
  const std::string path = directory.path("store");
  CHECK(run({"fsck", "--quiet", path}) == kNotChecked);
  CHECK_FALSE(std::filesystem::exists(path));
  std::ofstream(path) << "somebody's letters";
  CHECK(run({"fsck", "--quiet", path}) == kNotChecked);
  CHECK(run({"fsck", "--quiet", "--repair", path}) == kNotChecked);
  CHECK(std::filesystem::file_size(path) == 18);
  CHECK(run({"store", "map", path}) == 1);
  CHECK(run({"store", "dump", path}) == 1);
}

TEST_CASE("a progress bar is full at the end") {
  CHECK(ProgressBar::text("checking", 0).find("[........................................]   0 %") !=
        std::string::npos);
  CHECK(
      ProgressBar::text("checking", 100).find("[########################################] 100 %") !=
      std::string::npos);
}
