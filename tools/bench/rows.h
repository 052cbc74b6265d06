// SPDX-License-Identifier: Apache-2.0
// Rows: what is measured, in which state of the caches, against what.
//
//   hot          the kernel has the pages: no request reaches larder
//   warm-memory  every read reaches larder, whose store is in the page cache
//   cold         not in the store
// Thread: one at a time.
#pragma once

#include <larder/result.h>

#include <string>
#include <vector>

#include "bench/mounts.h"
#include "bench/statistics.h"

namespace larder::bench {

struct Plan {
  std::string directory;  // ours alone
  Programs programs;
  unsigned rounds = 7;
  double seconds = 1;  // of one measurement
  std::uint64_t file_mib = 256;
  std::uint64_t cold_mib = 64;
  unsigned meta_files = 100'000;
  std::string only;  // one part of the rows: "hot", "warm" ...; empty: all
};

// What happened in larder while its side of a row was measured.
struct Work {
  double larder_s = 0, yardstick_s = 0;  // processor time of the daemons
  double yardstick_calls = 0;            // rate by time: of random rows, its reads
  std::uint64_t requests = 0;            // reads that reached larder
  std::uint64_t parked = 0;              // of them, those that left their thread
  std::uint64_t share_calls = 0;         // data calls to the share
  std::uint64_t share_bytes = 0;         // read from it
};

// A complaint where larder does not count these: what cannot be seen to be 0 is not 0.
SetUp<Work> work_between(const ctl::Figures& before, const ctl::Figures& after);

struct Row {
  std::string name;
  std::string unit;  // "MB/s", "reads/s"
  std::string yardstick;
  double scale = 1;  // of the rates, into the unit
  Comparison rates;
  Work work;
};

struct Outcome {
  std::vector<Row> rows;
  std::vector<Mark> marks;
};

SetUp<Outcome> measure_fuse(const Plan& plan);
SetUp<Outcome> measure_cold(const Plan& plan);
SetUp<Outcome> measure_meta(const Plan& plan);
SetUp<Outcome> measure_cache(const Plan& plan);
SetUp<Outcome> measure_store(const Plan& plan);

// The table and the lines of the marks.
std::string to_text(const Outcome& outcome);

}  // namespace larder::bench
