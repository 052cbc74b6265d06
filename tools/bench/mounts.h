// SPDX-License-Identifier: Apache-2.0
// Mounted: a file system that one of our own processes serves in the foreground, unmounted at the
// end.
//
// The destructor is the orderly way (between two fresh stores); when the bench itself ends badly,
// the janitor does the same. Thread: one at a time.
#pragma once

#include <larder/result.h>

#include <string>
#include <vector>

#include "bench/process.h"
#include "ctl/figures.h"

namespace larder::bench {

// Where the programs are.
struct Programs {
  std::string larder;
  std::string slowshare;
};
// Beside this program in its build directory.
Programs programs_of_build();

class Mounted {
 public:
  // Starts `argv` and waits until `mountpoint` (made here) is mounted.
  static SetUp<Mounted> start(const std::vector<std::string>& argv, const std::string& mountpoint,
                              const std::string& log);
  Mounted(Mounted&&) = default;
  Mounted& operator=(Mounted&&) = delete;
  ~Mounted();

  const std::string& path() const { return path_; }
  const Child& process() const { return process_; }
  // Of a larder: what it has counted so far.
  SetUp<ctl::Figures> figures() const;

 private:
  Mounted(Child process, std::string path) : process_(std::move(process)), path_(std::move(path)) {}
  Child process_;
  std::string path_;  // empty: moved from
};

// A fresh store per mount, below `directory`/NAME. `options`: more of -o, with a comma in front.
SetUp<Mounted> mount_larder(const Programs& programs, const std::string& directory,
                            const std::string& name, const std::string& share,
                            const std::string& options);
SetUp<Mounted> mount_slowshare(const Programs& programs, const std::string& directory,
                               const std::string& source, const std::string& options);
// Compiled from the example that comes with libfuse. kNever: every read reaches it
// (FOPEN_DIRECT_IO); kAlways: the kernel keeps its pages.
enum class PassthroughCache { kNever, kAlways };
SetUp<Mounted> mount_passthrough(const std::string& directory, const std::string& name,
                                 const std::string& source, PassthroughCache cache);

// File systems of the distribution; rclone with a cache of its own of whole files, warm.
enum class FusePeer { kBindfs, kRclone };
std::string name_of(FusePeer peer);
SetUp<Mounted> mount_peer(FusePeer peer, const std::string& directory, const std::string& source);

}  // namespace larder::bench
