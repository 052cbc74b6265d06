// SPDX-License-Identifier: Apache-2.0
// The share in memory behaves as the kind of share that it plays; else what is tested on it is
// worth nothing.
#include "support/sim_netfs.h"

#include <fcntl.h>

#include <stdio.h>
#include <cerrno>

#include "support/catch.h"
#include "support/sim_clock.h"

namespace larder::test {
namespace {

std::string read_all(SimNetfs& share, NetfsFile& file, std::size_t size = 64) {
  std::string into(size, '\0');
  const auto n = share.read(file, ByteOffset{0}, std::as_writable_bytes(std::span(into)));
  REQUIRE(n);
  into.resize(n->value());
  return into;
}

int errno_of(const Error& error) { return error.sys_errno; }

TEST_CASE("each profile stamps time, numbers files and folds case as its kind of share does") {
  for (const SimProfile profile : kAllProfiles) {
    INFO(to_text(profile));
    SimClock clock;
    clock.advance(1'234'567'891);
    SimNetfs share(profile, clock);
    share.put("dir/File", "one");
    const auto a = share.stat("dir/File", Freshness::kServer);
    REQUIRE(a);
    const bool coarse = profile == SimProfile::kSshfs || profile == SimProfile::kS3;
    CHECK((a->mtime_ns % kSecond == 0) == coarse);
    CHECK((a->mtime_ns % 100 == 0) == (profile != SimProfile::kNfs));
    CHECK(share.stat("dir/file", Freshness::kServer).has_value() == (profile == SimProfile::kSmb));
    const auto id = file_id_of(*a, share.traits());
    CHECK(id.has_value() == !coarse);
    clock.advance(10 * kSecond);
    const auto changed = share.set_attributes("dir/File", nullptr, {.mode = 0600});
    REQUIRE(changed);
    CHECK((identity_of(*changed, share.traits()) == identity_of(*a, share.traits())) == coarse);
    share.remount();
    const auto again = share.attributes("dir/File");
    CHECK((again.inode == a->inode) == (profile != SimProfile::kSshfs));
    share.put_quietly("dir/File", "two");
    CHECK((share.attributes("dir/File").change != again.change) == (profile == SimProfile::kS3));
  }
}

TEST_CASE("a client's attribute cache hides a change as long as its kind of share does") {
  for (const SimProfile profile : kAllProfiles) {
    INFO(to_text(profile));
    SimClock clock;
    SimNetfs share(profile, clock);
    share.put("f", "1");
    REQUIRE(share.stat("f", Freshness::kServer)->size == 1);
    clock.advance(kMillisecond);
    share.put("f", "22");
    CHECK(share.stat("f", Freshness::kCached)->size == (profile == SimProfile::kS3 ? 2u : 1u));
    CHECK(share.stat("f", Freshness::kServer)->size == (profile == SimProfile::kSshfs ? 1u : 2u));
    share.put("f", "333");
    clock.advance(20 * kSecond);
    CHECK(share.stat("f", Freshness::kCached)->size == 3);
  }
}

TEST_CASE("faults, hooks and absence come when asked for, and are counted") {
  SimClock clock;
  SimNetfs share(SimProfile::kNfs, clock);
  share.put("f", "abcdef");
  share.fail_next(SimCall::kStat, EIO, 2);
  CHECK(errno_of(share.stat("f", Freshness::kServer).error()) == EIO);
  CHECK(errno_of(share.stat("f", Freshness::kServer).error()) == EIO);
  CHECK(share.stat("f", Freshness::kServer));
  CHECK(share.calls(SimCall::kStat) == 3);

  const auto opened = share.open("f", O_RDWR, 0);
  REQUIRE(opened);
  CHECK(share.open_files() == 1);
  share.during_next(SimCall::kRead, [&] { share.put("f", "ABCDEF"); });
  CHECK(read_all(share, *opened->file, 6) == "abcDEF");
  CHECK(read_all(share, *opened->file) == "ABCDEF");
  share.cut_next_reads(1);
  CHECK(read_all(share, *opened->file, 4) == "AB");
  CHECK(share.data_calls() == 3);
  CHECK(share.bytes_read() == 14);

  share.go_away();
  CHECK(share.stat("f", Freshness::kServer).error().code == ErrorCode::kShareAway);
  share.come_back();
  share.replace("f", "other");
  std::array<std::byte, 4> into;
  CHECK(share.read(*opened->file, ByteOffset{0}, into).error().code == ErrorCode::kShareStale);
}

TEST_CASE("names are made, moved and removed with the errors of a file system") {
  SimClock clock;
  SimNetfs share(SimProfile::kNfs, clock);
  REQUIRE(share.make_directory("d", 0755));
  CHECK(errno_of(share.make_directory("d", 0755).error()) == EEXIST);
  CHECK(errno_of(share.make_directory("x/y", 0755).error()) == ENOENT);
  REQUIRE(share.open("d/f", O_RDWR | O_CREAT | O_EXCL, 0640));
  CHECK(errno_of(share.open("d/f", O_RDWR | O_CREAT | O_EXCL, 0640).error()) == EEXIST);
  CHECK(errno_of(share.remove_directory("d").error()) == ENOTEMPTY);
  CHECK(errno_of(share.remove_file("d").error()) == EISDIR);
  CHECK(share.make_link("d/f", nullptr, "g")->nlink == 2);
  CHECK(errno_of(share.rename("d/f", "g", RENAME_NOREPLACE).error()) == EEXIST);
  CHECK(share.rename("d/f", "g", 0));  // one file by two names: nothing happens
  CHECK(share.exists("d/f"));
  CHECK(errno_of(share.rename("d", "d/inside", 0).error()) == EINVAL);
  REQUIRE(share.rename("d/f", "h", 0));
  REQUIRE(share.remove_directory("d"));
  CHECK(share.list("")->size() == 2);
  CHECK(share.attributes("").nlink == 2);
  CHECK(share.stat("../x", Freshness::kServer).error().code == ErrorCode::kInvalid);
}

}  // namespace
}  // namespace larder::test
