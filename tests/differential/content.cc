// SPDX-License-Identifier: Apache-2.0
// Content: reads, writes, mappings, holes and copies at random sizes and places, on both sides.
//
// Each file has several descriptors, opened differently, so that what one writes another reads.
// Pages are let go of now and then, so that reads reach the file system.
#include "content.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <larder/fd.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

namespace larder::differ {
namespace {

constexpr std::size_t kFiles = 3;
constexpr std::size_t kOpen = 4;  // descriptors of each file

class Mapping {
 public:
  Mapping(int fd, std::size_t length, int protection, int flags)
      : at_(::mmap(nullptr, length, protection, flags, fd, 0)), length_(length) {}
  Mapping(Mapping&& other) noexcept
      : at_(std::exchange(other.at_, MAP_FAILED)), length_(other.length_) {}
  Mapping& operator=(Mapping&&) = delete;
  ~Mapping() {
    if (valid()) ::munmap(at_, length_);
  }
  bool valid() const { return at_ != MAP_FAILED; }
  char* data() const { return static_cast<char*>(at_); }
  std::size_t size() const { return length_; }

 private:
  void* at_;
  std::size_t length_;
};

class Content {
 public:
  Content(const Sides& sides, const ContentOptions& options)
      : sides_(sides), options_(options), random_(options.seed), journal_(options.seed.value) {}

  void run() {
    for (std::size_t file = 0; file < kFiles; ++file)
      for (std::size_t slot = 0; slot < kOpen; ++slot) reopen(file, slot);
    for (std::uint64_t n = 1; n <= options_.steps; ++n) {
      step();
      if (n % 200 == 0) compare_all();
    }
    compare_all();
    for (auto& file : open_)
      for (auto& pair : file)
        for (Fd& fd : pair) fd.reset();
    for (const Side& side : sides_) clear(side.root);
  }

 private:
  using Call = std::function<Outcome(int fd, std::size_t side)>;

  static std::string name_of(std::size_t file) { return fmt::format("content-{}", file); }

  off_t place() {
    const std::uint64_t most = options_.size_max;
    switch (random_.below(4)) {
      case 0:
        return static_cast<off_t>(random_.below(most) / 4096 * 4096);
      case 1:
        return static_cast<off_t>(random_.below(20'000));
      default:
        return static_cast<off_t>(random_.below(most));
    }
  }
  std::size_t count() {
    switch (random_.below(4)) {
      case 0:
        return (1 + random_.below(16)) * 4096;
      case 1:
        return 1 + random_.below(150'000);
      default:
        return 1 + random_.below(9000);
    }
  }
  std::string bytes(std::size_t n) {
    std::string made(n, '\0');
    const std::uint64_t salt = random_.next();
    for (std::size_t i = 0; i < n; ++i)
      made[i] = static_cast<char>('!' + (salt / (1 + i % 7) + i / 5) % 90);
    return made;
  }

  void on(std::size_t file, std::size_t slot, const std::string& text, const Call& call) {
    journal_.step(fmt::format("{} of file {}, descriptor {}", text, file, slot));
    const Outcome plain = call(open_[file][slot][0].get(), 0);
    const Outcome other = call(open_[file][slot][1].get(), 1);
    journal_.compare(plain, other);
  }

  void reopen(std::size_t file, std::size_t slot) {
    // The first can all; the others differ.
    static const std::array<int, 6> kWays = {O_RDWR,   O_RDONLY,          O_WRONLY,
                                             O_RDONLY, O_RDWR | O_APPEND, O_RDWR | O_DSYNC};
    int flags = slot == 0 ? O_RDWR : kWays[random_.below(kWays.size())];
    if (slot != 0 && (flags & O_ACCMODE) != O_RDONLY && random_.one_in(10)) flags |= O_TRUNC;
    journal_.step(fmt::format("open file {} as {} with {:#o}", file, slot, flags));
    for (std::size_t n = 0; n < 2; ++n) {
      open_[file][slot][n] =
          Fd(::openat(sides_[n].root, name_of(file).c_str(), flags | O_CREAT | O_CLOEXEC, 0644));
      if (!open_[file][slot][n].valid()) journal_.differs({}, outcome_of(-1));
    }
  }

  void step() {
    const std::size_t file = random_.below(kFiles), slot = random_.below(kOpen);
    switch (random_.below(16)) {
      case 0:
      case 1:
      case 2:
        return write_some(file, slot);
      case 3:
      case 4:
      case 5:
        return read_some(file, slot);
      case 6:
        return cut(file, slot);
      case 7:
        return allocate(file, slot);
      case 8:
        return copy(file, slot);
      case 9:
        return map_shared(file);
      case 10:
        return map_to_look(file, slot);
      case 11:
        return find_data(file, slot);
      case 12:
        return reopen(file, slot);
      case 13:
        return on(file, slot, "fsync", [](int fd, std::size_t) { return outcome_of(::fsync(fd)); });
      case 14:
        // Advice, so nothing to compare: the kernel's clean pages go.
        return on(file, slot, "forget", [](int fd, std::size_t) {
          return outcome_of(::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
        });
      case 15:
        return move_name(file);
    }
  }

  void write_some(std::size_t file, std::size_t slot) {
    const off_t at = place();
    const std::string data = bytes(count());
    switch (random_.below(3)) {
      case 0:
        return on(file, slot, fmt::format("write {}", data.size()), [&](int fd, std::size_t) {
          return outcome_of(::write(fd, data.data(), data.size()));
        });
      case 1: {
        const std::size_t first = data.size() / 3;
        const std::array<iovec, 2> parts = {
            iovec{const_cast<char*>(data.data()), first},
            iovec{const_cast<char*>(data.data()) + first, data.size() - first}};
        return on(
            file, slot, fmt::format("pwritev {} at {}", data.size(), at),
            [&](int fd, std::size_t) { return outcome_of(::pwritev(fd, parts.data(), 2, at)); });
      }
      default:
        return on(file, slot, fmt::format("pwrite {} at {}", data.size(), at),
                  [&](int fd, std::size_t) {
                    return outcome_of(::pwrite(fd, data.data(), data.size(), at));
                  });
    }
  }

  void read_some(std::size_t file, std::size_t slot) {
    const off_t at = place();
    const std::size_t n = random_.one_in(6) ? options_.size_max * 2 : count();
    on(file, slot, fmt::format("pread {} at {}", n, at), [&](int fd, std::size_t) {
      std::string data(n, '\0');
      const ssize_t got = ::pread(fd, data.data(), n, at);
      Outcome outcome = outcome_of(got);
      if (got > 0) outcome.detail = data.substr(0, static_cast<std::size_t>(got));
      return outcome;
    });
  }

  void cut(std::size_t file, std::size_t slot) {
    const off_t size = place();
    if (random_.one_in(3)) {
      journal_.step(fmt::format("truncate file {} to {}", file, size));
      std::array<Outcome, 2> got;
      for (std::size_t n = 0; n < 2; ++n)
        got[n] = outcome_of(::truncate((sides_[n].path + "/" + name_of(file)).c_str(), size));
      return journal_.compare(got[0], got[1]);
    }
    on(file, slot, fmt::format("ftruncate {}", size),
       [&](int fd, std::size_t) { return outcome_of(::ftruncate(fd, size)); });
  }

  void allocate(std::size_t file, std::size_t slot) {
    static const std::array<int, 5> kModes = {
        0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE,
        FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
    const int mode = kModes[random_.below(kModes.size())];
    const off_t at = place();
    const auto length = static_cast<off_t>(count());
    on(file, slot, fmt::format("fallocate {} {} at {}", mode, length, at),
       [&](int fd, std::size_t) { return outcome_of(::fallocate(fd, mode, at, length)); });
  }

  void copy(std::size_t file, std::size_t slot) {
    const std::size_t other = random_.below(kFiles);
    const off64_t from = place(), to = place();
    const std::size_t length = count();
    on(file, slot, fmt::format("copy {} of file {} at {} to {}", length, other, from, to),
       [&](int fd, std::size_t side) {
         off64_t in = from, out = to;
         return outcome_of(
             ::copy_file_range(open_[other][0][side].get(), &in, fd, &out, length, 0));
       });
  }

  // Written through a mapping; then all descriptors see it, with or without msync.
  void map_shared(std::size_t file) {
    struct stat st {};
    if (::fstat(open_[file][0][0].get(), &st) != 0 || st.st_size == 0) return;
    const auto size = static_cast<std::size_t>(st.st_size);
    const std::size_t at = random_.below(size);
    const std::string data = bytes(std::min(size - at, count()));
    const bool sync = random_.one_in(2);
    on(file, 0, fmt::format("mapped write {} at {}{}", data.size(), at, sync ? ", msync" : ""),
       [&](int fd, std::size_t) {
         const Mapping map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);
         if (!map.valid()) return outcome_of(-1);
         std::memcpy(map.data() + at, data.data(), data.size());
         if (sync && ::msync(map.data(), size, MS_SYNC) != 0) return outcome_of(-1);
         return Outcome{};
       });
  }

  void map_to_look(std::size_t file, std::size_t slot) {
    struct stat st {};
    if (::fstat(open_[file][slot][0].get(), &st) != 0 || st.st_size == 0) return;
    const auto size = static_cast<std::size_t>(st.st_size);
    const int flags = random_.one_in(2) ? MAP_PRIVATE : MAP_SHARED;
    on(file, slot, fmt::format("mapped read {}", flags), [&](int fd, std::size_t) {
      Mapping map(fd, size, PROT_READ | (flags == MAP_PRIVATE ? PROT_WRITE : 0), flags);
      if (!map.valid()) return outcome_of(-1);
      if (flags == MAP_PRIVATE) map.data()[size / 2] = '#';  // nobody else sees it
      return Outcome{0, 0, std::string(map.data(), size)};
    });
  }

  // Where holes are is the file system's own affair; what is called one must read as zeros. The
  // next write goes to the start of the file on both sides, whatever each found.
  void find_data(std::size_t file, std::size_t slot) {
    const off_t at = place();
    const int whence = random_.one_in(2) ? SEEK_DATA : SEEK_HOLE;
    on(file, slot, fmt::format("seek {} from {}", whence == SEEK_DATA ? "data" : "hole", at),
       [&](int fd, std::size_t) {
         const Outcome outcome = found_data(fd, at, whence);
         ::lseek(fd, 0, SEEK_SET);
         return outcome;
       });
  }

  static Outcome found_data(int fd, off_t at, int whence) {
    const off_t found = ::lseek(fd, at, whence);
    if (found < 0 && errno == ENXIO && whence == SEEK_DATA)
      return only_zeros(fd, at, -1) ? Outcome{} : Outcome{-2, 0, "data called none"};
    if (found < 0) return outcome_of(-1);
    const bool good = found >= at && (whence == SEEK_HOLE || only_zeros(fd, at, found));
    return good ? Outcome{} : Outcome{-2, 0, "data called a hole"};
  }

  // `file` may be open for writing alone, and have lost its name.
  static bool only_zeros(int file, off_t from, off_t to) {
    const Fd readable(::open(fmt::format("/proc/self/fd/{}", file).c_str(), O_RDONLY | O_CLOEXEC));
    const int fd = readable.get();
    struct stat st {};
    if (to < 0) to = ::fstat(fd, &st) == 0 ? st.st_size : 0;
    if (to <= from) return true;
    std::string data(static_cast<std::size_t>(to - from), '\0');
    const ssize_t n = ::pread(fd, data.data(), data.size(), from);
    return n >= 0 && data.find_first_not_of('\0') == data.npos;
  }

  // The name changes, or another file takes it; descriptors keep what they had.
  void move_name(std::size_t file) {
    const std::string name = name_of(file);
    const std::uint64_t how = random_.below(3);
    journal_.step(fmt::format("{} {}",
                              how == 0   ? "replace"
                              : how == 1 ? "remove"
                                         : "move away and back",
                              name));
    std::array<Outcome, 2> got;
    const std::string data = bytes(count());
    for (std::size_t n = 0; n < 2; ++n) {
      const int root = sides_[n].root;
      if (how == 1) {
        got[n] = outcome_of(::unlinkat(root, name.c_str(), 0));
      } else if (how == 2) {
        ::renameat(root, name.c_str(), root, "away");
        got[n] = outcome_of(::renameat(root, "away", root, name.c_str()));
      } else {
        const Fd fresh(::openat(root, "fresh", O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0644));
        if (::write(fresh.get(), data.data(), data.size()) < 0)
          journal_.differs({}, outcome_of(-1));
        got[n] = outcome_of(::renameat(root, "fresh", root, name.c_str()));
      }
    }
    journal_.compare(got[0], got[1]);
    if (how != 2) reopen(file, 0);
  }

  void compare_all() {
    journal_.step("compare all");
    for (std::size_t file = 0; file < kFiles; ++file) {
      on(file, 0, "whole", [](int fd, std::size_t) {
        struct stat st {};
        if (::fstat(fd, &st) != 0) return outcome_of(-1);
        std::string data(static_cast<std::size_t>(st.st_size) + 1, '\0');
        const ssize_t n = ::pread(fd, data.data(), data.size(), 0);
        if (n < 0) return outcome_of(-1);
        data.resize(static_cast<std::size_t>(n));
        return Outcome{0, 0, fmt::format("size {} ", st.st_size) + data};
      });
      // Dirty pages of mappings go out, so that the share can be looked at.
      on(file, 0, "fsync", [](int fd, std::size_t) { return outcome_of(::fsync(fd)); });
    }
    const Outcome plain{0, 0, tree_text(sides_[0].root)};
    journal_.compare(plain, {0, 0, tree_text(sides_[1].root)});
    if (options_.behind >= 0) journal_.compare(plain, {0, 0, tree_text(options_.behind)});
  }

  const Sides sides_;
  const ContentOptions options_;
  Random random_;
  Journal journal_;
  std::array<std::array<std::array<Fd, 2>, kOpen>, kFiles> open_;
};

}  // namespace

void compare_content(const Sides& sides, const ContentOptions& options) {
  Content(sides, options).run();
}

}  // namespace larder::differ
