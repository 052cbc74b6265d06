// SPDX-License-Identifier: Apache-2.0
// The subcommands of larderctl that change something of a running mount: `cache add`, `cache
// withdraw`, `debug`. Each asks the larder that serves the mount, and gives its answer back as a
// line.
#pragma once

#include <larder/result.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

namespace larder::ctl {

using Change = std::function<SetUp<std::string>()>;

// Adds the subcommands to `app`; `chosen` becomes the one that is called.
void add_changes(CLI::App& app, Change& chosen);

}  // namespace larder::ctl
