// SPDX-License-Identifier: Apache-2.0
// ShareRoot: the share's root directory, and whether the path still shows the share that it did.
//
// An unmounted share is an empty LOCAL directory. Were it taken for the share, all would look
// deleted and writes would fill the root disk. So the root is held by a descriptor, and the mount
// table is looked at again whenever the kernel says that it changed, and whenever a call fails as
// if the share had gone:
//
//   S1 another identity at the path, or none: away. Nothing is called, nothing is opened.
//   S2 the same identity on another mount (it was mounted again): the path is opened again, and the
//   new
//      root takes the place of the old one for later calls.
//   S3 a path is opened only when the mount that covers it is the one that was just compared; the
//      descriptor's mount id proves it.
//   S4 SHARE = MOUNTPOINT: our own mount lies on the path, so opening it would ask ourselves, for
//   ever. The
//      first root is kept and never opened again; a new mount below us cannot be seen.
//   S5 away is no state that sticks: each call looks again.
//
// Thread: share threads; why_away() from any.
#pragma once

#include <larder/fd.h>
#include <larder/netfs.h>

#include <memory>
#include <string>

#include "base/mutex.h"
#include "netfs/share_identity.h"
#include "netfs/share_pool.h"

namespace larder::netfs {

class ShareRoot {
 public:
  struct Place {
    std::string path;      // absolute and canonical
    std::string share_id;  // empty: what the mount table says
    OwnMountpoint own_mountpoint = OwnMountpoint::kNo;
  };
  struct Root {
    Fd fd;  // O_PATH
    int mount_id = 0;
    std::uint64_t device = 0;
    bool counts_links = false;  // so that 0 links mean: removed
  };
  using Ref = std::shared_ptr<const Root>;

  static SetUp<std::unique_ptr<ShareRoot>> open(Place place, SharePool::Keeper keeper);

  const ShareIdentity& identity() const { return identity_; }
  // Type, source and options of the file system; parts are empty where the mount table does not
  // tell.
  const MountEntry& mount() const { return mount_; }

  // The root to use now. kShareAway: S1.
  Result<Ref> current();
  // What to do about `error`, which a call on `used` brought: a root to try it on once more, or the
  // error to answer with.
  Result<Ref> recover(const Ref& used, Error error);
  std::string why_away() const;

 private:
  struct Seen {
    ShareIdentity identity;
    MountEntry mount;
    bool has_ours_on_top = false;
  };
  ShareRoot(Place place, SharePool::Keeper keeper);

  Result<Seen> see();
  Result<Ref> look_again();
  Result<Ref> open_path(const Seen& seen);
  Result<Ref> reopen(Seen seen);
  enum class OldRoot : bool { kKeep, kDrop };
  tl::unexpected<Error> go_away(std::string why, OldRoot old);
  bool table_changed_locked() REQUIRES(mutex_);

  const Place place_;
  const SharePool::Keeper keeper_;
  const Fd table_;  // /proc/thread-self/mountinfo, to be polled
  ShareIdentity identity_;
  MountEntry mount_;

  mutable Mutex mutex_{Rank::kLeaf};
  Ref root_ GUARDED_BY(mutex_);
  std::uint64_t changes_ GUARDED_BY(mutex_) = 0;  // of the mount table, as far as noticed
  std::uint64_t looked_ GUARDED_BY(mutex_) = 0;   // how many of them were looked at
  bool away_ GUARDED_BY(mutex_) = false;
  std::string why_away_ GUARDED_BY(mutex_);
};

}  // namespace larder::netfs
