// SPDX-License-Identifier: Apache-2.0
// `larderctl top`: what a mount does, second by second.
//
// The page is made of two readings of the control files: rates are differences, latencies are of
// the mount's whole life (the mount keeps no histogram by second). Thread: any; pure functions.
#pragma once

#include <larder/result.h>
#include <larder/units.h>

#include <string>

#include "ctl/control.h"
#include "ctl/figures.h"

namespace larder::ctl {

struct Reading {
  Figures figures;
  std::string busy;  // the control file of that name; empty where it cannot be read
  Nanoseconds at_mono_ns = 0;
};
SetUp<Reading> take_reading(const Control& control);

// At most `rows` lines of files.
std::string top_page(const Reading& before, const Reading& after, const std::string& mountpoint,
                     std::size_t rows);

struct TopOptions {
  double interval_s = 1;
  unsigned count = 0;  // pages; 0: until it is interrupted
};
// Prints page after page: over each other on a terminal, else below.
SetUp<std::string> top(const Control& control, const TopOptions& options);

}  // namespace larder::ctl
