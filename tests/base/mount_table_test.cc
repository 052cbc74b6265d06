// SPDX-License-Identifier: Apache-2.0
// The mount table: its lines, and what is mounted where.
#include <larder/mount_table.h>

#include <algorithm>

#include "support/catch.h"
#include "support/mount_lines.h"

using namespace larder;

TEST_CASE("a line of the mount table gives its fields, with escapes turned back") {
  const auto mounts = parse_mounts(kMountLines);
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
  for (std::size_t cut = 0; cut <= kMountLines.size(); ++cut) {
    CHECK(parse_mounts(kMountLines.substr(0, cut)).size() <= 8);
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
