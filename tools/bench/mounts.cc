// SPDX-License-Identifier: Apache-2.0
#include "bench/mounts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mount.h>

#include <cerrno>
#include <filesystem>

#include <larder/mount_table.h>
#include "ctl/control.h"

namespace larder::bench {
namespace {

namespace fs = std::filesystem;

constexpr int kMountSteps = 600;
constexpr Nanoseconds kMountStep = 50 * kMillisecond;
constexpr const char* kExamples = "/usr/share/doc/libfuse3-dev/examples";

SetUp<std::string> new_directory(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return complain(ErrorCode::kSystem, fmt::format("{}: {}", path, error.message()));
  return path;
}

// The distribution may have packed it.
SetUp<std::monostate> fetch_example(const std::string& name, const std::string& into) {
  const std::string plain = fmt::format("{}/{}", kExamples, name);
  const std::string log = into + ".log";
  if (fs::exists(plain)) return run({"cp", plain, into}, log);
  if (fs::exists(plain + ".gz")) {
    return run({"sh", "-c", "gzip -dc \"$1\" > \"$2\"", "sh", plain + ".gz", into}, log);
  }
  return complain(ErrorCode::kNotFound,
                  fmt::format("{} is not there; install libfuse3-dev", plain));
}

}  // namespace

Programs programs_of_build() {
  std::error_code error;
  const fs::path tools = fs::read_symlink("/proc/self/exe", error).parent_path();
  return {(tools.parent_path() / "fuse" / "larder").string(), (tools / "slowshare").string()};
}

SetUp<Mounted> Mounted::start(const std::vector<std::string>& argv, const std::string& mountpoint,
                              const std::string& log) {
  TRY(const std::string path, new_directory(mountpoint));
  TRY(Child process, Child::start(argv, log));
  for (int step = 0; step < kMountSteps; ++step) {
    if (!type_mounted_at(path).empty()) return Mounted(std::move(process), path);
    if (process.wait(kMountStep)) {
      return complain(ErrorCode::kSystem,
                      fmt::format("{} did not mount {}: {}", argv[0], path, process.last_words()));
    }
  }
  return complain(ErrorCode::kSystem, fmt::format("{} did not mount {} in time", argv[0], path));
}

Mounted::~Mounted() {
  if (path_.empty() || process_.pid() < 0) return;
  const std::string log = path_ + ".umount.log";
  if (::umount2(path_.c_str(), 0) != 0) {
    if (!run({"fusermount3", "-u", "-q", path_}, log))
      return;  // then ~Child ends it, and so the mount
  }
  process_.wait(10 * kSecond);
}

SetUp<ctl::Figures> Mounted::figures() const {
  TRY(const std::string text, ctl::Control(path_, ".larder").read("stats.json"));
  return ctl::Figures::parse(text);
}

SetUp<Mounted> mount_larder(const Programs& programs, const std::string& directory,
                            const std::string& name, const std::string& share,
                            const std::string& options) {
  if (!fs::exists(programs.larder)) {
    return complain(
        ErrorCode::kNotFound,
        fmt::format("{} is not there; build it, or say --larder PATH", programs.larder));
  }
  const std::string at = fmt::format("{}/{}", directory, name);
  return Mounted::start(
      {programs.larder, "-f", "-o",
       fmt::format("store={}.store,tag={},log=warn{}", at, name, options), share, at},
      at, at + ".log");
}

SetUp<Mounted> mount_slowshare(const Programs& programs, const std::string& directory,
                               const std::string& source, const std::string& options) {
  if (!fs::exists(programs.slowshare)) {
    return complain(
        ErrorCode::kNotFound,
        fmt::format("{} is not there; build it, or say --slowshare PATH", programs.slowshare));
  }
  const std::string at = fmt::format("{}/slowshare", directory);
  return Mounted::start({programs.slowshare, "-f", "-o", options, source, at}, at, at + ".log");
}

SetUp<Mounted> mount_passthrough(const std::string& directory, const std::string& name,
                                 const std::string& source, PassthroughCache cache) {
  const std::string program = fmt::format("{}/passthrough_ll", directory);
  if (!fs::exists(program)) {
    TRY_OK(fetch_example("passthrough_ll.c", program + ".c"));
    TRY_OK(fetch_example("passthrough_helpers.h", directory + "/passthrough_helpers.h"));
    TRY_OK(run({"sh", "-c", "cc -O2 -o \"$1\" \"$1.c\" $(pkg-config --cflags --libs fuse3)", "sh",
                program},
               program + ".cc.log"));
  }
  const std::string at = fmt::format("{}/{}", directory, name);
  return Mounted::start(
      {program, "-f", "-o",
       fmt::format("{},source={}",
                   cache == PassthroughCache::kNever ? "cache=never" : "cache=always,timeout=60",
                   source),
       at},
      at, at + ".log");
}

std::string name_of(FusePeer peer) { return peer == FusePeer::kBindfs ? "bindfs" : "rclone"; }

// rclone 1.60 has no direct_io: the kernel keeps its pages, and who measures drops them.
SetUp<Mounted> mount_peer(FusePeer peer, const std::string& directory, const std::string& source) {
  const std::string at = fmt::format("{}/{}", directory, name_of(peer));
  if (peer == FusePeer::kBindfs)
    return Mounted::start({"bindfs", "-f", "-o", "direct_io", source, at}, at, at + ".log");
  return Mounted::start(
      {"rclone", "mount", "--vfs-cache-mode", "full", "--cache-dir", at + ".cache", "--config",
       at + ".conf", "--dir-cache-time", "1h", "--read-only", source, at},
      at, at + ".log");
}

}  // namespace larder::bench
