// SPDX-License-Identifier: Apache-2.0
#include "command_line.h"

#include <fmt/format.h>
#include <larder/mount.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "daemon.h"

namespace larder::fuse {
namespace {

bool is_mount_helper(std::string_view program) {
  const std::size_t slash = program.rfind('/');
  if (slash != program.npos) program.remove_prefix(slash + 1);
  return program.starts_with("mount.");
}

// Empty where it cannot be: an empty path, or a relative one in a directory that is gone.
std::string absolute(const std::string& path) {
  std::error_code error;
  std::string text = std::filesystem::absolute(path, error).lexically_normal().string();
  if (error) return "";
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  return text;
}

}  // namespace

std::variant<CommandLine, Goodbye> parse_command_line(int argc, char** argv) {
  const bool helper = is_mount_helper(argv[0]);
  CLI::App app{"Mounts SHARE at MOUNTPOINT with a persistent local cache in front of it.",
               "larder"};
  app.set_version_flag("-V,--version", fmt::format("larder {}", kVersion));
  app.footer("\n" + options_help());
  bool letter_f = false, letter_d = false, ignored = false;
  std::vector<std::string> lists;
  std::string share, mountpoint, type;
  app.add_flag("-f", letter_f, helper ? "do everything but mount" : "stay in the foreground");
  app.add_flag("-d", letter_d, "foreground, and log what happens (log=debug)");
  app.add_option("-o", lists, "options, see below")->take_all()->allow_extra_args(false);
  app.add_option("SHARE", share, "any directory of a mounted share")->required();
  app.add_option("MOUNTPOINT", mountpoint, "where to mount it; may be SHARE itself")->required();
  if (helper) {
    app.add_flag("-n,-s,-v", ignored, "accepted, for mount(8)");
    app.add_option("-t", type, "accepted, for mount(8)");
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return Goodbye{app.help(), kExitOk};
  } catch (const CLI::CallForVersion&) {
    return Goodbye{fmt::format("larder {}\n", kVersion), kExitOk};
  } catch (const CLI::ParseError& error) {
    return Goodbye{fmt::format("larder: {}; larder --help tells more\n", error.what()), kExitUsage};
  }
  if (share.empty() || mountpoint.empty())
    return Goodbye{"larder: SHARE and MOUNTPOINT are directories, not empty words\n", kExitUsage};
  CommandLine line;
  line.foreground = (letter_f && !helper) || letter_d;
  line.pretend = letter_f && helper;
  if (letter_d) line.options.log = LogLevel::kDebug;
  for (const std::string& list : lists) {
    const auto parsed = parse_options(list, line.options);
    if (!parsed) return Goodbye{fmt::format("larder: {}\n", parsed.error().line), kExitUsage};
  }
  line.options.share = absolute(share);
  line.options.mountpoint = absolute(mountpoint);
  for (const auto& [given, made] :
       {std::pair(&share, &line.options.share), std::pair(&mountpoint, &line.options.mountpoint)}) {
    if (made->empty())
      return Goodbye{fmt::format("larder: '{}' is no path; larder --help tells more\n", *given),
                     kExitUsage};
  }
  return line;
}

}  // namespace larder::fuse
