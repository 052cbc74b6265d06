// SPDX-License-Identifier: Apache-2.0
// OpenFiles: the share's files that handles of one inode hold.
//
// The kernel seldom says through which handle fstat(2), fchmod(2) or fgetxattr(2) came, and a name
// may be gone or another file's by then: so an inode that is open is asked about by a file that is
// open on it, whoever opened that.
//
// On a share without stable numbers a name that another client has given to another file leads to
// the same inode here, and what was opened before may be the file of before. Nothing tells: sshfs
// answers fstat(2) by the path. So once the share shows a version that is not ours, what was opened
// before *is of before*: it speaks for the inode only while there is no other way to ask.
//
// Guarded by the inode's lock. A file that goes is closed on a share thread, which takes locks that
// come before this one: so whatever might hold a file last is handed to the caller, who lets go of
// it behind the lock.
#pragma once

#include <larder/filesystem.h>
#include <larder/netfs.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace larder {

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
  // All that are here now are of before.
  void are_of_before() {
    for (One& one : files_) one.of_before = true;
  }
  bool is_of_before(const std::shared_ptr<NetfsFile>& file) const {
    const One* one = find_one(file);
    return one != nullptr && one->of_before;
  }
  bool has(const std::shared_ptr<NetfsFile>& file) const { return find_one(file) != nullptr; }
  // One is held until the last handle of the inode goes: its last name has gone, and not all of the
  // handles have a file. `file`: opened for this; null: one that is there serves. Gives the one
  // that was held before.
  [[nodiscard]] std::shared_ptr<NetfsFile> keep(const std::shared_ptr<NetfsFile>& file) {
    if (file) add(file, Use::kReading);
    return std::exchange(kept_, find_any(Use::kReading));
  }
  // The newest for `use` that is not of before; null: there is none.
  std::shared_ptr<NetfsFile> find(Use use) const {
    return newest(use, [](const One& one) { return !one.of_before; });
  }
  // Where the inode has no name any more.
  std::shared_ptr<NetfsFile> find_any(Use use) const {
    auto file = find(use);
    return file ? file : newest(use, [](const One&) { return true; });
  }

 private:
  struct One {
    std::weak_ptr<NetfsFile> file;
    Use use = Use::kAny;
    bool of_before = false;
  };
  // Without holding it.
  static bool is_same(const std::weak_ptr<NetfsFile>& one, const std::shared_ptr<NetfsFile>& file) {
    return !one.owner_before(file) && !file.owner_before(one);
  }
  const One* find_one(const std::shared_ptr<NetfsFile>& file) const {
    const auto at = std::find_if(files_.begin(), files_.end(),
                                 [&](const One& one) { return is_same(one.file, file); });
    return at == files_.end() ? nullptr : &*at;
  }
  template <class Fits>
  std::shared_ptr<NetfsFile> newest(Use use, Fits fits) const {
    for (auto one = files_.rbegin(); one != files_.rend(); ++one) {
      if ((use == Use::kReading && one->use != Use::kReading) || !fits(*one)) continue;
      if (auto file = one->file.lock()) return file;
    }
    return nullptr;
  }
  std::vector<One> files_;
  std::shared_ptr<NetfsFile> kept_;
};

}  // namespace larder
