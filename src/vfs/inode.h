// SPDX-License-Identifier: Apache-2.0
// Inode: one file of the share, under whatever names, and the ONE version of its content that is
// current.
//
// The kernel has one page cache per inode, so an inode has one current version: every page in store
// and kernel and every reply is of it. `generation` counts the versions that larder has seen;
// handles only move forward.
//
// Invariants:
//   1. `generation` grows whenever bytes cached before may differ from the current version, before
//      any reply that tells of the new one. It never goes back.
//   2. Pages reach the store only if the generation, and for their range the written ranges, are
//      what they were when the fetch began.
//   3. A page covered by a range in `written` is neither served from the store nor filled by a
//      fetch.
//   4. While a session is open the store records nothing of this inode (src/vfs/session.h).
//
// An inode holds no descriptor of the share. It lives while the kernel knows it, a handle is open
// on it, a request works on it, or a child names it as parent.
#pragma once

#include <larder/cookie.h>
#include <larder/filesystem.h>
#include <larder/identity.h>
#include <larder/netfs.h>
#include <larder/reply.h>

#include <absl/container/flat_hash_map.h>
#include <boost/intrusive/list.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "memo/range_flights.h"
#include "vfs/backing_file.h"
#include "vfs/listed.h"
#include "vfs/open_files.h"
#include "vfs/seek_answers.h"
#include "vfs/session.h"

namespace larder {

class InodeTable;
class Inode;
void intrusive_ptr_add_ref(Inode* inode);
void intrusive_ptr_release(Inode* inode);
using InodeRef = boost::intrusive_ptr<Inode>;

// A name of an inode: entry of a directory. Guarded by NameTree's lock.
struct Link {
  InodeRef parent;
  std::string name;
};

// Finds a std::string by a std::string_view.
struct NameHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view name) const {
    return std::hash<std::string_view>{}(name);
  }
};

struct Child {
  Inode* inode =
      nullptr;  // borrowed: its Link keeps this directory, and takes this entry out when it goes
  Nanoseconds trusted_until_mono_ns = 0;
  Nanoseconds told_until_mono_ns = 0;  // the kernel trusts the link's spelling no longer than that
};

class Inode : public boost::intrusive::list_base_hook<> {
 public:
  static constexpr std::uint64_t kKernelInodes = 8;  // what an address leaves free

  Inode(InodeTable& table, const FileId& file, std::uint32_t type, std::uint64_t shown_inode)
      : file_id(file), type_bits(type), inode_number(shown_inode), table_(table) {}

  // By which the kernel knows it now: the address, and in the bits that it has not, which of the
  // kernel's inodes (for_kernel()).
  NodeId node() const { return for_kernel_now().node; }
  static Inode* of(NodeId node) {
    return reinterpret_cast<Inode*>(node.value() / kKernelInodes * kKernelInodes);
  }
  bool is_regular() const { return type_bits == 0100000; }
  bool is_directory() const { return type_bits == 0040000; }
  bool is_symlink() const { return type_bits == 0120000; }
  void set_identity_locked(const Identity& now) REQUIRES(mutex) {
    identity = now;
    identity_known = true;
    MutexLock lock(published_mutex_);
    published_ = now;
  }
  // The current identity for those who hold locks above this inode's: the cache, during look-up.
  Identity published_identity() const {
    MutexLock lock(published_mutex_);
    return published_;
  }
  // The cookie as it is now; null: not cached.
  cache::CookieRef cookie_now() const {
    MutexLock lock(mutex);
    return cookie;
  }
  // A file of the share that somebody has open on it; null: there is none.
  std::shared_ptr<NetfsFile> open_file(OpenFiles::Use use) const {
    MutexLock lock(mutex);
    return open_files.find(use);
  }
  // The same where it has no name any more.
  std::shared_ptr<NetfsFile> any_open_file(OpenFiles::Use use) const {
    MutexLock lock(mutex);
    return open_files.find_any(use);
  }
  // A version that we did not make: on a share without stable numbers it may be another file's.
  void shows_foreign_version_locked() REQUIRES(mutex) {
    if (file_id.given()) open_files.are_of_before();
  }
  // `file`, which somebody opened on this inode, or null where it may be another file by now.
  std::shared_ptr<NetfsFile> if_its_own(std::shared_ptr<NetfsFile> file) const {
    MutexLock lock(mutex);
    return open_files.is_of_before(file) ? nullptr : std::move(file);
  }
  // A kernel that gathers writes takes nobody's word for the size and the times of a file that it
  // knows. So for another version it is given another inode, as long as the file is not open here:
  // under a number of its own, so that whoever is on his way by the one of before meets no dead
  // inode there, but is told ESTALE here, looks the name up anew and comes again. So is the next
  // file that has the number of one that was removed.
  struct ForKernel {
    NodeId node;
    std::uint64_t generation = 0;
  };
  ForKernel for_kernel() {
    MutexLock lock(mutex);
    show_current_locked();
    return for_kernel_now();
  }
  ForKernel for_kernel_now() const {
    const std::uint64_t which = kernel_inode.load();
    const NodeId node{reinterpret_cast<std::uintptr_t>(this) + which % kKernelInodes};
    return {node, 1 + which};
  }
  void show_current_locked() REQUIRES(mutex) {
    if (kernel_shows_another_locked()) kernel_inode.fetch_add(1);
    if (open_count != 0) return;
    shown_generation = generation.load();
    shown = identity;
  }
  // Not where we let go of pages of the very version that it was shown.
  bool kernel_shows_another_locked() const REQUIRES(mutex) {
    return is_regular() && open_count == 0 && shown_generation != generation.load() &&
           shown != identity;
  }
  bool kernel_shows_another() const {
    MutexLock lock(mutex);
    return kernel_shows_another_locked();
  }
  // Null when the last reference is gone and the inode on its way out.
  InodeRef reference_if_alive();
  bool is_referenced() const { return references_.load(std::memory_order_acquire) != 0; }

  // Constant.
  const FileId file_id;
  const std::uint32_t type_bits;     // S_IFMT of the mode
  const std::uint64_t inode_number;  // st_ino

  mutable Mutex mutex{Rank::kInode};

  // Guarded by mutex: what the share said of it.
  std::uint64_t lookups GUARDED_BY(mutex) = 0;  // that the kernel holds
  Attributes attributes GUARDED_BY(mutex);
  bool attributes_known GUARDED_BY(mutex) = false;
  Nanoseconds trusted_until_mono_ns GUARDED_BY(mutex) = 0;
  Nanoseconds asked_mono_ns GUARDED_BY(mutex) = 0;  // when what is known was asked for
  // The number of our own last change of it (Vfs::Asked).
  std::uint64_t last_change GUARDED_BY(mutex) = 0;
  // What the kernel was told last, as far as it tells versions apart.
  mutable Identity told GUARDED_BY(mutex);
  bool no_capability GUARDED_BY(mutex) =
      false;  // has no security.capability, as long as attributes are trusted

  // Guarded by mutex: the current version of the content (regular files). Set by
  // set_identity_locked().
  Identity identity GUARDED_BY(mutex);
  bool identity_known GUARDED_BY(mutex) = false;
  std::uint64_t kernel_generation GUARDED_BY(mutex) = 0;  // of the pages that the kernel may hold
  std::uint64_t shown_generation GUARDED_BY(mutex) = 1;   // of what the kernel's inode shows
  Identity shown GUARDED_BY(mutex);                       // the same
  unsigned open_count GUARDED_BY(mutex) = 0;
  // How the file is served from its first open to its last release (pass_through.cc).
  bool excluded GUARDED_BY(mutex) = false;                 // from caching
  std::shared_ptr<BackingFile> backing GUARDED_BY(mutex);  // null: reads and writes come here
  OpenFiles open_files GUARDED_BY(mutex);
  std::vector<LockFile> lock_files GUARDED_BY(mutex);  // locks=share
  cache::CookieRef cookie GUARDED_BY(mutex);
  memo::RangeFlights flights GUARDED_BY(mutex);
  Session session GUARDED_BY(mutex);
  std::unique_ptr<SeekAnswers> seeks GUARDED_BY(mutex);  // null: none were asked for
  std::unique_ptr<DirectoryState> directory
      GUARDED_BY(mutex);  // of directories, once they were opened
  bool unlinked GUARDED_BY(mutex) =
      false;  // its last name is gone: what is cached goes with the inode
  bool removed_by_us GUARDED_BY(mutex) = false;  // that name
  // What it was when we removed it: for who still holds that when another file has its number.
  std::unique_ptr<Attributes> removed GUARDED_BY(mutex);

  std::atomic<bool> used{true};  // since the table last looked for the coldest

  // Written under mutex, read without.
  std::atomic<std::uint64_t> generation{1};
  std::atomic<std::uint64_t> kernel_inode{0};  // how many the kernel was given before this one
  std::atomic<std::uint64_t> warm_reads{0};    // to show
  std::atomic<bool> passed_through{false};     // it has a `backing`
  // The number of the cache object on which the last session was begun in the store. Another one
  // that the cookie was given since (its cache failed and came back) knows nothing of the session.
  std::atomic<std::uint32_t> session_object{0};

  // Guarded by NameTree's lock.
  std::vector<Link> links;
  absl::flat_hash_map<std::string, Child, NameHash, std::equal_to<>> children;

 private:
  friend class InodeTable;
  friend void intrusive_ptr_add_ref(Inode* inode);
  friend void intrusive_ptr_release(Inode* inode);
  InodeTable& table_;
  std::atomic<std::uint64_t> references_{0};
  mutable Mutex published_mutex_{Rank::kLeaf};
  Identity published_ GUARDED_BY(published_mutex_);
};

static_assert(alignof(Inode) >= Inode::kKernelInodes);

// File id and type -> Inode, for all that is in memory. Thread: any.
class InodeTable {
 public:
  // `on_gone` runs once for each inode that leaves, without locks, before it is deleted.
  explicit InodeTable(void (*on_gone)(void* context, Inode& inode), void* context)
      : on_gone_(on_gone), context_(context) {}

  InodeRef find_or_make(const FileId& file, std::uint32_t type, std::uint64_t shown_inode);
  std::size_t size() const;
  std::vector<InodeRef> all() const;
  // At most `count` of those that were not found since they were last looked at, as a clock's hand
  // passes over them.
  std::vector<InodeRef> coldest(std::size_t count);
  // Until those that have no reference any more have left, on whatever threads they do.
  void wait_until_gone() const;

 private:
  friend void intrusive_ptr_release(Inode* inode);
  void let_go(Inode* inode);

  void (*on_gone_)(void* context, Inode& inode);
  void* context_;
  // One number, two types: the file was replaced by something else under the same number, while the
  // kernel still holds the first.
  struct Key {
    FileId file;
    std::uint32_t type;
    friend bool operator==(const Key&, const Key&) = default;
    template <class H>
    friend H AbslHashValue(H hash, const Key& key) {
      return H::combine(std::move(hash), std::hash<FileId>{}(key.file), key.type);
    }
  };

  mutable Mutex mutex_{Rank::kInodeTable};
  absl::flat_hash_map<Key, Inode*> inodes_ GUARDED_BY(mutex_);
  boost::intrusive::list<Inode, boost::intrusive::constant_time_size<false>> ring_
      GUARDED_BY(mutex_);                       // all of them; the hand stands at the front
  std::size_t leaving_ GUARDED_BY(mutex_) = 0;  // not in the table any more, on_gone_ not yet run
};

}  // namespace larder
