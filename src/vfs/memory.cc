// SPDX-License-Identifier: Apache-2.0
// What larder keeps in memory, against what it may (`memory=`).
//
// Most of it are inodes, and an inode lives while the kernel knows it. So above the bound larder
// asks the kernel to let go of names, of those first that nobody has asked for lately: it answers
// with FORGET, and the inode goes. Directories stay until the kernel lets go of them by itself: to
// take one away would unmount what is mounted below it. Listings and their kind give way before
// that, and nobody reads ahead while fetches hold much.
#include <algorithm>

#include "vfs/vfs.h"

namespace larder {
namespace {

// An inode with its name, in the tables of inodes and of names.
constexpr std::uint64_t kInodeBytes = sizeof(Inode) + 320;
// Names given back for each inode that comes: more than come, so that it ends below the bound.
constexpr std::size_t kGivenBackAtOnce = 4;

}  // namespace

std::uint64_t Vfs::memory_used() const {
  return table_.size() * kInodeBytes + memos_.bytes() + fetch_bytes_->load() +
         copies_in_flight_bytes_.load();
}

bool Vfs::has_room_ahead() const { return fetch_bytes_->load() < options_.memory_bytes / 4; }

std::shared_ptr<AlignedBuffer> Vfs::fetch_buffer(std::size_t size) const {
  auto made = std::make_unique<AlignedBuffer>(size);
  fetch_bytes_->fetch_add(made->size());
  // It may outlive us: a share that hangs reads into it.
  return {made.release(), [held = fetch_bytes_](AlignedBuffer* last) {
            const std::unique_ptr<AlignedBuffer> gone(last);
            held->fetch_sub(gone->size());
          }};
}

// Behind each inode that came.
void Vfs::keep_within_memory() {
  if (memory_used() <= options_.memory_bytes) return;
  const std::uint64_t memos = memos_.bytes();
  if (memos > options_.memory_bytes / 4) memos_.shed(memos - options_.memory_bytes / 4);
  for (const InodeRef& inode : table_.coldest(kGivenBackAtOnce)) {
    bool in_use = true;
    {
      MutexLock lock(inode->mutex);
      in_use = inode->open_count != 0 || inode->lookups == 0;
    }
    if (in_use || inode->is_directory()) continue;
    for (const Link& link : names_.links_of(*inode)) {
      kernel_->drop_name(node_of(*link.parent), link.name);
      counters_.given_back.add();
    }
  }
}

}  // namespace larder
