// SPDX-License-Identifier: Apache-2.0
// NameTree: the names of inodes that are in memory, as dentries are for the kernel.
//
// Paths are made here from parent links when a call to the share needs one, so a rename of a
// directory moves one link and nothing below it. A directory's entry borrows the inode; the inode's
// link keeps the directory; so a tree of any depth goes leaf first.
//
// Where the share folds case, a name has one entry however it is spelled, and its link is spelled
// as the kernel knows it best: only that spelling is the kernel's to trust (Found::as_spelled), so
// that when the name goes there is one spelling to take back, whichever it went by.
//
// Thread: any; one lock, held for the length of a path.
#pragma once

#include <larder/clock.h>
#include <larder/result.h>
#include <larder/units.h>

#include <string>
#include <string_view>

#include "base/mutex.h"
#include "vfs/inode.h"
#include "vfs/name_keys.h"

namespace larder {

class NameTree {
 public:
  NameTree(Inode& root, NameKeys keys, const Clock& clock)
      : root_(root), keys_(keys), clock_(clock) {}

  const NameKeys& keys() const { return keys_; }

  // Relative to the share's root, which is "". Errors: kShareStale when no name is left.
  Result<std::string> path_of(const Inode& inode) const;
  Result<std::string> path_of(const Inode& directory, std::string_view name) const;
  // By each of its names, the one that was seen last first.
  std::vector<std::string> paths_of(const Inode& inode) const;

  struct Found {
    InodeRef inode;  // null: not in memory
    Nanoseconds trusted_until_mono_ns = 0;
    bool as_spelled = true;  // the kernel may trust this spelling
  };
  Found find(const Inode& directory, std::string_view name) const;
  std::vector<Link> links_of(const Inode& inode) const;

  // What a change took out, to be let go of where no lock is held: it may be the last reference.
  struct Dropped {
    InodeRef inode;  // what the name was before, or null
    std::vector<Link> links;
  };
  // `name` is `inode` from now on; what it was before loses the name. Returns that, or null.
  InodeRef put(Inode& directory, std::string_view name, Inode& inode,
               Nanoseconds trusted_until_mono_ns);
  void put(Inode& directory, std::string_view name, Inode& inode, Nanoseconds trusted_until_mono_ns,
           Dropped& dropped);
  void remove(Inode& directory, std::string_view name, Dropped& dropped);
  // What was taken out under the old name and under the new one, where the latter was another's.
  struct Moved {
    Dropped from, to;
  };
  Moved move(Inode& from, std::string_view name, Inode& to, std::string_view new_name);
  // Two names change places.
  Moved exchange(Inode& a, std::string_view a_name, Inode& b, std::string_view b_name);
  // Its names and those of the directories above are asked for at their next use: the path of it
  // was found to be another file's, or to lead nowhere.
  void distrust(Inode& inode);
  // The inode leaves memory: it has no names any more.
  void detach(Inode& inode);

 private:
  Result<std::string> path_locked(const Inode& inode) const REQUIRES(mutex_);
  Result<std::string> path_locked(const Link& last) const REQUIRES(mutex_);
  InodeRef remove_locked(Inode& directory, std::string_view name, std::vector<Link>& dropped)
      REQUIRES(mutex_);
  void link_locked(Inode& directory, std::string_view name, Inode& inode, Child child)
      REQUIRES(mutex_);
  Nanoseconds told_until_locked(const Inode& directory, std::string_view name) const
      REQUIRES(mutex_);
  std::vector<Link>::iterator link_of_locked(Inode& inode, const Inode& directory,
                                             std::string_view name) const REQUIRES(mutex_);

  Inode& root_;
  const NameKeys keys_;
  const Clock& clock_;
  mutable Mutex mutex_{Rank::kNames};
};

}  // namespace larder
