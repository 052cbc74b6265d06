// SPDX-License-Identifier: Apache-2.0
// `larderctl resize` and `larderctl clear`: has the larder that serves a mount give its store
// another size, or empty it.
#pragma once

#include <CLI/CLI.hpp>

#include "ctl/changes.h"

namespace larder::ctl {

// Adds the subcommands to `app`; `chosen` becomes the one that is called.
void add_resize(CLI::App& app, Change& chosen);

}  // namespace larder::ctl
