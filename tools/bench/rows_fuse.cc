// SPDX-License-Identifier: Apache-2.0
// The rows of `larder-bench fuse`: one file of noise in a local directory that serves as the share,
// read through larder and through the yardstick in turn. Larder does not know that its share is
// fast, so what is measured is larder alone.
#include <fmt/format.h>
#include <poll.h>

#include <filesystem>

#include "bench/readers.h"
#include "bench/rows.h"

namespace larder::bench {
namespace {

constexpr std::size_t kBig = 1 << 20;
constexpr double kMega = 1e6;
constexpr unsigned kWarmPasses = 10;

// Sums up what a larder does between begin() and end(), and the processor time of both daemons.
class Watch {
 public:
  Watch(const Mounted& larder, const Mounted* yardstick) : larder_(larder), yardstick_(yardstick) {}

  template <class F>
  SetUp<double> larder(F&& measure) {
    TRY(const ctl::Figures before, larder_.figures());
    const double start_s = larder_.process().processor_s();
    TRY(const double rate, measure());
    work_.larder_s += larder_.process().processor_s() - start_s;
    TRY(const ctl::Figures after, larder_.figures());
    TRY(const Work done, work_between(before, after));
    work_.requests += done.requests;
    work_.parked += done.parked;
    work_.share_calls += done.share_calls;
    return rate;
  }
  template <class F>
  SetUp<double> yardstick(F&& measure) {
    const double start_s = yardstick_ == nullptr ? 0 : yardstick_->process().processor_s();
    TRY(const double rate, measure());
    if (yardstick_ != nullptr) work_.yardstick_s += yardstick_->process().processor_s() - start_s;
    return rate;
  }
  const Work& work() const { return work_; }

 private:
  const Mounted& larder_;
  const Mounted* yardstick_;
  Work work_;
};

// How a file is read, whichever file it is.
struct Reader {
  unsigned jobs = 1;
  std::function<SetUp<double>(const OpenFile& file, unsigned round)> read;
};

struct Side {
  const Mounted& larder;
  const Mounted* yardstick;  // null: the local file system
  std::string yardstick_name, yardstick_file;
};

SetUp<Row> row(const Plan& plan, const Side& side, std::string name, std::string unit, double scale,
               const Reader& reader) {
  TRY(const OpenFile ours, OpenFile::open(side.larder.path() + "/file", reader.jobs));
  TRY(const OpenFile theirs, OpenFile::open(side.yardstick_file, reader.jobs));
  // An open may have dropped the kernel's pages.
  TRY_OK(read_sequential(ours, kBig, 0));
  TRY_OK(read_sequential(theirs, kBig, 0));
  Watch watch(side.larder, side.yardstick);
  TRY(const Comparison rates,
      compare(
          plan.rounds,
          [&](unsigned round) { return watch.larder([&] { return reader.read(ours, round); }); },
          [&](unsigned round) {
            return watch.yardstick([&] { return reader.read(theirs, round); });
          }));
  fmt::print(stderr, "larder-bench: {} done\n", name);
  return Row{std::move(name), std::move(unit), side.yardstick_name, scale, rates, watch.work()};
}

Reader sequential(const Plan& plan) {
  return {1, [seconds = plan.seconds](const OpenFile& file, unsigned) {
            return read_sequential(file, kBig, seconds);
          }};
}
Reader random_4k(const Plan& plan, unsigned jobs) {
  return {jobs, [seconds = plan.seconds](const OpenFile& file, unsigned round) {
            return read_random(file, {.block = 4096, .seconds = seconds, .seed = round + 1});
          }};
}

// Reads the file until a whole pass needs no call to the share: fills are done behind the reader's
// back.
SetUp<std::monostate> make_warm(const Mounted& larder) {
  const std::string file = larder.path() + "/file";
  for (unsigned pass = 0; pass < kWarmPasses; ++pass) {
    TRY(const ctl::Figures before, larder.figures());
    TRY(const OpenFile opened, OpenFile::open(file));
    TRY_OK(read_sequential(opened, kBig, 0));
    TRY(const ctl::Figures after, larder.figures());
    TRY(const Work done, work_between(before, after));
    if (done.share_calls == 0) return std::monostate{};
    for (int step = 0; step < 500; ++step) {
      TRY(const ctl::Figures now, larder.figures());
      if (now.counter("store.fill_in_flight_bytes") == 0) break;
      ::poll(nullptr, 0, 10);
    }
  }
  return complain(
      ErrorCode::kInvalid,
      fmt::format("after {} passes larder still reads the file from the share", kWarmPasses));
}

// The row's mark: its ratio.
void mark_ratio(Outcome& outcome, const Row& row) {
  outcome.marks.push_back({row.name, row.rates.ratio.median, Mark::Bound::kAtLeast, 0.9});
}
void mark_none(Outcome& outcome, std::string name, std::uint64_t value) {
  outcome.marks.push_back({std::move(name), static_cast<double>(value), Mark::Bound::kAtMost, 0});
}

// Attributes are trusted for the whole run: what is measured is reading.
std::string larder_options(const Plan& plan, std::string_view more) {
  return fmt::format(",attr_timeout=1h,entry_timeout=1h,size={}M{}", plan.file_mib * 2, more);
}

SetUp<std::monostate> hot_rows(const Plan& plan, const std::string& share, Outcome& outcome) {
  TRY(const Mounted passthrough,
      mount_passthrough(plan.directory, "passthrough-hot", share, PassthroughCache::kAlways));
  TRY(const Mounted larder,
      mount_larder(plan.programs, plan.directory, "hot", share, larder_options(plan, "")));
  TRY_OK(make_warm(larder));
  TRY_OK(compare_files(larder.path() + "/file", share + "/file"));
  const Side local{larder, nullptr, "local file", share + "/file"};
  TRY(Row seq, row(plan, local, "hot_seq", "MB/s", kMega, sequential(plan)));
  TRY(Row rand, row(plan, local, "hot_rand", "reads/s", 1, random_4k(plan, 1)));
  // What any FUSE file system can reach: the kernel keeps its pages one by one, and the local file
  // system's in large folios.
  const Side fuse{larder, &passthrough, "passthrough_ll", passthrough.path() + "/file"};
  TRY(Row seq_fuse, row(plan, fuse, "hot_seq_fuse", "MB/s", kMega, sequential(plan)));
  TRY(Row rand_fuse, row(plan, fuse, "hot_rand_fuse", "reads/s", 1, random_4k(plan, 1)));
  std::uint64_t requests = 0;
  for (Row* one : {&seq, &rand, &seq_fuse, &rand_fuse}) {
    mark_ratio(outcome, *one);
    requests += one->work.requests;
    outcome.rows.push_back(std::move(*one));
  }
  // The kernel may give up a page now and then; that is a request per round, not one per read.
  outcome.marks.push_back({"hot_requests_per_round",
                           static_cast<double>(requests) / (4.0 * plan.rounds),
                           Mark::Bound::kAtMost, 1});
  return std::monostate{};
}

SetUp<std::monostate> warm_rows(const Plan& plan, const std::string& share, Outcome& outcome) {
  TRY(const Mounted passthrough,
      mount_passthrough(plan.directory, "passthrough", share, PassthroughCache::kNever));
  TRY(const Mounted larder, mount_larder(plan.programs, plan.directory, "warm", share,
                                         larder_options(plan, ",direct_io")));
  TRY_OK(make_warm(larder));
  TRY_OK(compare_files(larder.path() + "/file", share + "/file"));
  TRY_OK(compare_files(passthrough.path() + "/file", share + "/file"));
  const Side side{larder, &passthrough, "passthrough_ll", passthrough.path() + "/file"};
  TRY(Row rand, row(plan, side, "warm_rand_4k", "reads/s", 1, random_4k(plan, 1)));
  TRY(Row two, row(plan, side, "warm_rand_4k_2jobs", "reads/s", 1, random_4k(plan, 2)));
  TRY(Row seq, row(plan, side, "warm_seq", "MB/s", kMega, sequential(plan)));
  mark_ratio(outcome, rand);
  std::uint64_t share_calls = 0, parked = 0;
  for (Row* one : {&rand, &two, &seq}) {
    share_calls += one->work.share_calls;
    parked += one->work.parked;
    outcome.rows.push_back(std::move(*one));
  }
  mark_none(outcome, "warm_share_calls", share_calls);
  mark_none(outcome, "warm_parked", parked);
  return std::monostate{};
}

}  // namespace

SetUp<Outcome> measure_fuse(const Plan& plan) {
  const std::string share = plan.directory + "/share";
  std::error_code error;
  std::filesystem::create_directory(share, error);
  TRY_OK(write_noise(share + "/file", ByteCount{plan.file_mib << 20}, 1));
  Outcome outcome;
  TRY_OK(hot_rows(plan, share, outcome));
  TRY_OK(warm_rows(plan, share, outcome));
  return outcome;
}

}  // namespace larder::bench
