// SPDX-License-Identifier: Apache-2.0
// Files that are not cached (nocache=), and among them those that the kernel reads and writes by
// itself.
//
// Invariants:
//   1. How a file is served is decided by its first open, and the same until its last release: the
//      kernel refuses to have one inode open in two ways.
//   2. An excluded inode has no cookie from its first open on: there is nothing of it in the store.
//   3. While the kernel reads and writes a file by itself, none of its attributes are trusted:
//      larder does not see its writes.
#include "vfs/vfs.h"

namespace larder {

bool Vfs::is_excluded(const std::string& path) const { return options_.nocache.mean(path); }

bool Vfs::is_excluded(const Inode& inode) const {
  if (options_.nocache.empty() || !inode.is_regular()) return false;
  const Result<std::string> path = names_.path_of(inode);
  return path && is_excluded(*path);
}

bool Vfs::may_pass_through() const {
  return options_.passes_through && pass_through_ && pass_through_->available();
}

// Null where the kernel does not take it: then larder reads and writes it, as right and slower.
std::shared_ptr<BackingFile> Vfs::give_to_kernel(const OpenedFile& share) {
  if (!share.lent || !may_pass_through()) return nullptr;
  const Result<Fd> file = share.lent->take();
  const Result<BackingId> id =
      file ? pass_through_->open(*file) : Result<BackingId>(fail(file.error()));
  if (id) return std::make_shared<BackingFile>(pass_through_, *id, share.file);
  counters_.pass_through_refused.add();
  return nullptr;
}

std::shared_ptr<BackingFile> Vfs::backing_of(Inode& inode) {
  MutexLock lock(inode.mutex);
  return inode.backing;
}

// What is cached of a file that is excluded by now goes, in front of its first open.
void Vfs::leave_cache(Inode& inode) {
  cache::CookieRef cookie;
  {
    MutexLock lock(inode.mutex);
    if (inode.open_count != 0 || inode.session.open()) return;
    cookie = std::move(inode.cookie);
  }
  if (cookie) parts_.cache.relinquish(std::move(cookie), cache::Retire::kYes);
}

void Vfs::choose_way_locked(Inode& inode, const Opening& opening, const Handle& handle,
                            OpenReply& answer) {
  if (inode.open_count == 0) {
    inode.excluded = opening.excluded && !inode.cookie;
    if (inode.excluded) inode.backing = opening.backing;
    inode.passed_through.store(inode.backing != nullptr);
  }
  if (inode.excluded) counters_.excluded_opens.add();
  if (!inode.backing) return;
  counters_.pass_through_opens.add();
  inode.trusted_until_mono_ns = 0;
  answer.backing = inode.backing->id();
  // close(2) tells what became of writes; here it can only where we wrote.
  if (handle.writable() && parts_.share.traits().tells_writer) answer.direct_io = true;
}

std::shared_ptr<BackingFile> Vfs::leave_way_locked(Inode& inode) {
  if (!inode.backing) return nullptr;
  inode.passed_through.store(false);
  inode.trusted_until_mono_ns = 0;
  inode.kernel_generation = 0;  // whatever pages it has are of before
  return std::exchange(inode.backing, nullptr);
}

}  // namespace larder
