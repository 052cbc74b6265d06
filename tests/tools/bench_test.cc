// SPDX-License-Identifier: Apache-2.0
// What larder-bench makes of its measurements, and that its janitor leaves nothing behind.
#include "support/catch.h"

#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <string>

#include "bench/janitor.h"
#include "bench/readers.h"
#include "bench/rows.h"
#include "bench/statistics.h"

using namespace larder;
using namespace larder::bench;

namespace {

class Directory {
 public:
  Directory() {
    path_ = (std::filesystem::temp_directory_path() / "larder-bench-test.XXXXXX").string();
    REQUIRE(::mkdtemp(path_.data()) != nullptr);
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }
  bool empty() const { return std::filesystem::is_empty(path_); }

 private:
  std::string path_;
};

}  // namespace

TEST_CASE("the median of rounds counts, with the least and the most") {
  const Spread odd = spread_of({3, 1, 100});
  CHECK(odd.median == 3);
  CHECK(odd.least == 1);
  CHECK(odd.most == 100);
  CHECK(spread_of({4, 2}).median == 3);
  CHECK(spread_of({7}).median == 7);
}

TEST_CASE("the sides are measured in turn and compared round by round") {
  std::string order;
  const auto rates = compare(
      3,
      [&](unsigned round) -> SetUp<double> {
        order += 'A';
        return 10.0 * (round + 1);
      },
      [&](unsigned round) -> SetUp<double> {
        order += 'B';
        return round == 2 ? 10.0 : 20.0;
      });
  REQUIRE(rates.has_value());
  CHECK(order == "ABABAB");
  CHECK(rates->ratio.median == 1.0);
  CHECK(rates->ratio.least == 0.5);
  CHECK(rates->ratio.most == 3.0);
}

TEST_CASE("a round that fails or measures nothing ends the comparison") {
  const Measure good = [](unsigned) -> SetUp<double> { return 1.0; };
  const Measure bad = [](unsigned) -> SetUp<double> { return complain(ErrorCode::kInvalid, "x"); };
  const Measure none = [](unsigned) -> SetUp<double> { return 0.0; };
  CHECK_FALSE(compare(1, good, bad).has_value());
  CHECK_FALSE(compare(1, bad, good).has_value());
  CHECK_FALSE(compare(1, none, good).has_value());
}

TEST_CASE("a mark says whether it holds") {
  CHECK(Mark{"a", 0.9, Mark::Bound::kAtLeast, 0.9}.line() == "mark a 0.90 >= 0.90 ok");
  CHECK(Mark{"a", 0.5, Mark::Bound::kAtLeast, 0.9}.line() == "mark a 0.50 >= 0.90 short");
  CHECK(Mark{"b", 1.2, Mark::Bound::kAtMost, 1.1}.line() == "mark b 1.20 <= 1.10 short");
  CHECK(Mark{"b", 0, Mark::Bound::kAtMost, 0}.line() == "mark b 0.00 <= 0.00 ok");
}

TEST_CASE("what larder does not count is a complaint, not a zero") {
  const auto all = ctl::Figures::parse(
      R"({"vfs.reads": 5, "vfs.parked": 1, "netfs.data_calls": 2, "netfs.bytes_read": 3})");
  const auto some = ctl::Figures::parse(R"({"vfs.reads": 5, "vfs.parked": 1})");
  REQUIRE(all.has_value());
  REQUIRE(some.has_value());
  CHECK(work_between(*all, *all).has_value());
  CHECK_FALSE(work_between(*some, *some).has_value());
}

TEST_CASE("readers read all, and differences are found") {
  const Directory directory;
  const std::string a = directory.path() + "/a", b = directory.path() + "/b";
  REQUIRE(write_noise(a, ByteCount{100'000}, 1).has_value());
  REQUIRE(write_noise(b, ByteCount{100'000}, 1).has_value());
  CHECK(compare_files(a, b).has_value());
  const auto file = OpenFile::open(a, 2);
  REQUIRE(file.has_value());
  CHECK(file->size() == 100'000);
  CHECK(read_sequential(*file, 1 << 20, 0).value() > 0);
  CHECK(read_random(*file, {.block = 4096, .seconds = 0, .seed = 1}).value() > 0);
  CHECK_FALSE(read_random(*file, {.block = 200'000, .seconds = 0, .seed = 1}).has_value());
  CHECK_FALSE(OpenFile::open(a + "x").has_value());
  std::fstream(b, std::ios::in | std::ios::out).seekp(99'999).put('\0').put('\0');
  CHECK_FALSE(compare_files(a, b).has_value());
}

TEST_CASE("the janitor leaves nothing of work that is done, failed or killed") {
  const Directory base;
  std::string used;
  const auto start_orphan = [](const std::string& directory) {
    std::ofstream(directory + "/file") << "x";
    // Spawned, not forked: it is `sleep` by the time that the janitor ends it. Told to end any
    // sooner it would be this test, with Catch2's handler, which writes a report of its own.
    std::array<char*, 3> words{const_cast<char*>("sleep"), const_cast<char*>("1000"), nullptr};
    ::posix_spawnp(nullptr, words[0], nullptr, nullptr, words.data(), environ);
  };
  CHECK(with_janitor(base.path(), [](const std::string&) { return 0; }) == 0);
  CHECK(with_janitor(base.path(), [](const std::string&) { return 7; }) == 7);
  CHECK(base.empty());
  CHECK(with_janitor(base.path(), [&](const std::string& directory) {
          start_orphan(directory);
          ::raise(SIGKILL);
          return 0;
        }) == 128 + SIGKILL);
  CHECK(base.empty());
  CHECK(with_janitor(base.path() + "/none", [](const std::string&) { return 0; }) == 1);
}
