// SPDX-License-Identifier: Apache-2.0
// The rows of `larder-bench fuse`: one file of noise in a local directory that serves as the share,
// read through larder and through the yardstick in turn. Larder does not know that its share is
// fast, so what is measured is larder alone.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "bench/sides.h"

namespace larder::bench {
namespace {

constexpr double kMega = 1e6;

void mark_ratio(Outcome& outcome, const Row& row, double at_least) {
  outcome.marks.push_back({row.name, row.rates.ratio.median, Mark::Bound::kAtLeast, at_least});
}
void mark_at_most(Outcome& outcome, std::string name, double value, double bound) {
  outcome.marks.push_back({std::move(name), value, Mark::Bound::kAtMost, bound});
}
void keep(Outcome& outcome, Row row, double at_least) {
  mark_ratio(outcome, row, at_least);
  outcome.rows.push_back(std::move(row));
}

// The rates of one row, and what it must reach.
struct Wanted {
  const char* name;
  const char* unit;
  double scale;
  Reader reader;
  double at_least;
};
SetUp<std::monostate> rows(const Plan& plan, const Side& side, const std::vector<Wanted>& wanted,
                           Outcome& outcome) {
  for (const Wanted& one : wanted) {
    TRY(Row measured, row(plan, side, one.name, one.unit, one.scale, one.reader));
    keep(outcome, std::move(measured), one.at_least);
  }
  return std::monostate{};
}

SetUp<std::monostate> hot_rows(const Plan& plan, const std::string& share, Outcome& outcome) {
  TRY(const Mounted passthrough,
      mount_passthrough(plan.directory, "passthrough-hot", share, PassthroughCache::kAlways));
  TRY(const Mounted larder,
      mount_larder(plan.programs, plan.directory, "hot", share, larder_options(plan, "")));
  TRY_OK(make_warm(larder));
  TRY_OK(compare_files(larder.path() + "/file", share + "/file"));
  const Side local{larder, nullptr, "local file", share + "/file"};
  // What any FUSE file system can reach: the kernel keeps its pages one by one, and the local file
  // system's in large folios.
  const Side fuse{larder, &passthrough, "passthrough_ll", passthrough.path() + "/file"};
  const std::size_t first = outcome.rows.size();
  TRY_OK(rows(plan, local,
              {{"hot_seq", "MB/s", kMega, sequential(plan), 0.95},
               {"hot_rand", "reads/s", 1, random_4k(plan, 1), 0.95}},
              outcome));
  TRY_OK(rows(plan, fuse,
              {{"hot_seq_fuse", "MB/s", kMega, sequential(plan), 0.95},
               {"hot_rand_fuse", "reads/s", 1, random_4k(plan, 1), 0.95}},
              outcome));
  std::uint64_t requests = 0;
  for (std::size_t i = first; i < outcome.rows.size(); ++i)
    requests += outcome.rows[i].work.requests;
  // The kernel may give up a page now and then; that is a request per round, not one per read.
  mark_at_most(outcome, "hot_requests_per_round",
               static_cast<double>(requests) / (4.0 * plan.rounds), 1);
  return std::monostate{};
}

// A file that is not cached, which the kernel reads by itself.
SetUp<std::monostate> pass_through_rows(const Plan& plan, const std::string& share,
                                        Outcome& outcome) {
  TRY(const Mounted larder, mount_larder(plan.programs, plan.directory, "through", share,
                                         larder_options(plan, ",nocache=file")));
  TRY_OK(compare_files(larder.path() + "/file", share + "/file"));
  const Side local{larder, nullptr, "local file", share + "/file"};
  return rows(plan, local,
              {{"through_seq", "MB/s", kMega, sequential(plan), 0.95},
               {"through_rand", "reads/s", 1, random_4k(plan, 1), 0.95}},
              outcome);
}

// Processor time of a read, of larder's in passthrough_ll's.
double processor_ratio(const Row& row) {
  const double ours = row.work.larder_s / static_cast<double>(row.work.requests);
  const double theirs = row.work.yardstick_s / row.work.yardstick_calls;
  return ours / theirs;
}

SetUp<std::monostate> warm_rows(const Plan& plan, const std::string& share,
                                const std::string& transport, Outcome& outcome) {
  const bool ring = transport == "uring";
  const std::string suffix = ring ? "" : "_classic";
  TRY(const Mounted passthrough,
      mount_passthrough(plan.directory, "passthrough" + suffix, share, PassthroughCache::kNever));
  TRY(const Mounted larder,
      mount_larder(plan.programs, plan.directory, "warm" + suffix, share,
                   larder_options(plan, ",direct_io,transport=" + transport)));
  TRY_OK(make_warm(larder));
  TRY_OK(compare_files(larder.path() + "/file", share + "/file"));
  TRY_OK(compare_files(passthrough.path() + "/file", share + "/file"));
  const Side side{larder, &passthrough, "passthrough_ll", passthrough.path() + "/file"};
  const std::size_t first = outcome.rows.size();
  std::vector<std::string> names;
  for (const char* name : {"warm_rand_4k", "warm_rand_4k_2jobs", "warm_rand_4k_deep", "warm_seq"})
    names.push_back(name + suffix);
  TRY_OK(rows(plan, side,
              {{names[0].c_str(), "reads/s", 1, random_4k(plan, 1), ring ? 1.3 : 0.95},
               {names[1].c_str(), "reads/s", 1, random_4k(plan, 2), ring ? 2.0 : 1.1},
               {names[2].c_str(), "reads/s", 1, random_4k_deep(plan), ring ? 1.1 : 0},
               {names[3].c_str(), "MB/s", kMega, sequential(plan), ring ? 1.5 : 0}},
              outcome));
  std::uint64_t share_calls = 0, parked = 0;
  for (std::size_t i = first; i < outcome.rows.size(); ++i) {
    share_calls += outcome.rows[i].work.share_calls;
    parked += outcome.rows[i].work.parked;
  }
  mark_at_most(outcome, "warm_share_calls" + suffix, static_cast<double>(share_calls), 0);
  mark_at_most(outcome, "warm_parked" + suffix, static_cast<double>(parked), 0);
  if (!ring) return std::monostate{};
  mark_at_most(outcome, "warm_processor_per_read", processor_ratio(outcome.rows[first]), 0.6);
  const Side store{larder, nullptr, "read(2) of store", larder.path() + ".store"};
  TRY(Row raw, row(plan, store, "warm_seq_store", "MB/s", kMega, sequential(plan)));
  keep(outcome, std::move(raw), 0.45);
  return std::monostate{};
}

// What of the file lies in the page cache goes; what the file system still has to write is written.
SetUp<std::monostate> drop_pages(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid() || ::fdatasync(fd.get()) != 0 ||
      ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED) != 0)
    return complain(ErrorCode::kSystem, fmt::format("{}: {}", path, std::strerror(errno)), errno);
  return std::monostate{};
}

// Peers from the distribution, where they are installed.
SetUp<std::monostate> peer_rows(const Plan& plan, const std::string& share, Outcome& outcome) {
  TRY(const Mounted larder, mount_larder(plan.programs, plan.directory, "peers", share,
                                         larder_options(plan, ",direct_io")));
  TRY_OK(make_warm(larder));
  for (const FusePeer peer : {FusePeer::kBindfs, FusePeer::kRclone}) {
    const std::string name = name_of(peer);
    TRY(const Mounted other, mount_peer(peer, plan.directory, share));
    TRY_OK(compare_files(other.path() + "/file", share + "/file"));
    const Side side{larder, &other, name, other.path() + "/file"};
    // One of them cannot be told that the kernel is to keep nothing.
    const auto with_drop = [file = other.path() + "/file"](Reader reader) {
      reader.prepare = [file] { return drop_pages(file); };
      return reader;
    };
    const double by = peer == FusePeer::kRclone ? 5 : 1;
    const std::vector<Wanted> wanted{{"warm_rand_4k", "reads/s", 1, random_4k(plan, 1), by},
                                     {"warm_rand_4k_2jobs", "reads/s", 1, random_4k(plan, 2), by},
                                     {"warm_seq", "MB/s", kMega, sequential(plan), 1}};
    for (const Wanted& one : wanted) {
      TRY(Row measured, row(plan, side, fmt::format("{}_{}", one.name, name), one.unit, one.scale,
                            one.reader, with_drop(one.reader)));
      keep(outcome, std::move(measured), one.at_least);
    }
  }
  return std::monostate{};
}

SetUp<std::monostate> disk_rows(const Plan& plan, const std::string& share, Outcome& outcome) {
  TRY(const Mounted larder, mount_larder(plan.programs, plan.directory, "disk", share,
                                         larder_options(plan, ",direct_io,store_reads=direct")));
  TRY_OK(make_warm(larder));
  const std::string store = larder.path() + ".store";
  const Side raw{larder, nullptr, "O_DIRECT of store", store};
  const auto drop = [store] { return drop_pages(store); };
  Reader one = random_4k(plan, 1), deep = random_4k_deep(plan);
  one.prepare = deep.prepare = drop;
  one.direct = deep.direct = true;
  Reader raw_one = one, raw_deep = deep;
  raw_one.skip_zeros = raw_deep.skip_zeros = true;  // half of the store is empty
  TRY(Row shallow, row(plan, raw, "disk_rand_4k", "reads/s", 1, one, raw_one));
  keep(outcome, std::move(shallow), 0.65);
  TRY(Row full, row(plan, raw, "disk_rand_4k_deep", "reads/s", 1, deep, raw_deep));
  keep(outcome, std::move(full), 0.55);
  return std::monostate{};
}

// The yardstick is a larder that checks no sums.
SetUp<std::monostate> sum_rows(const Plan& plan, const std::string& share, Outcome& outcome) {
  TRY(const Mounted larder, mount_larder(plan.programs, plan.directory, "sums", share,
                                         larder_options(plan, ",direct_io")));
  TRY(const Mounted without, mount_larder(plan.programs, plan.directory, "nosums", share,
                                          larder_options(plan, ",direct_io,check_sums=no")));
  TRY_OK(make_warm(larder));
  TRY_OK(make_warm(without));
  const Side side{larder, &without, "sums off", without.path() + "/file"};
  return rows(plan, side,
              {{"sums_rand_4k", "reads/s", 1, random_4k(plan, 1), 0.92},
               {"sums_seq", "MB/s", kMega, sequential(plan), 0.82}},
              outcome);
}

SetUp<std::monostate> memory_row(const Plan& plan, const std::string& share, Outcome& outcome) {
  TRY(const Mounted larder, mount_larder(plan.programs, plan.directory, "memory", share,
                                         larder_options(plan, ",direct_io")));
  TRY_OK(make_warm(larder));
  TRY(const OpenFile file, OpenFile::open(larder.path() + "/file"));
  for (std::uint64_t mib = 0; mib < 1024; mib += plan.file_mib)
    TRY_OK(read_sequential(file, kBig, 0));
  mark_at_most(outcome, "memory_mib_after_1gib", larder.process().resident_mib(), 64);
  return std::monostate{};
}

}  // namespace

SetUp<Outcome> measure_fuse(const Plan& plan) {
  const std::string share = plan.directory + "/share";
  std::error_code error;
  std::filesystem::create_directory(share, error);
  TRY_OK(write_noise(share + "/file", ByteCount{plan.file_mib << 20}, 1));
  Outcome outcome;
  const auto part = [&](std::string_view name) { return plan.only.empty() || plan.only == name; };
  if (part("hot")) TRY_OK(hot_rows(plan, share, outcome));
  if (part("through")) TRY_OK(pass_through_rows(plan, share, outcome));
  if (part("warm")) TRY_OK(warm_rows(plan, share, "uring", outcome));
  if (part("classic")) TRY_OK(warm_rows(plan, share, "classic", outcome));
  if (part("disk")) TRY_OK(disk_rows(plan, share, outcome));
  if (part("sums")) TRY_OK(sum_rows(plan, share, outcome));
  if (part("memory")) TRY_OK(memory_row(plan, share, outcome));
  if (part("peers")) TRY_OK(peer_rows(plan, share, outcome));
  return outcome;
}

}  // namespace larder::bench
