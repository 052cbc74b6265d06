// SPDX-License-Identifier: Apache-2.0
// The part of differ that is about names, attributes and permissions.
#pragma once

#include <larder/clock.h>
#include <larder/fd.h>

#include <cstdint>

#include "outcome.h"

namespace larder::differ {

struct NamesOptions {
  Seed seed;
  std::uint64_t steps = 0;
  bool several_users = false;  // root and three others take turns
  bool unnamed_files = true;   // O_TMPFILE, which not every share has
  int behind = -1;             // the share itself, to be compared too; -1: it cannot be seen
  std::uint64_t tree_every = 100;
  std::uint64_t clear_every = 500;
};

void compare_names(const Sides& sides, const NamesOptions& options);

}  // namespace larder::differ
