// SPDX-License-Identifier: Apache-2.0
// `larderctl cull`: has a mount let go of what it caches, of a path or of what goes next; `pin` and
// `unpin`: has it keep what it caches of a path.
#pragma once

#include <CLI/CLI.hpp>

#include "ctl/changes.h"

namespace larder::ctl {

// Adds the subcommands to `app`; `chosen` becomes the one that is called.
void add_cull(CLI::App& app, Change& chosen);

}  // namespace larder::ctl
