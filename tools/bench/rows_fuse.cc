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
using Reader = std::function<SetUp<double>(const std::string& path, unsigned round)>;

struct Side {
  const Mounted& larder;
  const Mounted* yardstick;  // null: the local file system
  std::string yardstick_name, yardstick_file;
};

SetUp<Row> row(const Plan& plan, const Side& side, std::string name, std::string unit, double scale,
               const Reader& read) {
  Watch watch(side.larder, side.yardstick);
  const std::string file = side.larder.path() + "/file";
  TRY(const Comparison rates,
      compare(
          plan.rounds,
          [&](unsigned round) { return watch.larder([&] { return read(file, round); }); },
          [&](unsigned round) {
            return watch.yardstick([&] { return read(side.yardstick_file, round); });
          }));
  fmt::print(stderr, "larder-bench: {} done\n", name);
  return Row{std::move(name), std::move(unit), side.yardstick_name, scale, rates, watch.work()};
}

Reader sequential(const Plan& plan) {
  return [seconds = plan.seconds](const std::string& path, unsigned) {
    return read_sequential(path, kBig, seconds);
  };
}
Reader random_4k(const Plan& plan, unsigned jobs) {
  return [seconds = plan.seconds, jobs](const std::string& path, unsigned round) {
    return read_random(path, {.block = 4096, .jobs = jobs, .seconds = seconds, .seed = round + 1});
  };
}

// Reads the file until a whole pass needs no call to the share: fills are done behind the reader's
// back.
SetUp<std::monostate> make_warm(const Mounted& larder) {
  const std::string file = larder.path() + "/file";
  for (unsigned pass = 0; pass < kWarmPasses; ++pass) {
    TRY(const ctl::Figures before, larder.figures());
    TRY_OK(read_sequential(file, kBig, 0));
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

SetUp<std::monostate> hot_rows(const Plan& plan, const std::string& share, Outcome& outcome) {
  TRY(const Mounted larder, mount_larder(plan.programs, plan.directory, "hot", share,
                                         fmt::format(",size={}M", plan.file_mib * 2)));
  TRY_OK(make_warm(larder));
  TRY_OK(compare_files(larder.path() + "/file", share + "/file"));
  const Side side{larder, nullptr, "local file", share + "/file"};
  TRY(Row seq, row(plan, side, "hot_seq", "MB/s", kMega, sequential(plan)));
  TRY(Row rand, row(plan, side, "hot_rand", "reads/s", 1, random_4k(plan, 1)));
  for (const Row* one : {&seq, &rand}) {
    outcome.marks.push_back({one->name, one->rates.ratio.median, Mark::Bound::kAtLeast, 0.9});
  }
  outcome.marks.push_back({"hot_requests",
                           static_cast<double>(seq.work.requests + rand.work.requests),
                           Mark::Bound::kAtMost, 0});
  outcome.rows.push_back(std::move(seq));
  outcome.rows.push_back(std::move(rand));
  return std::monostate{};
}

SetUp<std::monostate> warm_rows(const Plan& plan, const std::string& share, Outcome& outcome) {
  TRY(const Mounted passthrough, mount_passthrough(plan.directory, share));
  TRY(const Mounted larder, mount_larder(plan.programs, plan.directory, "warm", share,
                                         fmt::format(",direct_io,size={}M", plan.file_mib * 2)));
  TRY_OK(make_warm(larder));
  TRY_OK(compare_files(larder.path() + "/file", share + "/file"));
  TRY_OK(compare_files(passthrough.path() + "/file", share + "/file"));
  const Side side{larder, &passthrough, "passthrough_ll", passthrough.path() + "/file"};
  TRY(Row rand, row(plan, side, "warm_rand_4k", "reads/s", 1, random_4k(plan, 1)));
  TRY(Row two, row(plan, side, "warm_rand_4k_2jobs", "reads/s", 1, random_4k(plan, 2)));
  TRY(Row seq, row(plan, side, "warm_seq", "MB/s", kMega, sequential(plan)));
  outcome.marks.push_back({rand.name, rand.rates.ratio.median, Mark::Bound::kAtLeast, 0.9});
  const Work& work = rand.work;
  outcome.marks.push_back(
      {"warm_share_calls",
       static_cast<double>(work.share_calls + two.work.share_calls + seq.work.share_calls),
       Mark::Bound::kAtMost, 0});
  outcome.marks.push_back({"warm_parked",
                           static_cast<double>(work.parked + two.work.parked + seq.work.parked),
                           Mark::Bound::kAtMost, 0});
  for (Row* one : {&rand, &two, &seq}) outcome.rows.push_back(std::move(*one));
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
