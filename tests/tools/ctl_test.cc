// SPDX-License-Identifier: Apache-2.0
// What larderctl shows: the page of `status`, made from figures, and complaints about what is no
// mount.
#include "support/catch.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "ctl/control.h"
#include "ctl/figures.h"
#include "ctl/status.h"
#include "ctl/top.h"

using namespace larder;
using namespace larder::ctl;

namespace {

Figures figures(const std::string& text) {
  auto read = Figures::parse(text);
  REQUIRE(read.has_value());
  return *read;
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != text.npos; }

constexpr const char* kFull = R"({
  "version": "0.1.0", "uptime_s": 3725, "transport": "classic", "engine": "io_uring",
  "share": {"path": "/mnt/share", "identity": "nfs4 nas:/x", "state": "slow", "netfs": "posix"},
  "store": {"path": "/var/cache/x", "state": "open", "uuid": "u"},
  "vfs.warm_reads": {"value": 75, "unit": "count"}, "vfs.cold_reads": {"value": 25},
  "vfs.warm_bytes": {"value": 3145728}, "vfs.cold_bytes": {"value": 1048576},
  "store.used_bytes": {"value": 1073741824}, "store.capacity_bytes": {"value": 10737418240},
  "netfs.calls": {"value": 1234}, "netfs.deadlines": {"value": 3},
  "netfs.latency": {"count": 9, "p50": 2100000, "p99": 1500000000}})";

class Directory {
 public:
  Directory() {
    std::string path = (std::filesystem::temp_directory_path() / "larder-ctl.XXXXXX").string();
    REQUIRE(::mkdtemp(path.data()) != nullptr);
    path_ = std::filesystem::canonical(path).string();
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

TEST_CASE("the page of status says how share, store and reads do") {
  const std::string page =
      status_page(figures(kFull), "attr_timeout=5s\ntag=larder\nshare_id=a=b\n", "/mnt/fast");
  INFO(page);
  CHECK(has(page, "larder 0.1.0 on /mnt/fast, up 1 h 2 min\n"));
  CHECK(has(page, "classic, io_uring\n"));
  CHECK(has(page, "/mnt/share\n"));
  CHECK(has(page, "posix, nfs4 nas:/x\n"));
  CHECK(has(page, "slow\n"));
  CHECK(has(page, "1234, of which for data 0"));
  CHECK(has(page, "half below 2.1 ms, 99 % below 1.5 s"));
  CHECK(has(page, "1.0 GiB of 10.0 GiB (10.0 %)"));
  CHECK(has(page, "75 (75.0 %), 3.0 MiB (75.0 %)"));
  CHECK(has(page, "25, 1.0 MiB"));
  CHECK(has(page, "  3 calls to the share were not answered in time\n"));
  CHECK(has(page, "  attr_timeout=5s\n"));
  CHECK(has(page, "  share_id=a=b\n"));
  CHECK_FALSE(has(page, "tag="));  // the default
}

TEST_CASE("the page of status is whole where nothing is counted yet") {
  const std::string page = status_page(figures("{}"), "", "/mnt/fast");
  INFO(page);
  for (const char* part :
       {"share\n", "store\n", "reads\n", "errors\n  none\n", "default)\n  none\n"}) {
    CHECK(has(page, part));
  }
  CHECK(has(page, "0 (-), 0 B (-)"));
}

TEST_CASE("figures of another shape than expected count as nothing") {
  const Figures odd = figures(
      R"({"a": 7, "b": {"value": "x"}, "c": {"value": -3}, "d": [1], "e": null, "share": 5})");
  CHECK(odd.find("a") == 7u);
  CHECK_FALSE(odd.find("b").has_value());
  CHECK(odd.counter("c") == 0);
  CHECK_FALSE(odd.find("d").has_value());
  CHECK_FALSE(odd.find("e").has_value());
  CHECK_FALSE(odd.find("f").has_value());
  CHECK_FALSE(odd.percentile("a", "p50").has_value());
  CHECK(odd.text("share", "path").empty());
  CHECK_FALSE(Figures::parse("").has_value());
  CHECK_FALSE(Figures::parse("[]").has_value());
  CHECK_FALSE(Figures::parse("{\"a\":").has_value());
}

TEST_CASE("bytes are shown in the unit that reads well") {
  CHECK(bytes_text(0) == "0 B");
  CHECK(bytes_text(1023) == "1023 B");
  CHECK(bytes_text(1024) == "1.0 KiB");
  CHECK(bytes_text((1u << 20) - 1) == "1.0 MiB");
  CHECK(bytes_text(3ull << 40) == "3.0 TiB");
}

TEST_CASE("a control file is read whole, and what is no mount is told apart") {
  const Directory directory;
  const std::string& at = directory.path();
  const auto line = [](const SetUp<std::string>& read) {
    REQUIRE_FALSE(read.has_value());
    return read.error().line;
  };
  CHECK(has(line(Control(at, ".larder").read("stats")), "nothing is mounted there"));
  CHECK(has(line(Control(at + "/no", ".larder").read("stats")), "No such file"));
  CHECK(has(line(Control("/proc", ".larder").read("stats")), "is proc, not larder"));
  CHECK(has(line(Control("/proc/", ".larder").read("stats")), "is proc, not larder"));

  std::filesystem::create_directory(at + "/.c");
  const std::string big(200'000, 'x');
  std::ofstream(at + "/.c/stats") << big;
  CHECK(Control(at, ".c").read("stats") == big);
}

TEST_CASE("top shows rates between two readings, the busiest first") {
  const Reading before{figures(R"({"transport": "uring", "share": {"state": "ok"},
    "store": {"state": "open"}, "op.read": {"value": 100}, "op.open": {"value": 50},
    "vfs.warm_bytes": {"value": 0}, "vfs.cold_bytes": {"value": 4096}})"),
                       "800 80000 old file\n16 160 quiet\n", 0};
  const Reading after{figures(R"({"transport": "uring", "share": {"state": "ok"},
    "store": {"state": "open"}, "op.read": {"value": 300}, "op.open": {"value": 60},
    "op.mkdir": {"value": 0},
    "op.read_ns": {"count": 9, "p50": 3000, "p90": 12500, "p99": 2500000},
    "stage.store_ns": {"count": 9, "p50": 700, "p90": 900, "p99": 1000},
    "vfs.warm_bytes": {"value": 2097152}, "vfs.cold_bytes": {"value": 4096}})"),
                      "808 80800 old file\n400 4000 new file\n16 160 quiet\n", 2 * kSecond};
  const std::string page = top_page(before, after, "/mnt/fast", 10);
  INFO(page);
  CHECK(has(page, "/mnt/fast  share ok  store open  transport uring\n"));
  CHECK(has(page, "105 operations/s"));
  CHECK(has(page, "warm (the store)           1.0 MiB/s\n"));
  CHECK(has(page, "read                 100    3.0 us   12.5 us    2.5 ms\n"));
  CHECK(page.find("\nread ") < page.find("\nopen "));
  CHECK_FALSE(has(page, "mkdir"));
  CHECK(has(page, "         200       2.0 KiB  new file\n"));
  CHECK(page.find("new file") < page.find("old file"));
  CHECK_FALSE(has(page, "quiet"));

  SECTION("a mount that was made anew in between counts from 0") {
    CHECK(has(top_page(after, before, "/m", 10), "0 operations/s"));
  }
}
