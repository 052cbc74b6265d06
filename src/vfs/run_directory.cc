// SPDX-License-Identifier: Apache-2.0
#include <larder/local_socket.h>

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

namespace larder {
namespace {

// FNV-1a: the same in each program that looks for a mount, whatever it was built with.
std::uint64_t sum_of(std::string_view text) {
  std::uint64_t sum = 0xcbf29ce484222325u;
  for (const char c : text) sum = (sum ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return sum;
}

std::string in_run_directory(const std::string& name) { return run_directory() + "/" + name; }

// Empty where it is no link.
std::string target_of(const std::string& path) {
  std::array<char, PATH_MAX> target{};
  const ssize_t n = ::readlink(path.c_str(), target.data(), target.size());
  return n < 0 ? "" : std::string(target.data(), static_cast<std::size_t>(n));
}

}  // namespace

std::string run_directory() {
  if (const char* chosen = std::getenv("LARDER_RUN"); chosen && *chosen == '/') return chosen;
  if (::geteuid() == 0) return "/run/larder";
  if (const char* own = std::getenv("XDG_RUNTIME_DIR"); own && *own == '/')
    return std::string(own) + "/larder";
  return fmt::format("/tmp/larder-{}", ::geteuid());
}

SetUp<std::string> make_run_directory() {
  std::string path = run_directory();
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return complain(ErrorCode::kSystem,
                    fmt::format("the run directory {} cannot be made: {}; larderctl reaches this "
                                "larder through its mount only",
                                path, std::generic_category().message(errno)),
                    errno);
  struct stat found {};
  const bool ours = ::lstat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode) &&
                    found.st_uid == ::geteuid() && (found.st_mode & 022) == 0;
  if (!ours)
    return complain(ErrorCode::kSystem,
                    fmt::format("the run directory {} is not ours alone to write; remove it, or "
                                "name another in LARDER_RUN",
                                path));
  return path;
}

std::string socket_of_process(pid_t pid) { return in_run_directory(fmt::format("{}.sock", pid)); }

std::string link_of_mount(const std::string& mountpoint) {
  const std::filesystem::path path = std::filesystem::path(mountpoint).lexically_normal();
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::canonical(path.parent_path(), error);
  const std::filesystem::path place = error ? path : parent / path.filename();
  return in_run_directory(fmt::format("mount-{:016x}", sum_of(place.string())));
}

std::string link_of_store(const std::string& path) {
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0) return "";
  if (S_ISBLK(found.st_mode))
    return in_run_directory(
        fmt::format("store-block-{}-{}", major(found.st_rdev), minor(found.st_rdev)));
  return in_run_directory(fmt::format("store-{:x}-{}", found.st_dev, found.st_ino));
}

Status make_link(const std::string& name, const std::string& target) {
  const std::string fresh = fmt::format("{}.{}", name, ::getpid());
  const std::string file = std::filesystem::path(target).filename().string();
  ::unlink(fresh.c_str());
  if (::symlink(file.c_str(), fresh.c_str()) != 0) return fail(ErrorCode::kSystem, errno);
  if (::rename(fresh.c_str(), name.c_str()) != 0) return fail(ErrorCode::kSystem, errno);
  return {};
}

void drop_link(const std::string& name, const std::string& target) {
  if (target_of(name) == std::filesystem::path(target).filename().string()) ::unlink(name.c_str());
}

void clean_run_directory() {
  std::error_code error;
  std::vector<std::string> sockets, links;
  for (const auto& entry : std::filesystem::directory_iterator(run_directory(), error)) {
    if (entry.is_symlink(error)) {
      links.push_back(entry.path().string());
    } else if (entry.is_socket(error) && entry.path().extension() == ".sock") {
      sockets.push_back(entry.path().string());
    }
  }
  for (const std::string& path : sockets) {
    const auto connected = LocalSocket::connect(path);
    if (!connected && connected.error().sys_errno == ECONNREFUSED) ::unlink(path.c_str());
  }
  for (const std::string& path : links) {
    if (!std::filesystem::exists(path, error)) ::unlink(path.c_str());
  }
}

}  // namespace larder
