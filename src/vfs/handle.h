// SPDX-License-Identifier: Apache-2.0
// Handles: what the kernel holds between OPEN and RELEASE. Its HandleId is the handle's address.
#pragma once

#include <larder/netfs.h>
#include <larder/reply.h>
#include <larder/units.h>

#include <fcntl.h>

#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <larder/credentials.h>
#include "base/mutex.h"

#include "vfs/inode.h"
#include "vfs/memos.h"

namespace larder {

// How far ahead of a reader to fetch. A reader that goes on where it stopped gets twice the window
// each time, up to `kWindowMax`; one that jumps starts anew with what it asks for. Per handle, so
// that many readers of one file do not break each other's rhythm. Reads that find all they want are
// not told here: whoever comes to the end of what was fetched ahead has read up to there.
class ReadAhead {
 public:
  static constexpr std::uint64_t kWindowStart = 128 << 10;
  static constexpr std::uint64_t kWindowMax = 8 << 20;

  // Bytes to fetch from `offset` on for a read of `count` there, `count` included.
  std::uint64_t next(std::uint64_t offset, std::uint64_t count) {
    // The kernel reads ahead itself and sends neighbouring requests in any order: within a window
    // counts as going on.
    const bool goes_on =
        offset + kWindowStart >= end_ && offset <= reach_ + kWindowStart && end_ != 0;
    const bool starts = end_ == 0 && offset == 0;
    if (goes_on)
      window_ = window_ == 0 ? kWindowStart : std::min(window_ * 2, kWindowMax);
    else
      window_ = starts ? kWindowStart : 0;
    end_ = goes_on ? std::max(end_, offset + count) : offset + count;
    reach_ = std::max(end_, offset + window_);
    return std::max(window_, count);
  }

 private:
  std::uint64_t end_ = 0;     // of the last read
  std::uint64_t reach_ = 0;   // of what it was to bring
  std::uint64_t window_ = 0;  // 0: reads at random so far
};

// The share's open file of a handle; empty as long as the cache has answered everything. Shared
// with the fetches that run for the handle, which may outlive it.
class FileSlot {
 public:
  std::shared_ptr<NetfsFile> get() const {
    MutexLock lock(mutex_);
    return file_;
  }
  // What is read through: another one where the handle has moved on to a file that the name became.
  std::shared_ptr<NetfsFile> to_read() const {
    MutexLock lock(mutex_);
    return to_read_ ? to_read_ : file_;
  }
  void set(const std::shared_ptr<NetfsFile>& file) {
    MutexLock lock(mutex_);
    file_ = file;
  }
  // Gives what was there before, which the caller lets go of without a lock.
  [[nodiscard]] std::shared_ptr<NetfsFile> set_to_read(std::shared_ptr<NetfsFile> file) {
    MutexLock lock(mutex_);
    return std::exchange(file_ ? to_read_ : file_, std::move(file));
  }

 private:
  mutable Mutex mutex_{Rank::kLeaf};
  std::shared_ptr<NetfsFile> file_ GUARDED_BY(mutex_);
  std::shared_ptr<NetfsFile> to_read_ GUARDED_BY(mutex_);
};

// The kernel's until RELEASE; a read whose asker has left may outlive that.
struct Handle : boost::intrusive_ref_counter<Handle> {
  Handle(InodeRef node, int open_flags, CredentialsRef opener)
      : inode(std::move(node)), flags(open_flags), as(std::move(opener)) {}

  HandleId id() { return HandleId{reinterpret_cast<std::uintptr_t>(this)}; }
  bool writable() const { return (flags & O_ACCMODE) != O_RDONLY; }
  bool readable() const { return (flags & O_ACCMODE) != O_WRONLY; }
  bool appends() const { return (flags & O_APPEND) != 0; }

  const InodeRef inode;
  const int flags;          // as the caller gave them
  const CredentialsRef as;  // who opened it; the share is asked for it as them

  const std::shared_ptr<FileSlot> slot = std::make_shared<FileSlot>();
  std::shared_ptr<NetfsFile> share_file() const { return slot->get(); }
  // One of its own where what was opened is not open for reading.
  std::shared_ptr<FileSlot> slot_to_read() const {
    return readable() ? slot : std::make_shared<FileSlot>();
  }

  Mutex mutex{Rank::kHandle};
  ReadAhead ahead GUARDED_BY(mutex);
};

using HandleRef = boost::intrusive_ptr<Handle>;

// A listing is a snapshot; reading from 0 again (rewinddir) takes a new one. The kernel's until
// RELEASEDIR; a listing whose asker has left may outlive that.
struct DirectoryHandle : boost::intrusive_ref_counter<DirectoryHandle> {
  DirectoryHandle(InodeRef node, KernelListing::Offer offered)
      : inode(std::move(node)), offer(offered) {}

  HandleId id() { return HandleId{reinterpret_cast<std::uintptr_t>(this)}; }

  const InodeRef inode;
  const KernelListing::Offer offer;
  Mutex mutex{Rank::kHandle};
  ListedRef entries GUARDED_BY(mutex);
};
using DirectoryHandleRef = boost::intrusive_ptr<DirectoryHandle>;

}  // namespace larder
