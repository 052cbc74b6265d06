// SPDX-License-Identifier: Apache-2.0
#include "vfs/inode.h"

#include <algorithm>
#include <thread>

namespace larder {
namespace {

// A reference only if there still is one: what fell to zero is on its way out.
bool try_reference(std::atomic<std::uint64_t>& references) {
  std::uint64_t n = references.load(std::memory_order_relaxed);
  while (n != 0) {
    if (references.compare_exchange_weak(n, n + 1, std::memory_order_acquire)) return true;
  }
  return false;
}

}  // namespace

void intrusive_ptr_add_ref(Inode* inode) {
  inode->references_.fetch_add(1, std::memory_order_relaxed);
}

void intrusive_ptr_release(Inode* inode) {
  if (inode->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) inode->table_.let_go(inode);
}

InodeRef Inode::reference_if_alive() {
  return try_reference(references_) ? InodeRef(this, false) : nullptr;
}

std::vector<InodeRef> InodeTable::all() const {
  MutexLock lock(mutex_);
  std::vector<InodeRef> inodes;
  inodes.reserve(inodes_.size());
  for (const auto& [key, inode] : inodes_)
    if (InodeRef alive = inode->reference_if_alive()) inodes.push_back(std::move(alive));
  return inodes;
}

InodeRef InodeTable::find_or_make(const FileId& file, std::uint32_t type,
                                  std::uint64_t shown_inode) {
  MutexLock lock(mutex_);
  Inode*& slot = inodes_[{file, type}];
  if (slot != nullptr) {
    if (InodeRef alive = slot->reference_if_alive()) {
      alive->used.store(true, std::memory_order_relaxed);
      return alive;
    }
  }
  slot = new Inode(*this, file, type, shown_inode);
  ring_.push_back(*slot);
  return InodeRef(slot);
}

std::size_t InodeTable::size() const {
  MutexLock lock(mutex_);
  return inodes_.size();
}

std::vector<InodeRef> InodeTable::coldest(std::size_t count) {
  std::vector<InodeRef> found;
  MutexLock lock(mutex_);
  for (std::size_t looks = 8 * count; looks > 0 && found.size() < count && !ring_.empty();
       --looks) {
    Inode& inode = ring_.front();
    ring_.splice(ring_.end(), ring_, ring_.begin());
    if (inode.used.exchange(false, std::memory_order_relaxed)) continue;
    if (InodeRef alive = inode.reference_if_alive()) found.push_back(std::move(alive));
  }
  return found;
}

void InodeTable::let_go(Inode* inode) {
  {
    MutexLock lock(mutex_);
    const auto found = inodes_.find(Key{inode->file_id, inode->type_bits});
    if (found != inodes_.end() && found->second == inode) inodes_.erase(found);
    ring_.erase(ring_.iterator_to(*inode));
    ++leaving_;
  }
  on_gone_(context_, *inode);
  delete inode;
  MutexLock lock(mutex_);
  --leaving_;
}

void InodeTable::wait_until_gone() const {
  const auto some_leave = [this] {
    MutexLock lock(mutex_);
    if (leaving_ != 0) return true;
    return std::any_of(inodes_.begin(), inodes_.end(),
                       [](const auto& entry) { return !entry.second->is_referenced(); });
  };
  while (some_leave()) std::this_thread::yield();
}

}  // namespace larder
