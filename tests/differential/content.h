// SPDX-License-Identifier: Apache-2.0
// The part of differ that is about what is in files.
#pragma once

#include <larder/clock.h>

#include <cstdint>

#include "outcome.h"

namespace larder::differ {

struct ContentOptions {
  Seed seed;
  std::uint64_t steps = 0;
  std::uint64_t size_max = 600'000;  // of a file, about
  int behind = -1;                   // as in NamesOptions
};

void compare_content(const Sides& sides, const ContentOptions& options);

}  // namespace larder::differ
