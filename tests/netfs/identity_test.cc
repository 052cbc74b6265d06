// SPDX-License-Identifier: Apache-2.0
// Versions, file ids and their encodings.
#include <larder/identity.h>
#include <larder/netfs.h>

#include <limits>
#include <vector>

#include "netfs/share_traits.h"
#include "support/catch.h"

namespace larder {
namespace {

TEST_CASE("a file id comes back from its 24 little-endian bytes") {
  const FileId id{.inode = 0x0102030405060708, .device = 9, .generation = ~std::uint64_t{0} - 1};
  const auto bytes = id.encode();
  CHECK(bytes[0] == std::byte{8});
  CHECK(bytes[7] == std::byte{1});
  CHECK(bytes[8] == std::byte{9});
  CHECK(FileId::decode(bytes) == id);
  CHECK_FALSE(FileId::decode(std::span(bytes).first(23)));
  std::vector<std::byte> longer(bytes.begin(), bytes.end());
  longer.push_back(std::byte{0});
  CHECK_FALSE(FileId::decode(longer));
}

TEST_CASE("an identity comes back from its 40 bytes, with times before 1970") {
  const Identity identity{
      .size = 7, .mtime_ns = -1, .ctime_ns = INT64_MAX, .inode = 3, .change = 0xFEDCBA9876543210};
  CHECK(Identity::decode(identity.encode()) == identity);
  const auto bytes = identity.encode();
  CHECK_FALSE(Identity::decode(std::span(bytes).first(24)));
}

TEST_CASE("each field of a version tells it from another") {
  const Identity one{.size = 1, .mtime_ns = 2, .ctime_ns = 3, .inode = 4, .change = 5};
  for (int field = 0; field < 5; ++field) {
    Identity other = one;
    if (field == 0) ++other.size;
    if (field == 1) ++other.mtime_ns;
    if (field == 2) ++other.ctime_ns;
    if (field == 3) ++other.inode;
    if (field == 4) ++other.change;
    CHECK(other != one);
    CHECK(Identity::decode(other.encode()) != one);
    CHECK(to_text(other) != to_text(one));
  }
}

TEST_CASE("a version is racy until its stamp is older than one step of the share's clock") {
  const std::int64_t fine = 1'700'000'000'000'000'001, coarse = 1'700'000'000 * kSecond;
  CHECK(granularity_of(fine) == 10 * kMillisecond);
  CHECK(granularity_of(coarse) == 2 * kSecond);
  for (const std::int64_t mtime_ns : {fine, coarse, -kSecond, -kSecond - 1}) {
    const Identity identity{.size = 1, .mtime_ns = mtime_ns};
    const Nanoseconds step = granularity_of(mtime_ns);
    CHECK(is_racy(identity, mtime_ns));
    CHECK(is_racy(identity, mtime_ns - 5 * step));  // a stamp in the future
    CHECK(is_racy(identity, mtime_ns + step - 1));
    CHECK_FALSE(is_racy(identity, mtime_ns + step));
  }
  const Identity set_back{.size = 1, .mtime_ns = fine - kSecond, .ctime_ns = fine};
  CHECK(is_racy(set_back, fine + kMillisecond));
  CHECK_FALSE(is_racy(set_back, fine + kSecond));
  CHECK(is_racy({.mtime_ns = std::numeric_limits<std::int64_t>::max()},
                std::numeric_limits<std::int64_t>::max()));
}

TEST_CASE("a version holds only what the share can be trusted with") {
  Attributes attributes;
  attributes.inode = 5;
  attributes.size = 6;
  attributes.mtime_ns = 7;
  attributes.ctime_ns = 8;
  attributes.change = 9;
  Traits traits;
  CHECK(identity_of(attributes, traits) ==
        Identity{.size = 6, .mtime_ns = 7, .ctime_ns = 8, .inode = 5, .change = 9});
  traits.has_ctime = false;
  traits.inode_numbers = InodeNumbers::kUnstable;
  CHECK(identity_of(attributes, traits) ==
        Identity{.size = 6, .mtime_ns = 7, .ctime_ns = 0, .inode = 0, .change = 9});
}

TEST_CASE("a file id is made where the share's numbers are stable and there is one") {
  Attributes attributes;
  attributes.inode = 5;
  attributes.device = 2;
  Traits traits;
  CHECK(file_id_of(attributes, traits) == FileId{.inode = 5, .device = 2, .generation = 0});
  attributes.btime_ns = 77;
  CHECK(file_id_of(attributes, traits) == FileId{.inode = 5, .device = 2, .generation = 77});
  CHECK_FALSE(file_id_of(attributes, traits)->given());
  attributes.inode = 0;
  CHECK_FALSE(file_id_of(attributes, traits));
  attributes.inode = 5;
  traits.inode_numbers = InodeNumbers::kUnstable;
  CHECK_FALSE(file_id_of(attributes, traits));
}

TEST_CASE("two shares never have one key, however their words are cut") {
  const std::vector<ShareIdentity> shares = {
      {.type = "nfs", .source = "a", .root = "/", .below = "b"},
      {.type = "nfs", .source = "a", .root = "/b", .below = ""},
      {.type = "nfsa", .source = "", .root = "/", .below = "b"},
      {.type = "nfs", .source = "a1:/", .root = "", .below = "b"},
      {.type = "nfs", .source = "a", .root = "/", .below = "b", .is_mount_point = true}};
  for (std::size_t i = 0; i < shares.size(); ++i) {
    for (std::size_t j = 0; j < shares.size(); ++j) {
      CHECK((shares[i].key() == shares[j].key()) == (i == j));
    }
  }
}

TEST_CASE("inode numbers are trusted by kind of file system, and as the user says") {
  using netfs::inode_numbers_of;
  const auto of = [](std::string_view type) {
    return inode_numbers_of(type, nullptr, ShareInodes::kAuto);
  };
  for (const char* type :
       {"ext4", "xfs", "btrfs", "nfs4", "cifs", "smb3", "zfs", "fuse.slowshare"}) {
    CHECK(of(type) == InodeNumbers::kStable);
  }
  for (const char* type : {"fuse.sshfs", "fuse.rclone", "vfat", "fuse", "whatever"}) {
    CHECK(of(type) == InodeNumbers::kUnstable);
  }
  CHECK(inode_numbers_of("ext4", nullptr, ShareInodes::kUnstable) == InodeNumbers::kUnstable);
  CHECK(inode_numbers_of("fuse.sshfs", nullptr, ShareInodes::kStable) == InodeNumbers::kStable);
  MountEntry mount;
  mount.options = "rw,noserverino,actimeo=1";
  CHECK(inode_numbers_of("cifs", &mount, ShareInodes::kAuto) == InodeNumbers::kUnstable);
  mount.options = "rw,xnoserverino,actimeo=1";
  CHECK(inode_numbers_of("cifs", &mount, ShareInodes::kAuto) == InodeNumbers::kStable);
  CHECK_FALSE(netfs::has_own_ctime("fuse.sshfs"));
  CHECK(netfs::has_own_ctime("nfs4"));
}

TEST_CASE("which kinds of share are asked whether they fold case, and what is taken for granted") {
  using netfs::case_of, netfs::CaseOfKind;
  for (const char* type : {"cifs", "smb3", "vfat", "exfat", "ntfs3", "hfsplus"})
    CHECK(case_of(type) == CaseOfKind::kFoldsUnlessShown);
  for (const char* type : {"fuse", "fuseblk", "fuse.sshfs", "fuse.slowshare"})
    CHECK(case_of(type) == CaseOfKind::kTellsUnlessShown);
  for (const char* type : {"ext4", "nfs4", "tmpfs", "fused"})
    CHECK(case_of(type) == CaseOfKind::kTells);
}

TEST_CASE("the probe for folded case takes a name whose other case is no name of its own") {
  using netfs::names_that_tell_case;
  CHECK_FALSE(names_that_tell_case({}));
  CHECK_FALSE(names_that_tell_case({{.name = "123"}, {.name = "ab"}, {.name = "AB"}}));
  const auto pair =
      names_that_tell_case({{.name = "1"}, {.name = "a"}, {.name = "A"}, {.name = "Bc1"}});
  REQUIRE(pair);
  CHECK(pair->first == "Bc1");
  CHECK(pair->second == "bC1");
}

}  // namespace
}  // namespace larder
