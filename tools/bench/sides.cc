// SPDX-License-Identifier: Apache-2.0
#include "bench/sides.h"

#include <fmt/format.h>
#include <poll.h>

namespace larder::bench {
namespace {

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
  SetUp<double> yardstick(double seconds, F&& measure) {
    const double start_s = yardstick_ == nullptr ? 0 : yardstick_->process().processor_s();
    TRY(const double rate, measure());
    if (yardstick_ != nullptr) work_.yardstick_s += yardstick_->process().processor_s() - start_s;
    work_.yardstick_calls += rate * seconds;
    return rate;
  }
  const Work& work() const { return work_; }

 private:
  const Mounted& larder_;
  const Mounted* yardstick_;
  Work work_;
};

SetUp<OpenFile> opened(const std::string& path, const Reader& reader) {
  TRY(OpenFile file,
      OpenFile::open(path, reader.jobs,
                     reader.direct ? OpenFile::Past::kPageCache : OpenFile::Past::kNothing));
  if (reader.skip_zeros) TRY_OK(file.skip_zeros(kPageSize));
  // An open may have dropped the kernel's pages.
  if (!reader.direct) TRY_OK(read_sequential(file, kBig, 0));
  return file;
}

}  // namespace

SetUp<Row> row(const Plan& plan, const Side& side, std::string name, std::string unit, double scale,
               const Reader& reader) {
  return row(plan, side, std::move(name), std::move(unit), scale, reader, reader);
}

SetUp<Row> row(const Plan& plan, const Side& side, std::string name, std::string unit, double scale,
               const Reader& reader, const Reader& yardstick_reader) {
  TRY(const OpenFile ours, opened(side.larder.path() + "/file", reader));
  TRY(const OpenFile theirs, opened(side.yardstick_file, yardstick_reader));
  Watch watch(side.larder, side.yardstick);
  const auto measured = [](const Reader& how, const OpenFile& file,
                           unsigned round) -> SetUp<double> {
    if (how.prepare) TRY_OK(how.prepare());
    return how.read(file, round);
  };
  TRY(const Comparison rates,
      compare(
          plan.rounds,
          [&](unsigned round) {
            return watch.larder([&] { return measured(reader, ours, round); });
          },
          [&](unsigned round) {
            return watch.yardstick(plan.seconds,
                                   [&] { return measured(yardstick_reader, theirs, round); });
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
Reader random_4k_deep(const Plan& plan) {
  return {1, [seconds = plan.seconds](const OpenFile& file, unsigned round) {
            return read_random_deep(file, {.block = 4096, .seconds = seconds, .seed = round + 1},
                                    16);
          }};
}

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

std::string larder_options(const Plan& plan, std::string_view more) {
  return fmt::format(",attr_timeout=1h,entry_timeout=1h,size={}M{}", plan.file_mib * 2, more);
}

}  // namespace larder::bench
