// SPDX-License-Identifier: Apache-2.0
#include "outcome.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <larder/fd.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>
#include <vector>

namespace larder::differ {
namespace {

constexpr std::size_t kShownBytes = 400;
constexpr std::int64_t kLongAgo_s = 1'500'000'000;  // steps set earlier times than this

std::string errno_text(int number) { return std::generic_category().message(number); }

std::string printable(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c >= ' ' && c < 127)
      out.push_back(c);
    else
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return out.size() > kShownBytes ? out.substr(0, kShownBytes) + "..." : out;
}

std::string to_text(const Outcome& outcome) {
  std::string text = fmt::format("{}", outcome.returned);
  if (outcome.error != 0) text += fmt::format(" ({})", errno_text(outcome.error));
  if (!outcome.detail.empty()) text += " " + printable(outcome.detail);
  return text;
}

// Where two long texts part.
std::string first_difference(const std::string& a, const std::string& b) {
  const auto [at, other] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  const auto offset = static_cast<std::size_t>(at - a.begin());
  const std::size_t from = offset < 200 ? 0 : offset - 200;
  return fmt::format("they part at byte {}:\n  plain: {}\n  other: {}\n", offset,
                     printable(a.substr(std::min(from, a.size()), kShownBytes)),
                     printable(b.substr(std::min(from, b.size()), kShownBytes)));
}

struct CloseStream {
  void operator()(DIR* stream) const { ::closedir(stream); }
};

std::vector<std::string> names_of(int directory) {
  Fd fd(::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::vector<std::string> names;
  const std::unique_ptr<DIR, CloseStream> stream(::fdopendir(fd.get()));
  if (!stream) return {fmt::format("<{}>", errno_text(errno))};
  static_cast<void>(fd.release());
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string content_of(int directory, const std::string& name) {
  const Fd fd(::openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return fmt::format("<{}>", errno_text(errno));
  std::string all;
  std::array<char, 65536> chunk;
  for (;;) {
    const ssize_t n = ::read(fd.get(), chunk.data(), chunk.size());
    if (n < 0) return fmt::format("<{}>", errno_text(errno));
    if (n == 0) return all;
    all.append(chunk.data(), static_cast<std::size_t>(n));
  }
}

std::string xattrs_of(int directory, const std::string& name) {
  const std::string path = fmt::format("/proc/self/fd/{}/{}", directory, name);
  std::array<char, 4096> names;
  const ssize_t n = ::llistxattr(path.c_str(), names.data(), names.size());
  if (n <= 0) return n < 0 ? fmt::format("<{}>", errno_text(errno)) : "";
  std::vector<std::string> lines;
  for (const char* at = names.data(); at < names.data() + n; at += std::string(at).size() + 1) {
    std::array<char, 4096> value;
    const ssize_t size = ::lgetxattr(path.c_str(), at, value.data(), value.size());
    lines.push_back(fmt::format(
        "{}={}", at,
        size < 0 ? errno_text(errno) : std::string(value.data(), static_cast<std::size_t>(size))));
  }
  std::sort(lines.begin(), lines.end());
  return fmt::format("{}", fmt::join(lines, ","));
}

void add_tree(int directory, const std::string& below, InodeNames& inodes, std::string& out) {
  for (const std::string& name : names_of(directory)) {
    struct stat st {};
    if (::fstatat(directory, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      out += fmt::format("{}{} <{}>\n", below, name, errno_text(errno));
      continue;
    }
    out += fmt::format("{}{} {} #{} [{}]", below, name, stat_text(st, Times::kModified),
                       inodes.name(st.st_dev, st.st_ino), xattrs_of(directory, name));
    if (S_ISREG(st.st_mode)) {
      const std::string content = content_of(directory, name);
      out += fmt::format(" {} {:x} {}", content.size(), std::hash<std::string>{}(content),
                         printable(content.substr(0, 20)));
    }
    if (S_ISLNK(st.st_mode)) {
      std::array<char, 4096> target;
      const ssize_t n = ::readlinkat(directory, name.c_str(), target.data(), target.size());
      out += " -> " + std::string(target.data(), static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
    }
    out += "\n";
    if (!S_ISDIR(st.st_mode)) continue;
    const Fd fd(::openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (fd.valid()) add_tree(fd.get(), below + name + "/", inodes, out);
  }
}

}  // namespace

std::string time_text(const struct timespec& time) {
  if (time.tv_sec >= kLongAgo_s) return "now";
  return fmt::format("{}.{:09}", time.tv_sec, time.tv_nsec);
}

// The size of a directory is the file system's business, blocks are too.
std::string stat_text(const struct stat& st, Times times) {
  const bool sized = S_ISREG(st.st_mode) || S_ISLNK(st.st_mode);
  std::string text = fmt::format("{:o} links={} {}:{} size={} rdev={}", st.st_mode, st.st_nlink,
                                 st.st_uid, st.st_gid, sized ? st.st_size : 0, st.st_rdev);
  if (times == Times::kModified) text += " m=" + time_text(st.st_mtim);
  return text;
}

void Journal::step(std::string text) {
  last_.push_back(fmt::format("{:6} {}", count_++, printable(text)));
  if (last_.size() > kShown) last_.pop_front();
}

void Journal::differs(const Outcome& plain, const Outcome& other) const {
  fmt::print(stderr, "seed {}: the sides differ behind these steps:\n", seed_);
  for (const std::string& line : last_) fmt::print(stderr, "{}\n", line);
  fmt::print(stderr, "plain: {}\nother: {}\n", to_text(plain), to_text(other));
  if (plain.detail != other.detail)
    fmt::print(stderr, "{}", first_difference(plain.detail, other.detail));
  std::exit(1);
}

std::string tree_text(int root) {
  std::string out;
  InodeNames inodes;
  struct stat st {};
  if (::fstat(root, &st) == 0) out += stat_text(st, Times::kModified) + "\n";
  add_tree(root, "", inodes, out);
  return out;
}

void clear(int root) {
  for (const std::string& name : names_of(root)) {
    if (name == ".larder") continue;
    if (::unlinkat(root, name.c_str(), 0) == 0) continue;
    ::fchmodat(root, name.c_str(), 0700, 0);  // a directory: who is not root must be let in
    const Fd fd(::openat(root, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (fd.valid()) clear(fd.get());
    if (::unlinkat(root, name.c_str(), AT_REMOVEDIR) != 0) {
      fmt::print(stderr, "{} cannot be removed: {}\n", printable(name), errno_text(errno));
      std::exit(2);
    }
  }
}

}  // namespace larder::differ
