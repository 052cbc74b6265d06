// SPDX-License-Identifier: Apache-2.0
// The posix netfs on a real directory, and on real mounts that come and go below it.
#include "netfs/posix.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "netfs/temp_dir.h"
#include "support/catch.h"

namespace larder::netfs {
namespace {

using test::TempDir;

constexpr Nanoseconds kLong = 60 * kSecond;

// A share and its threads. Netfs is for share threads only, so each check runs there.
struct Open {
  explicit Open(PosixOptions options) : pool({.threads = 2, .stop_grace_ns = kLong}) {
    auto opened = open_posix(options, pool);
    if (!opened) FAIL(opened.error().line);
    netfs = std::move(*opened);
  }
  explicit Open(const std::string& share) : Open(PosixOptions{.share = share}) {}

  template <class T>
  T run(std::function<T(Netfs&)> call) {
    auto answer = pool.run_and_wait<T>([&] { return call(*netfs); }, kLong);
    REQUIRE(answer);
    return std::move(*answer);
  }
  // 0 or the errno of a call; -1 where the share is away, -2 for any other error of ours.
  template <class T>
  int result(std::function<Result<T>(Netfs&)> call) {
    return run<int>([&](Netfs& n) {
      const auto answer = call(n);
      if (answer) return 0;
      if (answer.error().code == ErrorCode::kShareAway) return -1;
      return answer.error().code == ErrorCode::kShareAnswer ? answer.error().sys_errno : -2;
    });
  }
  int stat(const std::string& path) {
    return result<Attributes>([&](Netfs& n) { return n.stat(path, Freshness::kServer); });
  }
  int make(const std::string& path) {
    return result<OpenedFile>([&](Netfs& n) { return n.open(path, O_CREAT | O_RDWR, 0644); });
  }
  int write(const std::string& path, const std::string& content) {
    return result<ByteCount>([&](Netfs& n) -> Result<ByteCount> {
      TRY(const OpenedFile opened, n.open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644));
      return n.write(*opened.file, ByteOffset{0}, std::as_bytes(std::span(content)));
    });
  }
  std::string read(const std::string& path) {
    return run<std::string>([&](Netfs& n) -> std::string {
      const auto opened = n.open(path, O_RDONLY, 0);
      if (!opened) return to_text(opened.error());
      std::string into(1000, '\0');
      const auto count =
          n.read(*opened->file, ByteOffset{0}, std::as_writable_bytes(std::span(into)));
      return count ? into.substr(0, count->value()) : to_text(count.error());
    });
  }
  ~Open() { netfs.reset(); }

  SharePool pool;
  std::shared_ptr<Netfs> netfs;
};

TEST_CASE("nothing outside of the share is reached, by dots or by links") {
  const TempDir dir;
  dir.make_dir("share/inner");
  dir.write("secret", "secret");
  std::filesystem::create_symlink("../secret", dir.path("share/link"));
  std::filesystem::create_symlink("..", dir.path("share/up"));
  std::filesystem::create_symlink(dir.path(), dir.path("share/absolute"));
  std::filesystem::create_symlink("inner", dir.path("share/sideways"));
  Open share(dir.path("share"));
  for (const char* path : {"../secret", "inner/../../secret", "..", ".", "inner/.", "/etc/passwd",
                           "inner//x", "inner/", "/"}) {
    INFO(path);
    CHECK(share.stat(path) == -2);
    CHECK(share.make(path) == -2);
  }
  CHECK(share.stat(std::string("a\0b", 3)) == -2);
  CHECK(share.stat(std::string(256, 'x')) == -2);
  for (const char* path : {"up/secret", "absolute/secret", "sideways/x", "link/x"}) {
    INFO(path);
    CHECK(share.stat(path) == ENOTDIR);
    CHECK(share.write(path, "overwritten") == ENOTDIR);
  }
  CHECK(share.write("link", "overwritten") == ELOOP);
  CHECK(share.result<std::vector<Dirent>>([](Netfs& n) { return n.list("up"); }) != 0);
  const auto size = [](Netfs& n) { return n.set_attributes("link", nullptr, {.size = 0}); };
  CHECK(share.result<Attributes>(size) == EINVAL);
  const auto mode = [](Netfs& n) { return n.set_attributes("link", nullptr, {.mode = 0777}); };
  CHECK(share.result<Attributes>(mode) == EOPNOTSUPP);
  const auto times = [](Netfs& n) { return n.set_attributes("link", nullptr, {.mtime_ns = -1}); };
  CHECK(share.result<Attributes>(times) == 0);
  CHECK(share.result<std::string>([](Netfs& n) { return n.read_link("link"); }) == 0);
  CHECK(dir.read("secret") == "secret");
  CHECK(std::filesystem::last_write_time(dir.path("secret")).time_since_epoch().count() != -1);
}

TEST_CASE("content is written, read, appended, cut and flushed") {
  const TempDir dir;
  Open share(dir.path());
  CHECK(share.write("f", "0123456789") == 0);
  CHECK(share.read("f") == "0123456789");
  CHECK(share.run<std::string>([](Netfs& n) -> std::string {
    auto f = n.open("f", O_RDWR | O_APPEND, 0);
    if (!f) return "not open";
    const std::string more = "ab";
    if (!n.write(*f->file, ByteOffset{0}, std::as_bytes(std::span(more)))) return "not written";
    if (!n.flush(*f->file) || !n.sync(*f->file, SyncWhat::kAll)) return "not flushed";
    std::array<std::byte, 4> into;
    const auto count = n.read(*f->file, ByteOffset{8}, into);
    if (!count || count->value() != 4 || into[3] != std::byte{'b'}) return "not read";
    if (n.read(*f->file, ByteOffset{12}, into)->value() != 0) return "read past the end";
    if (n.set_attributes("", f->file.get(), {.size = 3})->size != 3) return "not cut";
    return n.stat(*f->file, Freshness::kServer)->size == 3 ? "ok" : "not cut for stat";
  }) == "ok");
  CHECK(dir.read("f") == "012");
  CHECK(share.result<Attributes>(
            [](Netfs& n) { return n.set_attributes("f", nullptr, {.size = 5}); }) == 0);
  CHECK(dir.read("f") == std::string("012\0\0", 5));
}

TEST_CASE("an open file that loses its name is read and written on") {
  const TempDir dir;
  dir.write("f", "abc");
  Open share(dir.path());
  CHECK(share.run<std::string>([&](Netfs& n) -> std::string {
    const auto f = n.open("f", O_RDONLY, 0);
    if (!f || !n.remove_file("f")) return "not removed";
    std::array<std::byte, 3> into;
    const auto count = n.read(*f->file, ByteOffset{0}, into);
    if (!count || count->value() != 3) return "not read";
    if (n.set_attributes("f", f->file.get(), {.mode = 0600})->mode != (S_IFREG | 0600u))
      return "mode";
    return n.stat(*f->file, Freshness::kServer)->nlink == 0 ? "ok" : "linked";
  }) == "ok");
  CHECK(share.stat("f") == ENOENT);
}

TEST_CASE("names are made, listed, linked, moved and removed, with the share's own errors") {
  const TempDir dir;
  Open share(dir.path());
  const mode_t before = ::umask(077);
  const auto made =
      share.run<Result<Attributes>>([](Netfs& n) { return n.make_directory("d", 0777); });
  ::umask(before);
  REQUIRE(made);
  CHECK(made->mode == (S_IFDIR | 0777u));
  CHECK(share.result<Attributes>([](Netfs& n) { return n.make_directory("d", 0777); }) == EEXIST);
  CHECK(share.result<Attributes>([](Netfs& n) { return n.make_directory("x/d", 0777); }) == ENOENT);
  CHECK(share.make("d/f") == 0);
  CHECK(share.make("d/f/g") == ENOTDIR);
  CHECK(share.result<OpenedFile>(
            [](Netfs& n) { return n.open("d/f", O_CREAT | O_EXCL | O_RDWR, 0); }) == EEXIST);
  CHECK(share.result<OpenedFile>([](Netfs& n) { return n.open("d", O_RDWR, 0); }) == EISDIR);
  CHECK(share.result<Attributes>([](Netfs& n) { return n.make_symlink("s", "any/where"); }) == 0);
  CHECK(share.run<Result<std::string>>([](Netfs& n) { return n.read_link("s"); }) == "any/where");
  const auto linked =
      share.run<Result<Attributes>>([](Netfs& n) { return n.make_link("s", nullptr, "d/s2"); });
  REQUIRE(linked);
  CHECK(linked->is_symlink());
  CHECK(linked->nlink == 2);
  const auto names = share.run<Result<std::vector<Dirent>>>([](Netfs& n) { return n.list("d"); });
  REQUIRE(names);
  CHECK(names->size() == 2);
  CHECK(share.result<std::vector<Dirent>>([](Netfs& n) { return n.list("d/f"); }) == ENOTDIR);
  CHECK(share.result<void>([](Netfs& n) { return n.remove_directory("d"); }) == ENOTEMPTY);
  CHECK(share.result<void>([](Netfs& n) { return n.remove_file("d"); }) == EISDIR);
  CHECK(share.result<void>([](Netfs& n) { return n.rename("d/f", "s", RENAME_NOREPLACE); }) ==
        EEXIST);
  CHECK(share.result<void>([](Netfs& n) { return n.rename("d/f", "g", 0); }) == 0);
  CHECK(share.result<void>([](Netfs& n) { return n.remove_file("d/s2"); }) == 0);
  CHECK(share.result<void>([](Netfs& n) { return n.remove_directory("d"); }) == 0);
  CHECK(share.result<void>([](Netfs& n) { return n.access("g", R_OK); }) == 0);
  CHECK(share.result<void>([](Netfs& n) { return n.access("h", R_OK); }) == ENOENT);
  CHECK(share.result<struct statvfs>([](Netfs& n) { return n.stat_fs(); }) == 0);
  CHECK(share.stat("") == 0);
}

TEST_CASE("a FIFO costs no thread: it is not opened, and its attributes still change") {
  const TempDir dir;
  Open share(dir.path());
  CHECK(share.result<Attributes>([](Netfs& n) { return n.make_node("p", S_IFIFO | 0600, 0); }) ==
        0);
  CHECK(share.result<OpenedFile>([](Netfs& n) { return n.open("p", O_RDONLY, 0); }) == ENXIO);
  CHECK(share.result<OpenedFile>([](Netfs& n) { return n.open("p", O_WRONLY, 0); }) == ENXIO);
  const auto changed = share.run<Result<Attributes>>([](Netfs& n) {
    return n.set_attributes("p", nullptr, {.mode = 0640, .mtime_ns = 1'500'000'000});
  });
  REQUIRE(changed);
  CHECK(changed->mode == (S_IFIFO | 0640u));
  CHECK(changed->mtime_ns == 1'500'000'000);
  CHECK(share.result<std::vector<std::string>>(
            [](Netfs& n) { return n.list_xattr("p", nullptr); }) == 0);
}

TEST_CASE("times are set to the nanosecond, before 1970, to now, and one without the other") {
  const TempDir dir;
  dir.write("f", "x");
  Open share(dir.path());
  const auto set = [&](AttributeChange change) {
    const auto a = share.run<Result<Attributes>>(
        [&](Netfs& n) { return n.set_attributes("f", nullptr, change); });
    REQUIRE(a);
    return *a;
  };
  CHECK(set({.atime_ns = 5, .mtime_ns = -1}).mtime_ns == -1);
  const Attributes only_mtime = set({.mtime_ns = 1'600'000'000'123'456'789});
  CHECK(only_mtime.atime_ns == 5);
  CHECK(only_mtime.mtime_ns == 1'600'000'000'123'456'789);
  CHECK(set({.mtime_ns = AttributeChange::kNow}).mtime_ns > 1'600'000'000'123'456'789);
}

TEST_CASE("extended attributes are of the very file, also of one that is a link") {
  const TempDir dir;
  dir.write("f", "x");
  std::filesystem::create_symlink("f", dir.path("s"));
  Open share(dir.path());
  const std::string value(1000, 'v');  // longer than a first try takes
  const auto set = [&](Netfs& n) {
    return n.set_xattr("f", nullptr, "user.a", std::as_bytes(std::span(value)), 0);
  };
  const int supported = share.result<void>(set);
  if (supported == EOPNOTSUPP) {
    WARN("skipped: /tmp has no extended attributes");
    return;
  }
  CHECK(supported == 0);
  CHECK(share.run<Result<std::string>>(
            [](Netfs& n) { return n.get_xattr("f", nullptr, "user.a"); }) == value);
  CHECK(share.result<std::string>([](Netfs& n) { return n.get_xattr("f", nullptr, "user.b"); }) ==
        ENODATA);
  CHECK(share.result<std::string>([](Netfs& n) { return n.get_xattr("s", nullptr, "user.a"); }) !=
        0);
  CHECK(share.result<void>([&](Netfs& n) {
    return n.set_xattr("f", nullptr, "user.a", std::as_bytes(std::span(value)), XATTR_CREATE);
  }) == EEXIST);
  const auto names = share.run<Result<std::vector<std::string>>>(
      [](Netfs& n) { return n.list_xattr("f", nullptr); });
  REQUIRE(names);
  CHECK(std::find(names->begin(), names->end(), "user.a") != names->end());
  CHECK(share.result<void>([](Netfs& n) { return n.remove_xattr("f", nullptr, "user.a"); }) == 0);
  CHECK(share.result<void>([](Netfs& n) { return n.remove_xattr("f", nullptr, "user.a"); }) ==
        ENODATA);
}

TEST_CASE("a share that cannot be opened is complained of in one line") {
  const TempDir dir;
  dir.write("file", "x");
  SharePool pool({.threads = 1});
  for (const char* name : {"missing", "file"}) {
    const auto opened = open_posix({.share = dir.path(name)}, pool);
    REQUIRE_FALSE(opened);
    CHECK(opened.error().line.find(dir.path(name)) != std::string::npos);
    CHECK(opened.error().line.find('\n') == std::string::npos);
  }
}

bool cannot_mount() {
  if (::geteuid() == 0) return false;
  WARN("skipped: mounting needs root");
  return true;
}

TEST_CASE("a share that was unmounted lazily is away, and no write lands in the empty directory") {
  if (cannot_mount()) return;
  TempDir dir;
  dir.make_dir("m");
  dir.mount_tmpfs("m", "larder-test");
  dir.write("m/f", "old");
  dir.make_dir("m/sub");
  for (const char* const below : {"m", "m/sub"}) {
    INFO(below);
    if (!dir.exists(below)) {
      dir.mount_tmpfs("m", "larder-test");
      dir.make_dir("m/sub");
    }
    Open share(dir.path(below));
    CHECK(share.write("f", "new") == 0);
    dir.unmount_lazily("m");
    dir.make_dir(below);  // the path itself is still there
    CHECK(share.stat("f") == -1);
    CHECK(share.write("g", "lost") == -1);
    CHECK(share.result<Attributes>([](Netfs& n) { return n.make_directory("d", 0755); }) == -1);
    CHECK(share.result<void>([](Netfs& n) { return n.remove_file("f"); }) == -1);
    CHECK_FALSE(dir.exists(std::string(below) + "/g"));
    CHECK_FALSE(dir.exists(std::string(below) + "/d"));
    CHECK_FALSE(share.netfs->why_away().empty());
    // Another share at the place is not this one.
    dir.mount_tmpfs("m", "larder-other");
    dir.make_dir(below);
    CHECK(share.write("g", "lost") == -1);
    CHECK_FALSE(dir.exists(std::string(below) + "/g"));
    dir.unmount_lazily("m");
    // The same again: it comes back by itself.
    dir.mount_tmpfs("m", "larder-test");
    dir.make_dir(below);
    CHECK(share.write("g", "kept") == 0);
    CHECK(dir.read(std::string(below) + "/g") == "kept");
    dir.unmount_lazily("m");
    std::filesystem::remove_all(dir.path("m/sub"));
  }
}

TEST_CASE("a directory of the root file system that something is mounted on is away meanwhile") {
  if (cannot_mount()) return;
  TempDir dir;
  dir.make_dir("d");
  dir.make_dir("other");
  Open share(dir.path("d"));
  CHECK(share.write("f", "1") == 0);
  dir.mount_bind("other", "d");
  CHECK(share.write("f", "2") == -1);
  CHECK_FALSE(dir.exists("other/f"));
  dir.unmount_lazily("d");
  CHECK(share.write("f", "3") == 0);
  CHECK(dir.read("d/f") == "3");
}

TEST_CASE("a share whose directory was removed is away; made again it is the share") {
  const TempDir dir;
  dir.make_dir("d");
  Open share(dir.path("d"));
  CHECK(share.make("f") == 0);
  std::filesystem::remove_all(dir.path("d"));
  CHECK(share.stat("f") == -1);
  dir.make_dir("d");
  CHECK(share.stat("f") == ENOENT);
  CHECK(share.make("f") == 0);
  CHECK(dir.exists("d/f"));
}

TEST_CASE("mounts elsewhere leave the share as it is") {
  if (cannot_mount()) return;
  TempDir dir;
  dir.make_dir("d");
  dir.make_dir("m");
  Open share(dir.path("d"));
  CHECK(share.make("f") == 0);
  dir.mount_tmpfs("m", "larder-test");
  CHECK(share.stat("f") == 0);
  dir.unmount_lazily("m");
  CHECK(share.stat("f") == 0);
}

}  // namespace
}  // namespace larder::netfs
