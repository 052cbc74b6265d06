// SPDX-License-Identifier: Apache-2.0
// A directory of a test's own, and what it mounted below; both go at the end, also of a test that
// failed.
#pragma once

#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "support/catch.h"

namespace larder::test {

class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/larder-netfs-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path_ = std::filesystem::canonical(name).string();
  }
  ~TempDir() {
    for (auto at = mounts_.rbegin(); at != mounts_.rend(); ++at) {
      ::umount2(at->c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    }
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  std::string path(const std::string& below = {}) const {
    return below.empty() ? path_ : path_ + "/" + below;
  }
  void write(const std::string& below, const std::string& content) const {
    std::ofstream(path(below)) << content;
  }
  std::string read(const std::string& below) const {
    std::ifstream in(path(below));
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void make_dir(const std::string& below) const {
    std::filesystem::create_directories(path(below));
  }
  bool exists(const std::string& below) const {
    return std::filesystem::exists(std::filesystem::symlink_status(path(below)));
  }

  void mount_tmpfs(const std::string& below, const char* source) {
    REQUIRE(::mount(source, path(below).c_str(), "tmpfs", 0, "size=1m") == 0);
    mounts_.push_back(path(below));
  }
  void mount_bind(const std::string& from, const std::string& below) {
    REQUIRE(::mount(path(from).c_str(), path(below).c_str(), nullptr, MS_BIND, nullptr) == 0);
    mounts_.push_back(path(below));
  }
  void unmount_lazily(const std::string& below) {
    REQUIRE(::umount2(path(below).c_str(), MNT_DETACH) == 0);
  }

 private:
  std::string path_;
  std::vector<std::string> mounts_;
};

}  // namespace larder::test
