// SPDX-License-Identifier: Apache-2.0
// The seed of a run of the model tests: LARDER_SEED, or a fresh one that a failure prints.
#pragma once

#include <cstdlib>

#include "base/random.h"

namespace larder::test {

inline Seed seed_of_run() {
  const char* text = std::getenv("LARDER_SEED");
  return fresh_if_zero(Seed{text == nullptr ? 0 : std::strtoull(text, nullptr, 0)});
}

}  // namespace larder::test
