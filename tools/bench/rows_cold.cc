// SPDX-License-Identifier: Apache-2.0
// The row of `larder-bench cold`: cp(1) of a file that is not in the store, through larder over
// slowshare, against cp from slowshare itself. Every copy is of a file that nobody has read before,
// so neither side lives on the other's pages, and slowshare is the same mount for both.
#include <fmt/format.h>
#include <larder/clock.h>

#include <filesystem>

#include "bench/readers.h"
#include "bench/rows.h"

namespace larder::bench {
namespace {

constexpr const char* kSlow = "latency=5ms,bandwidth=200M";

SetUp<double> copy_rate(const std::string& from, const std::string& to, ByteCount size) {
  const Nanoseconds start_ns = system_clock().mono_ns();
  TRY_OK(run({"cp", from, to}, to + ".log"));
  const Nanoseconds passed_ns = system_clock().mono_ns() - start_ns;
  return static_cast<double>(size.value()) * 1e9 / static_cast<double>(passed_ns);
}

}  // namespace

SetUp<Outcome> measure_cold(const Plan& plan) {
  const std::string source = plan.directory + "/source";
  const ByteCount size{plan.cold_mib << 20};
  std::error_code error;
  std::filesystem::create_directory(source, error);
  const auto name = [](char side, unsigned round) { return fmt::format("{}{}", side, round); };
  for (unsigned round = 0; round < plan.rounds; ++round) {
    TRY_OK(write_noise(source + "/" + name('a', round), size, 2 * round));
    TRY_OK(write_noise(source + "/" + name('b', round), size, 2 * round + 1));
  }
  TRY(const Mounted slow, mount_slowshare(plan.programs, plan.directory, source, kSlow));
  TRY(const Mounted larder,
      mount_larder(plan.programs, plan.directory, "cold", slow.path(),
                   fmt::format(",size={}M", plan.cold_mib * plan.rounds * 2 + 64)));
  TRY(const ctl::Figures before, larder.figures());
  const double larder_start_s = larder.process().processor_s();

  const std::string copy = plan.directory + "/copy";
  TRY(const Comparison rates,
      compare(
          plan.rounds,
          [&](unsigned round) -> SetUp<double> {
            const std::string file = name('a', round);
            TRY(const double rate, copy_rate(larder.path() + "/" + file, copy, size));
            TRY_OK(compare_files(copy, source + "/" + file));
            return rate;
          },
          [&](unsigned round) {
            return copy_rate(slow.path() + "/" + name('b', round), copy, size);
          }));

  TRY(const ctl::Figures after, larder.figures());
  TRY(const Work done, work_between(before, after));
  Row row{"cold_seq", "MB/s", "cp", 1e6, rates, done};
  row.work.larder_s = larder.process().processor_s() - larder_start_s;
  Outcome outcome;
  // As time: how much longer than cp.
  outcome.marks.push_back({"cold_seq", 1 / rates.ratio.median, Mark::Bound::kAtMost, 1.1});
  const double fetched = static_cast<double>(done.share_bytes);
  outcome.marks.push_back({"cold_bytes", fetched / static_cast<double>(size.value() * plan.rounds),
                           Mark::Bound::kAtMost, 1.01});
  outcome.rows.push_back(std::move(row));
  return outcome;
}

}  // namespace larder::bench
