// SPDX-License-Identifier: Apache-2.0
#include "store/place.h"

#include <dirent.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>

namespace larder::store {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

std::string real_path(const std::string& path) {
  std::array<char, PATH_MAX> buffer{};
  return ::realpath(path.c_str(), buffer.data()) == nullptr ? std::string()
                                                            : std::string(buffer.data());
}

}  // namespace

SetUp<std::string> real_place(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const std::string parent =
      slash == std::string::npos ? "." : path.substr(0, slash == 0 ? 1 : slash);
  if (name.empty() || name == "." || name == "..") {
    return complain(ErrorCode::kStorePlace,
                    fmt::format("store={}: this is a directory; name a file in it", path));
  }
  const std::string real = real_path(parent);
  if (real.empty()) {
    const int sys_errno = errno;
    return complain(ErrorCode::kStorePlace,
                    fmt::format("store={}: its directory {} cannot be reached: {}", path, parent,
                                to_text(Error{ErrorCode::kSystem, sys_errno})),
                    sys_errno);
  }
  return fmt::format("{}/{}", real == "/" ? "" : real, name);
}

bool lies_in(const std::string& inner, const std::string& outer) {
  if (outer == "/") return true;
  return inner.compare(0, outer.size(), outer) == 0 &&
         (inner.size() == outer.size() || inner[outer.size()] == '/');
}

SetUp<bool> check_forbidden(const std::string& real, const std::vector<std::string>& forbidden) {
  for (const std::string& directory : forbidden) {
    const std::string real_directory = real_path(directory);
    // One that is not there, or hangs, is compared by its name.
    const std::string& compare = real_directory.empty() ? directory : real_directory;
    if (!lies_in(real, compare)) continue;
    return complain(
        ErrorCode::kStorePlace,
        fmt::format(
            "store={}: the store may not lie inside {}: it would cache itself; give another "
            "path with store=",
            real, directory));
  }
  return true;
}

// The numbers are those of statfs(2) and linux/magic.h.
std::string refused_file_system(long type) {
  switch (static_cast<unsigned long>(type) & 0xffffffffu) {
    case 0x6969:
      return "NFS";
    case 0x517b:
    case 0xff534d42:
    case 0xfe534d42:
      return "SMB";
    case 0x65735546:
      return "FUSE";
    case 0x01021997:
      return "9p";
    case 0x5346414f:
    case 0x6b414653:
      return "AFS";
    case 0x00c36400:
      return "Ceph";
    case 0x73757245:
      return "Coda";
    case 0x564c:
      return "NCP";
    case 0x0bd00bd0:
      return "Lustre";
    case 0x47504653:
      return "GPFS";
    case 0x9fa0:
      return "proc";
    case 0x62656572:
      return "sysfs";
    default:
      return "";
  }
}

// The lock is of an open file description and names no process, so open files are looked through.
std::string holder_of(int fd) {
  struct stat mine {};
  if (::fstat(fd, &mine) != 0) return "";
  const Directory processes(::opendir("/proc"));
  if (!processes) return "";
  while (const dirent* process = ::readdir(processes.get())) {
    const long pid = std::strtol(process->d_name, nullptr, 10);
    if (pid <= 0 || pid == ::getpid()) continue;
    const std::string folder = fmt::format("/proc/{}/fd", pid);
    const Directory files(::opendir(folder.c_str()));
    while (const dirent* file = files ? ::readdir(files.get()) : nullptr) {
      struct stat other {};
      if (::stat(fmt::format("{}/{}", folder, file->d_name).c_str(), &other) != 0) continue;
      const bool same =
          other.st_dev == mine.st_dev && other.st_ino == mine.st_ino && S_ISREG(other.st_mode);
      const bool same_device =
          S_ISBLK(other.st_mode) && S_ISBLK(mine.st_mode) && other.st_rdev == mine.st_rdev;
      if (same || same_device) return fmt::format(" by process {}", pid);
    }
  }
  return "";
}

}  // namespace larder::store
