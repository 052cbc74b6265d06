// SPDX-License-Identifier: Apache-2.0
// The mount table: its lines, and what is mounted where.
#include <larder/mount_table.h>

#include <algorithm>

#include "support/catch.h"

using namespace larder;

namespace {

constexpr std::string_view kTable =
    "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
    "40 27 0:50 / /mnt/nfs rw,relatime shared:7 master:3 - nfs4 server:/export rw,vers=4.2\n"
    "41 27 0:51 /sub /mnt/with\\040space\\011tab\\134back\\043hash rw - ext4 /dev/v\\040d rw\n"
    "42 40 0:52 / /mnt/nfs/inner rw - tmpfs tmpfs rw\n"
    "43 27 0:53 / /mnt/top rw - ext4 /dev/a rw\n"
    "44 43 0:54 / /mnt/top/below rw - ext4 /dev/b rw\n"
    "45 43 0:55 / /mnt/top rw - ext4 /dev/c rw\n";

}  // namespace

TEST_CASE("a line of the mount table gives its fields, with escapes turned back") {
  const auto mounts = parse_mounts(kTable);
  REQUIRE(mounts.size() == 8);
  CHECK(mounts[2].id == 40);
  CHECK(mounts[2].parent == 27);
  CHECK(mounts[2].type == "nfs4");
  CHECK(mounts[2].source == "server:/export");
  CHECK(has_option(mounts[2], "vers=4.2"));
  CHECK_FALSE(has_option(mounts[2], "vers"));
  CHECK(mounts[3].point == "/mnt/with space\ttab\\back#hash");
  CHECK(mounts[3].root == "/sub");
  CHECK(mounts[3].source == "/dev/v d");
}

TEST_CASE("lines that are no mounts are left out, however they are broken") {
  CHECK(parse_mounts("").empty());
  CHECK(parse_mounts("\n\nx y z\n27\n27 1\n27 1 0:1 / \n27 1 0:1 / /x rw\n27 1 0:1 / /x rw -\n")
            .empty());
  CHECK(parse_mounts("99999999999999 1 0:1 / / rw - ext4 a rw\n").empty());
  // An escape that is cut off is what it says.
  CHECK(parse_mounts("27 1 0:1 / /x\\04 rw - ext4 a rw").at(0).point == "/x\\04");
  for (std::size_t cut = 0; cut <= kTable.size(); ++cut) {
    CHECK(parse_mounts(kTable.substr(0, cut)).size() <= 8);
  }
}

TEST_CASE("the mount table knows what is mounted, and what is below") {
  CHECK(type_mounted_at("/proc") == "proc");
  CHECK(type_mounted_at("/proc/self").empty());
  const auto below = mounts_below("/proc");
  CHECK(std::find(below.begin(), below.end(), "/proc") != below.end());
  CHECK(mounts_below("/proc/self").empty());
  CHECK(resolved_mountpoint("/proc//") == "/proc");
  CHECK(resolved_mountpoint("/") == "/");
}
