// SPDX-License-Identifier: Apache-2.0
// SimNetfs's own files and handles; for sim_netfs.cc and sim_netfs_calls.cc alone.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "support/sim_netfs.h"

namespace larder::test {

inline tl::unexpected<Error> no(int sys_errno) { return fail(ErrorCode::kShareAnswer, sys_errno); }

// The step in which the profile's time stamps move.
inline Nanoseconds step_of(SimProfile profile) {
  switch (profile) {
    case SimProfile::kNfs:
      return 1;
    case SimProfile::kSmb:
      return 100;
    case SimProfile::kSshfs:
    case SimProfile::kS3:
      return kSecond;
  }
  return 1;
}

struct SimNetfs::Node {
  std::uint64_t inode = 0;
  std::uint32_t mode = 0, nlink = 1, uid = 0, gid = 0;
  std::uint64_t rdev = 0;
  std::int64_t atime_ns = 0, mtime_ns = 0, ctime_ns = 0, btime_ns = 0;
  std::string content;  // or the target of a symbolic link
  std::map<std::string, std::string> xattrs;
  struct Child {
    std::string name;
    NodeRef node;
  };
  std::map<std::string, Child> children;  // by key
  bool gone = false;                      // another client removed it
  bool unsent = false;                    // written, and stamped when it is flushed
  std::optional<Attributes> kept;         // by the client below larder
  Nanoseconds kept_until_mono_ns = 0;

  bool is(std::uint32_t type) const { return (mode & S_IFMT) == type; }
};

struct SimNetfs::File final : NetfsFile {
  File(NodeRef n, int f, std::shared_ptr<std::atomic<std::uint64_t>> o)
      : node(std::move(n)), flags(f), open_files(std::move(o)) {
    ++*open_files;
  }
  // As SharePool's keeper does, to whose threads a file goes at its end: no lock behind that of a
  // queue may be held.
  ~File() override {
    Mutex queue{Rank::kQueue};
    const MutexLock lock(queue);
    --*open_files;
  }
  const NodeRef node;
  const int flags;
  const std::shared_ptr<std::atomic<std::uint64_t>> open_files;
};

}  // namespace larder::test
