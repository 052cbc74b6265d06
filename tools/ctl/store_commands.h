// SPDX-License-Identifier: Apache-2.0
// The commands for stores: `fsck STORE`, `store dump STORE`, `store map STORE` for one that is not
// mounted, `verify MOUNTPOINT` for those of a mount. Thread: one.
#pragma once

#include <larder/store_check.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

namespace larder::ctl {

// As fsck(8) has them.
enum FsckExit : int { kSound = 0, kRepaired = 1, kUnsound = 4, kNotChecked = 8 };

// Has the stores of a mount verified and shows how far that is; the exit code is fsck's.
struct VerifyRequest {
  std::string mountpoint, directory = ".larder";
  bool quiet = false;
};
int verify(const VerifyRequest& request);

// Adds the commands; `chosen` becomes what the user asked for and gives the exit code.
void add_store_commands(CLI::App& app, std::function<int()>& chosen);

// The file as text: `columns` letters a line, each for an equal part of it, and a legend.
std::string map_text(const std::vector<store::Region>& regions, std::size_t columns,
                     std::size_t rows);
// The same as a picture of its own.
std::string map_svg(const std::vector<store::Region>& regions, const std::string& title);

}  // namespace larder::ctl
