// SPDX-License-Identifier: Apache-2.0
// The rows of `larder-bench meta`: many small files, whose names, attributes and content are known
// and trusted. The share is a local directory, so what is measured is larder alone.
//
// Against passthrough_ll with cache=always,timeout=60 on the same directory, larder with
// coherency=ttl=60; the local file system itself is reported. A second larder with close-to-open
// says what an open costs the share.
//
// A plain stat(2) of a name that the kernel trusts reaches neither: such a row says that nothing is
// lost. What the two cost themselves shows where the kernel is told to ask (AT_STATX_FORCE_SYNC).
#include <fcntl.h>
#include <fmt/format.h>
#include <larder/clock.h>
#include <larder/fd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>

#include "bench/rows.h"

namespace larder::bench {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kPerDirectory = 100;
constexpr unsigned kPasses = 5;  // over all files, in one measurement
constexpr std::size_t kSmall = 1200;

// DIR/000/00000 ... in directories of a hundred.
std::string name_of(unsigned n) { return fmt::format("{:03}/{:05}", n / kPerDirectory, n); }

SetUp<std::monostate> failed(const std::string& what) {
  return complain(ErrorCode::kSystem, fmt::format("{}: {}", what, std::strerror(errno)), errno);
}

SetUp<std::monostate> make_tree(const std::string& root, unsigned files) {
  std::error_code error;
  const std::string content(kSmall, 'c');
  for (unsigned n = 0; n < files; ++n) {
    if (n % kPerDirectory == 0)
      fs::create_directories(fmt::format("{}/{:03}", root, n / kPerDirectory), error);
    const std::string path = root + "/" + name_of(n);
    const Fd file(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    const struct timespec old[2] = {{1'600'000'000, 0}, {1'600'000'000, 0}};
    if (!file.valid() || ::write(file.get(), content.data(), content.size()) < 0 ||
        ::futimens(file.get(), old) != 0)
      return failed(path);
  }
  return std::monostate{};
}

using Touch = SetUp<std::monostate> (*)(const std::string& path);

SetUp<std::monostate> stat_it(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 ? std::monostate{} : failed(path);
}

SetUp<std::monostate> stat_asked(const std::string& path) {
  struct statx st {};
  constexpr int kAsk = AT_STATX_FORCE_SYNC | AT_SYMLINK_NOFOLLOW;
  return ::statx(AT_FDCWD, path.c_str(), kAsk, STATX_BASIC_STATS, &st) == 0 ? std::monostate{}
                                                                            : failed(path);
}

SetUp<std::monostate> open_read_close(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 4096> bytes;
  const bool read = file.valid() && ::read(file.get(), bytes.data(), bytes.size()) == kSmall;
  return read ? std::monostate{} : failed(path);
}

// Calls per second.
SetUp<double> rate_of(const std::string& root, unsigned files, unsigned passes, Touch touch) {
  const Nanoseconds start_ns = system_clock().mono_ns();
  for (unsigned pass = 0; pass < passes; ++pass) {
    for (unsigned n = 0; n < files; ++n) TRY_OK(touch(root + "/" + name_of(n)));
  }
  const auto passed_ns = static_cast<double>(system_clock().mono_ns() - start_ns);
  return files * passes * 1e9 / passed_ns;
}

// Runs per second of a program, its output thrown away.
SetUp<double> rate_of_program(const std::vector<std::string>& argv, const std::string& log) {
  const Nanoseconds start_ns = system_clock().mono_ns();
  TRY_OK(run(argv, log));
  return 1e9 / static_cast<double>(system_clock().mono_ns() - start_ns);
}

struct Side {
  const Mounted& larder;
  std::string yardstick_name, yardstick;
};

// Work of larder between two looks at its counters. Share calls of every kind, not data calls only.
SetUp<Work> work_since(const Mounted& larder, const ctl::Figures& before) {
  TRY(const ctl::Figures after, larder.figures());
  TRY(Work work, work_between(before, after));
  work.share_calls = after.counter("netfs.calls") - before.counter("netfs.calls");
  return work;
}

SetUp<Row> row(const Plan& plan, const Side& side, std::string name, unsigned files, Touch touch) {
  // Known to both before it is measured.
  TRY_OK(rate_of(side.larder.path(), files, 2, touch));
  TRY_OK(rate_of(side.yardstick, files, 2, touch));
  TRY(const ctl::Figures before, side.larder.figures());
  TRY(const Comparison rates,
      compare(
          plan.rounds, [&](unsigned) { return rate_of(side.larder.path(), files, kPasses, touch); },
          [&](unsigned) { return rate_of(side.yardstick, files, kPasses, touch); }));
  TRY(const Work work, work_since(side.larder, before));
  fmt::print(stderr, "larder-bench: {} done\n", name);
  return Row{std::move(name), "calls/s", side.yardstick_name, 1, rates, work};
}

constexpr const char* kTtl = ",coherency=ttl=60,size=1G";

SetUp<std::monostate> small_files(const Plan& plan, const std::string& share, Outcome& outcome) {
  const unsigned files = plan.meta_files / 20;
  TRY(const Mounted passthrough,
      mount_passthrough(plan.directory, "passthrough", share, PassthroughCache::kAlways));
  TRY(const Mounted larder, mount_larder(plan.programs, plan.directory, "ttl", share, kTtl));
  const Side fuse{larder, "passthrough_ll", passthrough.path()};
  const Side local{larder, "local files", share};
  struct Wanted {
    const Side& side;
    const char* name;
    Touch touch;
    double at_least;  // 0: reported
  };
  for (const Wanted& one :
       {Wanted{fuse, "meta_stat", stat_it, 0.95}, Wanted{fuse, "meta_stat_asked", stat_asked, 1.2},
        Wanted{fuse, "meta_open", open_read_close, 1.2},
        Wanted{local, "meta_stat_local", stat_it, 0},
        Wanted{local, "meta_open_local", open_read_close, 0}}) {
    TRY(Row measured, row(plan, one.side, one.name, files, one.touch));
    if (one.at_least > 0) {
      outcome.marks.push_back(
          {one.name, measured.rates.ratio.median, Mark::Bound::kAtLeast, one.at_least});
    }
    outcome.rows.push_back(std::move(measured));
  }
  return std::monostate{};
}

// What a warm open costs the share where each asks it.
SetUp<std::monostate> close_to_open(const Plan& plan, const std::string& share, Outcome& outcome) {
  const unsigned files = plan.meta_files / 20;
  TRY(const Mounted larder, mount_larder(plan.programs, plan.directory, "cto", share,
                                         ",attr_timeout=1h,entry_timeout=1h,size=512M"));
  TRY_OK(rate_of(larder.path(), files, 2, open_read_close));
  TRY(const ctl::Figures before, larder.figures());
  TRY_OK(rate_of(larder.path(), files, 1, open_read_close));
  TRY(const Work work, work_since(larder, before));
  const double calls = static_cast<double>(work.share_calls) / files;
  outcome.marks.push_back({"cto_calls_per_open_most", calls, Mark::Bound::kAtMost, 1});
  outcome.marks.push_back({"cto_calls_per_open_least", calls, Mark::Bound::kAtLeast, 1});
  return std::monostate{};
}

using Words = std::vector<std::string>;

Words git(const std::string& root, const Words& words) {
  Words argv{"git", "--no-optional-locks",  "-c", "safe.directory=*",
             "-c",  "core.fsmonitor=false", "-C", root};
  argv.insert(argv.end(), words.begin(), words.end());
  return argv;
}

// A program on a large tree, beside itself on the share's own directory. It has run there once.
SetUp<Row> program_row(const Plan& plan, const Side& side, std::string name,
                       const std::function<Words(const std::string& root)>& words) {
  const std::string log = plan.directory + "/programs.log";
  TRY_OK(run(words(side.larder.path()), log));
  TRY(const ctl::Figures before, side.larder.figures());
  TRY(const Comparison rates,
      compare(
          std::min(plan.rounds, 3u),
          [&](unsigned) { return rate_of_program(words(side.larder.path()), log); },
          [&](unsigned) { return rate_of_program(words(side.yardstick), log); }));
  TRY(const Work work, work_since(side.larder, before));
  return Row{std::move(name), "runs/s", side.yardstick_name, 1, rates, work};
}

// `git status` and `find -ls` of a large tree, the second time within the time-outs.
SetUp<std::monostate> large_tree(const Plan& plan, const std::string& share, Outcome& outcome) {
  const std::string log = plan.directory + "/git.log";
  TRY_OK(run(git(share, {"init", "-q"}), log));
  TRY_OK(run(git(share, {"add", "-A"}), log));
  TRY(const Mounted larder, mount_larder(plan.programs, plan.directory, "tree", share, kTtl));
  const Side local{larder, "local files", share};
  TRY(Row status, program_row(plan, local, "git_status", [](const std::string& root) {
        return git(root, {"status", "--porcelain"});
      }));
  outcome.marks.push_back(
      {"git_status_time", 1 / status.rates.ratio.median, Mark::Bound::kAtMost, 1.5});
  outcome.rows.push_back(std::move(status));
  TRY(Row find, program_row(plan, local, "find_ls", [](const std::string& root) {
        return Words{"find", root, "-name", ".git", "-prune", "-o", "-ls"};
      }));
  outcome.marks.push_back(
      {"find_ls_share_calls", static_cast<double>(find.work.share_calls), Mark::Bound::kAtMost, 0});
  outcome.rows.push_back(std::move(find));
  return std::monostate{};
}

}  // namespace

SetUp<Outcome> measure_meta(const Plan& plan) {
  const std::string share = plan.directory + "/share";
  std::error_code error;
  fs::create_directory(share, error);
  TRY_OK(make_tree(share, plan.meta_files));
  Outcome outcome;
  TRY_OK(small_files(plan, share, outcome));
  TRY_OK(close_to_open(plan, share, outcome));
  TRY_OK(large_tree(plan, share, outcome));
  return outcome;
}

}  // namespace larder::bench
