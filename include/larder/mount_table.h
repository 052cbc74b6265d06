// SPDX-License-Identifier: Apache-2.0
// The table of mounts as /proc/self/mountinfo has it. Asks no file system, so it never waits for
// one. Format: proc(5). Thread: any.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace larder {

struct MountEntry {
  int id = 0;
  int parent = 0;
  std::string device;   // "0:57"
  std::string root;     // inside its file system
  std::string point;    // absolute
  std::string type;     // "fuse.sshfs"
  std::string source;   // "server:/export"
  std::string options;  // of the file system: "rw,noserverino,..."
};

// In the order of mounting. Lines that are not as they should be are left out. \040 and its like
// are turned back.
std::vector<MountEntry> parse_mounts(std::string_view table);
// Of this process, as they are now; empty where /proc is not there.
std::vector<MountEntry> read_mounts();

// True where one of the comma-separated options is `word`.
bool has_option(const MountEntry& mount, std::string_view word);

// What is mounted topmost at `path` (absolute, resolved); nullopt: nothing.
std::optional<MountEntry> mounted_at(std::string_view path);
// Its type; empty: nothing is mounted there.
std::string type_mounted_at(std::string_view path);

// Mount points at or below `path`, in the order in which they can be unmounted.
std::vector<std::string> mounts_below(const std::string& path);

// As the table has it, without asking what is mounted at `path` itself: its parent is resolved, its
// last part is taken as it is.
std::string resolved_mountpoint(const std::string& path);

}  // namespace larder
