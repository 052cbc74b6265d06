// SPDX-License-Identifier: Apache-2.0
// The command line: larder [-f] [-d] [-o opt,opt=value,...] SHARE MOUNTPOINT
//
// Also as mount.larder and mount.fuse.larder, which mount(8) calls with its own letters: there -f
// means "do everything but mount", -n, -s and -v are accepted.
#pragma once

#include <larder/options.h>
#include <larder/result.h>

#include <span>
#include <string>
#include <variant>

namespace larder::fuse {

struct CommandLine {
  MountOptions options;
  bool foreground = false;
  bool pretend = false;  // mount -f: check, mount nothing
};

// What to print instead, and the code to exit with: --help, --version, or a complaint.
struct Goodbye {
  std::string text;
  int code = 0;
};

// SHARE and MOUNTPOINT become absolute, by text only: neither is touched.
std::variant<CommandLine, Goodbye> parse_command_line(int argc, char** argv);

}  // namespace larder::fuse
