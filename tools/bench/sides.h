// SPDX-License-Identifier: Apache-2.0
// Sides: what the rows of `larder-bench fuse` share: two files that are read in turn, and what a
// larder and its yardstick do meanwhile. Thread: one at a time.
#pragma once

#include <functional>
#include <string>

#include "bench/readers.h"
#include "bench/rows.h"

namespace larder::bench {

inline constexpr std::size_t kBig = 1 << 20;

// How a file is read, whichever file it is.
struct Reader {
  unsigned jobs = 1;
  std::function<SetUp<double>(const OpenFile& file, unsigned round)> read;
  // Before each measurement; may be empty.
  std::function<SetUp<std::monostate>()> prepare = {};
  bool direct = false;      // opened with O_DIRECT
  bool skip_zeros = false;  // random reads of 4 KiB go to blocks that hold something
};
Reader sequential(const Plan& plan);
Reader random_4k(const Plan& plan, unsigned jobs);
// One thread that keeps 16 reads under way.
Reader random_4k_deep(const Plan& plan);

struct Side {
  const Mounted& larder;
  const Mounted* yardstick;  // null: not served by a process of ours
  std::string yardstick_name, yardstick_file;
};

SetUp<Row> row(const Plan& plan, const Side& side, std::string name, std::string unit, double scale,
               const Reader& reader);
// The same where the yardstick is read in another way than larder.
SetUp<Row> row(const Plan& plan, const Side& side, std::string name, std::string unit, double scale,
               const Reader& reader, const Reader& yardstick_reader);

// Reads the file until a whole pass needs no call to the share: fills are done behind the reader's
// back.
SetUp<std::monostate> make_warm(const Mounted& larder);

// -o of a larder that is measured: attributes are trusted for the whole run, since what is measured
// is reading.
std::string larder_options(const Plan& plan, std::string_view more);

}  // namespace larder::bench
