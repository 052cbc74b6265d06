// SPDX-License-Identifier: Apache-2.0
// Which mount shows a path, and which share that is.
#include "netfs/share_identity.h"

#include <fmt/format.h>

#include "support/catch.h"
#include "support/mount_lines.h"

namespace larder::netfs {
namespace {

ShareIdentity share_at(std::string_view table, std::string_view path) {
  const auto mounts = parse_mounts(table);
  const auto covering = covering_mount(mounts, path, OwnMountpoint::kNo);
  REQUIRE(has_own_mount(covering));
  return identity_of_mount(*covering->mount, path);
}

TEST_CASE("a share is told by its mount, and by the path below it") {
  const ShareIdentity at_mount = share_at(kMountLines, "/mnt/nfs");
  CHECK(at_mount == ShareIdentity{.type = "nfs4",
                                  .source = "server:/export",
                                  .root = "/",
                                  .below = "",
                                  .is_mount_point = true});
  CHECK(share_at(kMountLines, "/mnt/nfs/a/b").below == "a/b");
  CHECK_FALSE(share_at(kMountLines, "/mnt/nfs/a/b").is_mount_point);
  CHECK(share_at(kMountLines, "/mnt/nfs/inner/x").type == "tmpfs");
  CHECK(share_at(kMountLines, "/mnt/nfs/innermost").type == "nfs4");
  CHECK(share_at(kMountLines, "/mnt/with space\ttab\\back#hash/d").root == "/sub");
}

TEST_CASE("a path that no mount but the root's covers has no mount of its own") {
  const auto mounts = parse_mounts(kMountLines);
  for (const char* path : {"/mnt", "/mnt/nfsx", "/home/x", "/"}) {
    const auto covering = covering_mount(mounts, path, OwnMountpoint::kNo);
    REQUIRE(covering);
    CHECK(covering->mount->id == 27);
    CHECK_FALSE(has_own_mount(covering));
  }
  CHECK_FALSE(covering_mount({}, "/x", OwnMountpoint::kNo));
  CHECK_FALSE(covering_mount(parse_mounts("5 4 0:1 / /proc rw - proc proc rw\n"), "/proc",
                             OwnMountpoint::kNo));
}

TEST_CASE("of stacked mounts the one on top counts, and what lies below the covered one does not") {
  CHECK(share_at(kMountLines, "/mnt/top").source == "/dev/c");
  CHECK(share_at(kMountLines, "/mnt/top/below").source == "/dev/c");
  CHECK(share_at(kMountLines, "/mnt/top/below").below == "below");
}

TEST_CASE("a second mount on the root directory is the root") {
  const auto mounts = parse_mounts(
      "1 1 0:1 / / rw - rootfs none rw\n"
      "27 1 254:0 / / rw - ext4 /dev/vda rw\n"
      "40 27 0:50 / /mnt rw - nfs4 server:/e rw\n");
  const auto covering = covering_mount(mounts, "/mnt/x", OwnMountpoint::kNo);
  REQUIRE(has_own_mount(covering));
  CHECK(covering->mount->id == 40);
  CHECK_FALSE(has_own_mount(covering_mount(mounts, "/home", OwnMountpoint::kNo)));
}

TEST_CASE("our own mount on the share is looked through, another's is not") {
  const std::string table = std::string(kMountLines) +
                            "50 40 0:60 / /mnt/nfs rw - fuse.larder larder rw\n"
                            "51 27 0:61 / /mnt/other rw - fuse.larder larder rw\n";
  const auto mounts = parse_mounts(table);
  const auto ours = covering_mount(mounts, "/mnt/nfs", OwnMountpoint::kYes);
  REQUIRE(ours);
  CHECK(ours->mount->id == 40);
  CHECK(ours->has_ours_on_top);
  const auto foreign = covering_mount(mounts, "/mnt/nfs", OwnMountpoint::kNo);
  CHECK(foreign->mount->id == 50);
  CHECK_FALSE(foreign->has_ours_on_top);
  CHECK(covering_mount(mounts, "/mnt/other/x", OwnMountpoint::kYes)->mount->id == 51);
}

TEST_CASE("a table whose mounts are each other's parents does not hang the walk") {
  const auto mounts = parse_mounts(
      "1 0 0:1 / / rw - ext4 a rw\n2 3 0:1 / /x rw - ext4 b rw\n3 2 0:1 / /x rw - ext4 c rw\n"
      "2 1 0:1 / /x rw - ext4 b rw\n");
  CHECK(covering_mount(mounts, "/x", OwnMountpoint::kNo));
}

TEST_CASE("share_id= names the share, but an unmounted one is another still") {
  const auto mounts = parse_mounts(kMountLines);
  const auto mounted = covering_mount(mounts, "/mnt/nfs/a", OwnMountpoint::kNo);
  const auto unmounted = covering_mount(mounts, "/home/a", OwnMountpoint::kNo);
  const auto other = covering_mount(mounts, "/mnt/top", OwnMountpoint::kNo);
  CHECK(identity_by_override("mine", mounted) == identity_by_override("mine", other));
  CHECK(identity_by_override("mine", mounted) != identity_by_override("mine", unmounted));
  CHECK(identity_by_override("mine", mounted) != identity_by_override("yours", mounted));
  CHECK(identity_without_mount("ext4", 0xAB, "/home/a") !=
        identity_without_mount("ext4", 0xAC, "/home/a"));
  CHECK(identity_without_mount("ext4", 0xAB, "/home/a") !=
        identity_without_mount("ext4", 0xAB, "/home/b"));
}

}  // namespace
}  // namespace larder::netfs
