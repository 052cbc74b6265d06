// SPDX-License-Identifier: Apache-2.0
// OpenFiles: the share's files that handles of one inode hold.
//
// The kernel seldom says through which handle fstat(2), fchmod(2) or fgetxattr(2) came, and a name
// may be gone or another file's by then: so an inode that is open is asked about by a file that is
// open on it, whoever opened that.
//
// Guarded by the inode's lock.
#pragma once

#include <larder/filesystem.h>
#include <larder/netfs.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace larder {

// How the share is asked about an inode.
struct Target {
  std::string path;                 // "" where its last name is gone (or it is the root)
  std::shared_ptr<NetfsFile> file;  // null: by path

  Result<Attributes> stat(Netfs& netfs) const {
    return file ? netfs.stat(*file, Freshness::kServer) : netfs.stat(path, Freshness::kServer);
  }
};

// The descriptor through which one owner locks (locks.cc).
struct LockFile {
  LockOwner owner;
  std::shared_ptr<NetfsFile> file;
};

class OpenFiles {
 public:
  enum class Use : std::uint8_t { kAny, kReading };

  // Borrowed: it goes with the last handle that holds it.
  void add(const std::shared_ptr<NetfsFile>& file, Use use) {
    std::erase_if(files_, [](const One& one) { return one.file.expired(); });
    files_.push_back({file, use});
  }
  // One is held until the last handle of the inode goes: its last name has gone, and not all of the
  // handles have a file. `file`: opened for this; null: one that is there serves.
  void keep(const std::shared_ptr<NetfsFile>& file) {
    if (file) add(file, Use::kReading);
    kept_ = find(Use::kReading);
  }
  // For `use`; null: there is none.
  std::shared_ptr<NetfsFile> find(Use use) const {
    for (const One& one : files_) {
      if (use == Use::kReading && one.use != Use::kReading) continue;
      if (auto file = one.file.lock()) return file;
    }
    return nullptr;
  }

 private:
  struct One {
    std::weak_ptr<NetfsFile> file;
    Use use = Use::kAny;
  };
  std::vector<One> files_;
  std::shared_ptr<NetfsFile> kept_;
};

}  // namespace larder
