// SPDX-License-Identifier: Apache-2.0
// Names, attributes and permissions: every call about a name, at random, on both sides.
#include "names.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <vector>

namespace larder::differ {
namespace {

// Who does a step. The raw calls change this thread's credentials for the file system alone.
struct Actor {
  uid_t uid;
  gid_t gid;
  std::vector<gid_t> groups;
};
const std::vector<Actor>& actors() {
  static const std::vector<Actor> all = {
      {0, 0, {}}, {3001, 4001, {}}, {3002, 4002, {4001, 4003}}, {3003, 4001, {4002}}};
  return all;
}

void act_as(const Actor& actor) {
  ::setresuid(static_cast<uid_t>(-1), 0, static_cast<uid_t>(-1));
  const bool grouped = ::syscall(SYS_setgroups, actor.groups.size(), actor.groups.data()) == 0;
  const bool whole = ::setresgid(static_cast<gid_t>(-1), actor.gid, static_cast<gid_t>(-1)) == 0 &&
                     ::setresuid(static_cast<uid_t>(-1), actor.uid, static_cast<uid_t>(-1)) == 0;
  if (!grouped || !whole) {
    fmt::print(stderr, "cannot act as user {}\n", actor.uid);
    std::exit(2);
  }
}

class Names {
 public:
  Names(const Sides& sides, const NamesOptions& options)
      : sides_(sides), options_(options), random_(options.seed), journal_(options.seed.value) {}

  void run() {
    for (std::uint64_t n = 1; n <= options_.steps; ++n) {
      step();
      if (n % options_.tree_every == 0) compare_trees();
      if (n % options_.clear_every == 0) start_anew();
    }
    compare_trees();
    start_anew();
  }

 private:
  using Call = std::function<Outcome(const Side&, std::size_t side)>;

  // -- what to do it to

  std::string part() {
    static const std::string longest(255, 'l'), too_long(256, 'l');
    static const std::vector<std::string> kParts = {
        "a", "b", "c", "d", "e", ".h", "with space", "\xc3\xa9", "\xff\x01", "x\ny"};
    if (random_.one_in(60)) return random_.one_in(3) ? too_long : longest;
    if (random_.one_in(40)) return random_.one_in(2) ? "." : "..";
    return kParts[random_.below(random_.one_in(4) ? kParts.size() : 5)];
  }
  std::string name() {
    if (random_.one_in(150)) return "";
    std::string path = part();
    if (path == "..") path = ".";  // out of both roots is not ours
    while (random_.one_in(3)) path += "/" + part();
    while (path.find("/..") != path.npos) path.replace(path.find("/.."), 3, "/b");
    if (random_.one_in(30)) path += "/";
    return path;
  }
  mode_t mode() {
    static const std::vector<mode_t> kModes = {0644,  0755,  0600,  0777,  0,    0444, 0111, 0700,
                                               04755, 02755, 01777, 02775, 0070, 0007, 06777};
    return kModes[random_.below(kModes.size())];
  }
  uid_t owner() {
    return random_.one_in(4) ? static_cast<uid_t>(-1) : actors()[random_.below(4)].uid;
  }
  gid_t group() {
    static const std::vector<gid_t> kGroups = {0, 4001, 4002, 4003, 4004, static_cast<gid_t>(-1)};
    return kGroups[random_.below(kGroups.size())];
  }
  struct timespec time() {
    const auto ns = static_cast<long>(random_.below(1'000'000'000));
    if (random_.one_in(8)) return {0, UTIME_NOW};
    if (random_.one_in(8)) return {0, UTIME_OMIT};
    if (random_.one_in(50)) return {0, 1'000'000'000};
    return {static_cast<time_t>(random_.below(1'400'000'000)), ns};
  }
  std::string attribute() {
    static const std::vector<std::string> kNames = {"user.a",    "user.b", "user.",
                                                    "trusted.t", "none",   "user.c"};
    return kNames[random_.below(random_.one_in(5) ? kNames.size() : 2)];
  }

  // -- doing it

  void both(const std::string& text, const Call& call) {
    journal_.step(fmt::format("[{}] {}", who_, text));
    const Outcome plain = call(sides_[0], 0);
    const Outcome other = call(sides_[1], 1);
    journal_.compare(plain, other);
  }

  static Outcome attributes(int directory, const std::string& path, int flags, bool access_time) {
    struct stat st {};
    Outcome outcome = outcome_of(::fstatat(directory, path.c_str(), &st, flags));
    if (outcome.returned == 0) {
      outcome.detail = stat_text(st, Times::kModified);
      if (access_time) outcome.detail += " a=" + time_text(st.st_atim);
    }
    return outcome;
  }

  void step() {
    if (options_.several_users) {
      const Actor& actor = actors()[random_.one_in(2) ? 0 : random_.below(actors().size())];
      act_as(actor);
      who_ = actor.uid;
    }
    if (random_.one_in(20)) {
      // Set-group-ID without the group's right to execute is no right: local file systems take it
      // away with the next change, FUSE leaves it.
      const mode_t mask = random_.one_in(2) ? 022 : mode() & 0767;
      journal_.step(fmt::format("umask {:o}", mask));
      ::umask(mask);
    }
    switch (random_.below(5)) {
      case 0:
        return make_something();
      case 1:
        return move_something();
      case 2:
        return change_something();
      case 3:
        return look_at_something();
      case 4:
        return use_a_file();
    }
  }

  void make_something() {
    const std::string path = name(), other = name();
    const mode_t bits = mode();
    switch (random_.below(7)) {
      case 0:
      case 1:
        return both(fmt::format("mkdir {} {:o}", path, bits), [&](const Side& side, std::size_t) {
          return outcome_of(::mkdirat(side.root, path.c_str(), bits));
        });
      case 2:
        return both(fmt::format("symlink {} -> {}", path, other),
                    [&](const Side& side, std::size_t) {
                      return outcome_of(::symlinkat(other.c_str(), side.root, path.c_str()));
                    });
      case 3: {
        static const std::vector<mode_t> kTypes = {S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFDIR, 0};
        const mode_t type = kTypes[random_.below(kTypes.size())];
        return both(fmt::format("mknod {} {:o}", path, type | bits),
                    [&](const Side& side, std::size_t) {
                      return outcome_of(::mknodat(side.root, path.c_str(), type | bits, 0x103));
                    });
      }
      case 4: {
        const int flags = random_.one_in(3) ? AT_SYMLINK_FOLLOW : 0;
        return both(
            fmt::format("link {} {} {}", path, other, flags), [&](const Side& side, std::size_t) {
              return outcome_of(::linkat(side.root, path.c_str(), side.root, other.c_str(), flags));
            });
      }
      default:
        return open_something(path, bits);
    }
  }

  void open_something(const std::string& path, mode_t bits) {
    static const std::vector<int> kWays = {O_RDONLY, O_WRONLY, O_RDWR};
    int flags = kWays[random_.below(3)] | O_NONBLOCK;
    if (random_.one_in(2)) flags |= O_CREAT;
    if (random_.one_in(4)) flags |= O_EXCL;
    if (random_.one_in(4)) flags |= O_TRUNC;
    if (random_.one_in(6)) flags |= O_APPEND;
    if (random_.one_in(12)) flags |= O_DIRECTORY;
    if (random_.one_in(6)) flags |= O_NOFOLLOW;
    if (random_.one_in(20)) flags |= O_PATH;
    const std::size_t slot = random_.below(kFiles);
    // Without O_CREAT, O_EXCL means nothing; a device or a FIFO is not the file system's.
    if ((flags & O_CREAT) == 0) flags &= ~O_EXCL;
    if (options_.unnamed_files && random_.one_in(12)) {
      flags = kWays[random_.below(3)] | O_TMPFILE;
      if (random_.one_in(4)) flags |= O_EXCL;
    }
    both(fmt::format("open {} {:#o} {:o} as {}", path, flags, bits, slot),
         [&](const Side& side, std::size_t n) {
           Fd fd(::openat(side.root, path.c_str(), flags | O_CLOEXEC, bits));
           Outcome outcome = success_of(fd.get());
           struct stat st {};
           if (fd.valid() && ::fstat(fd.get(), &st) == 0) {
             can_[slot] = S_ISREG(st.st_mode)   ? Can::kAll
                          : S_ISDIR(st.st_mode) ? Can::kLook
                                                : Can::kKeepNothing;
             outcome.detail = stat_text(st, Times::kModified);
           }
           files_[slot][n] = std::move(fd);
           return outcome;
         });
  }

  void move_something() {
    const std::string path = name(), other = name();
    switch (random_.below(5)) {
      case 0:
        return both(fmt::format("unlink {}", path), [&](const Side& side, std::size_t) {
          return outcome_of(::unlinkat(side.root, path.c_str(), 0));
        });
      case 1:
        return both(fmt::format("rmdir {}", path), [&](const Side& side, std::size_t) {
          return outcome_of(::unlinkat(side.root, path.c_str(), AT_REMOVEDIR));
        });
      default: {
        static const std::vector<unsigned> kFlags = {
            0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE | RENAME_NOREPLACE, 64};
        const unsigned flags = kFlags[random_.below(kFlags.size())];
        return both(fmt::format("rename {} {} {}", path, other, flags), [&](const Side& side,
                                                                            std::size_t) {
          return outcome_of(::renameat2(side.root, path.c_str(), side.root, other.c_str(), flags));
        });
      }
    }
  }

  void change_something() {
    const std::string path = name();
    const int nofollow = random_.one_in(2) ? AT_SYMLINK_NOFOLLOW : 0;
    switch (random_.below(6)) {
      case 0: {
        const mode_t bits = mode();
        return both(fmt::format("chmod {} {:o}", path, bits), [&](const Side& side, std::size_t) {
          return outcome_of(::fchmodat(side.root, path.c_str(), bits, 0));
        });
      }
      case 1: {
        const uid_t uid = owner();
        const gid_t gid = group();
        return both(fmt::format("chown {} {}:{} {}", path, uid, gid, nofollow),
                    [&](const Side& side, std::size_t) {
                      return outcome_of(::fchownat(side.root, path.c_str(), uid, gid, nofollow));
                    });
      }
      case 2: {
        const std::array<struct timespec, 2> times = {time(), time()};
        return both(fmt::format("utimens {} {}.{} {}.{} {}", path, times[0].tv_sec,
                                times[0].tv_nsec, times[1].tv_sec, times[1].tv_nsec, nofollow),
                    [&](const Side& side, std::size_t) {
                      const Outcome outcome =
                          outcome_of(::utimensat(side.root, path.c_str(), times.data(), nofollow));
                      if (outcome.returned != 0) return outcome;
                      // On the way to a link that link itself may be followed, and so accessed.
                      const bool same_since = nofollow == 0 || path.find('/') == path.npos;
                      return attributes(side.root, path, nofollow,
                                        same_since && times[0].tv_nsec != UTIME_OMIT);
                    });
      }
      case 3: {
        const auto size = static_cast<off_t>(random_.below(20'000));
        return both(fmt::format("truncate {} {}", path, size), [&](const Side& side, std::size_t) {
          return outcome_of(::truncate((side.path + "/" + path).c_str(), size));
        });
      }
      case 4: {
        const std::string key = attribute(), value(random_.below(300), 'v');
        const int flags = static_cast<int>(random_.below(3));
        return both(fmt::format("setxattr {} {} {} bytes {}", path, key, value.size(), flags),
                    [&](const Side& side, std::size_t) {
                      return outcome_of(::lsetxattr((side.path + "/" + path).c_str(), key.c_str(),
                                                    value.data(), value.size(), flags));
                    });
      }
      case 5: {
        const std::string key = attribute();
        return both(
            fmt::format("removexattr {} {}", path, key), [&](const Side& side, std::size_t) {
              return outcome_of(::lremovexattr((side.path + "/" + path).c_str(), key.c_str()));
            });
      }
    }
  }

  void look_at_something() {
    const std::string path = name();
    const int nofollow = random_.one_in(2) ? AT_SYMLINK_NOFOLLOW : 0;
    switch (random_.below(6)) {
      case 0:
      case 1:
        return both(fmt::format("stat {} {}", path, nofollow), [&](const Side& side, std::size_t) {
          return attributes(side.root, path, nofollow, false);
        });
      case 2: {
        const int wanted = static_cast<int>(random_.below(8));
        return both(fmt::format("access {} {}", path, wanted), [&](const Side& side, std::size_t) {
          return outcome_of(::faccessat(side.root, path.c_str(), wanted, AT_EACCESS));
        });
      }
      case 3:
        return both(fmt::format("readlink {}", path), [&](const Side& side, std::size_t) {
          std::array<char, 4096> target;
          const ssize_t n = ::readlinkat(side.root, path.c_str(), target.data(), target.size());
          Outcome outcome = outcome_of(n);
          if (n > 0) outcome.detail.assign(target.data(), static_cast<std::size_t>(n));
          return outcome;
        });
      case 4:
        return both(fmt::format("list {}", path),
                    [&](const Side& side, std::size_t) { return listing(side.root, path); });
      case 5: {
        const std::string key = attribute();
        const std::size_t room = random_.one_in(3) ? random_.below(200) : 1000;
        return both(
            fmt::format("getxattr {} {} {}", path, key, room), [&](const Side& side, std::size_t) {
              std::string value(room, '\0');
              const ssize_t n =
                  ::lgetxattr((side.path + "/" + path).c_str(), key.c_str(), value.data(), room);
              Outcome outcome = outcome_of(n);
              if (n > 0 && room != 0) outcome.detail = value.substr(0, static_cast<std::size_t>(n));
              return outcome;
            });
      }
    }
  }

  static Outcome listing(int root, const std::string& path) {
    Fd fd(::openat(root, path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    Outcome outcome = success_of(fd.get());
    if (!fd.valid()) return outcome;
    DIR* stream = ::fdopendir(fd.release());
    std::vector<std::string> lines;
    while (const dirent* entry = ::readdir(stream))
      lines.push_back(fmt::format("{}:{}", entry->d_name, entry->d_type));
    ::closedir(stream);
    std::sort(lines.begin(), lines.end());
    outcome.detail = fmt::format("{}", fmt::join(lines, " "));
    return outcome;
  }

  // One of the files that are open; its name may have gone.
  void use_a_file() {
    const std::size_t slot = random_.below(kFiles);
    if (!files_[slot][0].valid()) return;
    const auto on = [&](const std::string& text, const std::function<Outcome(int)>& call) {
      both(fmt::format("{} of {}", text, slot),
           [&](const Side&, std::size_t n) { return call(files_[slot][n].get()); });
    };
    const auto size = static_cast<off_t>(random_.below(10'000));
    std::uint64_t what = random_.below(can_[slot] == Can::kLook ? 4 : 13);
    if (can_[slot] == Can::kKeepNothing && (what == 4 || what == 9 || what == 10)) what = 1;
    switch (what) {
      case 0:
        both(fmt::format("close {}", slot), [&](const Side&, std::size_t n) {
          return outcome_of(::close(files_[slot][n].release()));
        });
        return;
      case 1:
      case 2:
        return on("fstat", [](int fd) {
          struct stat st {};
          Outcome outcome = outcome_of(::fstat(fd, &st));
          outcome.detail = stat_text(st, Times::kModified);
          return outcome;
        });
      case 3:
        return on("fsync", [](int fd) { return outcome_of(::fsync(fd)); });
      case 4: {
        const std::string bytes(random_.below(9000), static_cast<char>('a' + random_.below(26)));
        return on(fmt::format("write {}", bytes.size()),
                  [&](int fd) { return outcome_of(::write(fd, bytes.data(), bytes.size())); });
      }
      case 5: {
        const auto at = static_cast<off_t>(random_.below(12'000));
        const std::size_t count = random_.below(9000);
        return on(fmt::format("pread {} at {}", count, at), [&](int fd) {
          std::string bytes(count, '\0');
          const ssize_t n = ::pread(fd, bytes.data(), count, at);
          Outcome outcome = outcome_of(n);
          if (n > 0) outcome.detail = bytes.substr(0, static_cast<std::size_t>(n));
          return outcome;
        });
      }
      case 6:
        return on(fmt::format("ftruncate {}", size),
                  [&](int fd) { return outcome_of(::ftruncate(fd, size)); });
      case 7: {
        const mode_t bits = mode();
        return on(fmt::format("fchmod {:o}", bits),
                  [&](int fd) { return outcome_of(::fchmod(fd, bits)); });
      }
      case 8: {
        const std::array<struct timespec, 2> times = {time(), time()};
        return on("futimens", [&](int fd) { return outcome_of(::futimens(fd, times.data())); });
      }
      case 9: {
        const std::string key = attribute();
        return on("fsetxattr " + key,
                  [&](int fd) { return outcome_of(::fsetxattr(fd, key.c_str(), "f", 1, 0)); });
      }
      case 10: {
        const std::string key = attribute();
        return on("fgetxattr " + key, [&](int fd) {
          std::array<char, 400> value;
          return outcome_of(::fgetxattr(fd, key.c_str(), value.data(), value.size()));
        });
      }
      case 11: {
        static const std::vector<int> kModes = {0, FALLOC_FL_KEEP_SIZE,
                                                FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
                                                FALLOC_FL_ZERO_RANGE};
        const int how = kModes[random_.below(kModes.size())];
        return on(fmt::format("fallocate {} {}", how, size),
                  [&](int fd) { return outcome_of(::fallocate(fd, how, size / 2, size)); });
      }
      case 12: {  // what was opened without a name gets one; what has lost its last gets none
        const std::string path = name();
        return both(fmt::format("link {} as {}", slot, path), [&](const Side& side, std::size_t n) {
          const std::string held = fmt::format("/proc/self/fd/{}", files_[slot][n].get());
          return outcome_of(
              ::linkat(AT_FDCWD, held.c_str(), side.root, path.c_str(), AT_SYMLINK_FOLLOW));
        });
      }
    }
  }

  // -- the whole

  void compare_trees() {
    if (options_.several_users) act_as(actors()[0]);
    journal_.step("compare all");
    const Outcome plain{0, 0, tree_text(sides_[0].root)};
    journal_.compare(plain, {0, 0, tree_text(sides_[1].root)});
    if (options_.behind >= 0) journal_.compare(plain, {0, 0, tree_text(options_.behind)});
  }

  void start_anew() {
    if (options_.several_users) act_as(actors()[0]);
    journal_.step("remove all");
    for (auto& file : files_)
      for (Fd& fd : file) fd.reset();
    for (const Side& side : sides_) {
      ::fchmod(side.root, 0777);
      clear(side.root);
      ::fchown(side.root, ::geteuid(), ::getegid());
    }
  }

  static constexpr std::size_t kFiles = 8;
  const Sides sides_;
  const NamesOptions options_;
  Random random_;
  Journal journal_;
  std::array<std::array<Fd, 2>, kFiles> files_;
  // Of what is removed while it is open and is no file of bytes, larder has nothing open: a
  // directory is looked at, and not changed any more; a FIFO keeps no attribute of its own. What is
  // written to a FIFO is the kernel's affair, and so is the time of that.
  enum class Can : std::uint8_t { kAll, kLook, kKeepNothing };
  std::array<Can, kFiles> can_{};
  uid_t who_ = ::geteuid();
};

}  // namespace

void compare_names(const Sides& sides, const NamesOptions& options) { Names(sides, options).run(); }

}  // namespace larder::differ
