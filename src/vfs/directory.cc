// SPDX-License-Identifier: Apache-2.0
// Listings. A handle lists a snapshot of its directory; with attributes, what is not known of its
// entries is asked for in parallel, so that `ls -l` and `find` cost a few round trips instead of
// one a name.
#include <sys/stat.h>

#include <atomic>

#include "vfs/vfs.h"

namespace larder {
namespace {

DirectoryHandle& directory_of(HandleId id) {
  return *reinterpret_cast<DirectoryHandle*>(id.value());
}

constexpr std::uint32_t mode_of(std::uint8_t dirent_type) {
  return static_cast<std::uint32_t>(dirent_type) << 12;  // DTTOIF
}

// Names whose attributes are asked for at once: about what one READDIRPLUS of the kernel holds.
constexpr std::size_t kPlusBatch = 64;

}  // namespace

// One READDIRPLUS that waits for attributes of some of its entries.
struct Vfs::Listing {
  Listing(InodeRef d, Reply r) : directory(std::move(d)), reply(std::move(r)) {}

  InodeRef directory;
  std::shared_ptr<const std::vector<Dirent>> entries;
  std::uint64_t offset = 0;
  std::size_t size = 0;
  std::vector<InodeRef> inodes;  // of entries[offset...]; null: unknown, or gone meanwhile
  std::atomic<std::size_t> missing{0};
  Reply reply;
};

void Vfs::open_directory(NodeId node, Reply reply) {
  if (parts_.control.owns(node)) return parts_.control.open(node, std::move(reply));
  counters_.opens.add();
  counters_.handles.add();
  auto* handle = new DirectoryHandle(inode_of(node));
  reply.opened({.handle = handle->id()});
}

void Vfs::release_directory(NodeId node, HandleId handle, Reply reply) {
  if (parts_.control.owns(node)) return parts_.control.release(handle, std::move(reply));
  counters_.handles.sub();
  const std::unique_ptr<DirectoryHandle> gone(&directory_of(handle));
  reply.ok();
}

// What was made and removed here went through at once: the rest is the share's.
void Vfs::sync_directory(NodeId node, SyncWhat what, Reply reply) {
  if (parts_.control.owns(node)) return reply.ok();
  const InodeRef inode = inode_of(node);
  if (was_removed(*inode)) return reply.ok();
  ask_share<std::monostate>(
      *inode, std::move(reply),
      [what](Netfs& netfs, const Target& target) -> Result<std::monostate> {
        TRY_OK(netfs.sync_directory(target.path, what));
        return std::monostate{};
      },
      [](Reply r, std::monostate) { r.ok(); });
}

// Where the level of coherency says that nothing is asked twice, a listing is kept as long.
std::shared_ptr<const std::vector<Dirent>> Vfs::trusted_listing(const Inode& directory) const {
  MutexLock lock(directory.mutex);
  return parts_.clock.mono_ns() < directory.listing_until_mono_ns ? directory.listing : nullptr;
}

void Vfs::keep_listing(Inode& directory, const std::shared_ptr<const std::vector<Dirent>>& entries,
                       const Asked& asked) {
  const Settings& settings = parts_.policy.resolve(directory);
  if (settings.coherency != Coherency::kTtl) return;
  MutexLock lock(directory.mutex);
  if (asked.change_count != directory.change_count) return;
  directory.listing = entries;
  directory.listing_until_mono_ns = asked.at_mono_ns + settings.ttl_ns;
}

// Takes the snapshot at offset 0, then goes on with `then`.
template <class Then>
void Vfs::with_listing(DirectoryHandle& handle, std::uint64_t offset, Reply reply, Then then) {
  if (offset != 0) {
    std::shared_ptr<const std::vector<Dirent>> entries;
    {
      MutexLock lock(handle.mutex);
      entries = handle.entries;
    }
    if (entries) return then(std::move(entries), std::move(reply));
  } else if (auto entries = trusted_listing(*handle.inode)) {
    MutexLock lock(handle.mutex);
    handle.entries = entries;
    lock.unlock();
    return then(std::move(entries), std::move(reply));
  }
  Result<std::string> path = names_.path_of(*handle.inode);
  if (!path) return reply.error(path.error());
  if (!park(reply)) return;
  const Asked asked = ask(*handle.inode);
  parts_.share.call<std::vector<Dirent>>(
      CallKind::kNames, {}, [path = std::move(*path)](Netfs& netfs) { return netfs.list(path); },
      [this, &handle, asked, then = std::move(then),
       reply = std::move(reply)](Result<std::vector<Dirent>> result) mutable {
        if (!result) return reply.error(result.error());
        auto entries = std::make_shared<const std::vector<Dirent>>(std::move(*result));
        keep_listing(*handle.inode, entries, asked);
        {
          MutexLock lock(handle.mutex);
          handle.entries = entries;
        }
        then(std::move(entries), std::move(reply));
      });
}

// "." and ".." come first, as offsets 1 and 2; entry i of the snapshot has offset i + 3.
bool Vfs::add_dots(Inode& directory, std::uint64_t& offset, std::size_t& used, std::size_t size,
                   ReplySlot& slot) {
  for (const std::string_view name : {".", ".."}) {
    const std::uint64_t next = name.size();
    if (offset >= next) continue;
    if (!slot.add_dirent(used, size, name, directory.inode_number, S_IFDIR, next)) return false;
    offset = next;
  }
  return true;
}

void Vfs::read_directory(NodeId node, HandleId id, std::uint64_t offset, std::size_t size,
                         Reply reply) {
  if (parts_.control.owns(node))
    return parts_.control.read_directory(offset, size, std::move(reply));
  DirectoryHandle& handle = directory_of(id);
  with_listing(handle, offset, std::move(reply),
               [this, directory = handle.inode, offset, size](
                   const std::shared_ptr<const std::vector<Dirent>>& entries, Reply r) mutable {
                 std::size_t used = 0;
                 bool room = add_dots(*directory, offset, used, size, r.slot());
                 for (std::size_t i = offset - 2; room && i < entries->size(); ++i) {
                   const Dirent& entry = (*entries)[i];
                   const InodeRef known = names_.find(*directory, entry.name).inode;
                   const std::uint64_t number = known ? known->inode_number : entry.inode;
                   room = r.slot().add_dirent(used, size, entry.name, number, mode_of(entry.type),
                                              i + 3);
                 }
                 r.data(ByteCount{used});
               });
}

void Vfs::read_directory_plus(NodeId node, HandleId id, std::uint64_t offset, std::size_t size,
                              Reply reply) {
  if (parts_.control.owns(node))
    return parts_.control.read_directory_plus(offset, size, std::move(reply));
  DirectoryHandle& handle = directory_of(id);
  with_listing(handle, offset, std::move(reply),
               [this, directory = handle.inode, offset, size](
                   std::shared_ptr<const std::vector<Dirent>> entries, Reply r) {
                 auto listing = std::make_shared<Listing>(directory, std::move(r));
                 listing->entries = std::move(entries);
                 listing->offset = offset;
                 listing->size = size;
                 gather(std::move(listing));
               });
}

// Asks for what is not known or not trusted of the next entries, all at once.
void Vfs::gather(std::shared_ptr<Listing> listing) {
  const auto& entries = *listing->entries;
  const std::size_t first = listing->offset > 2 ? listing->offset - 2 : 0;
  const std::size_t count = std::min(kPlusBatch, entries.size() - std::min(first, entries.size()));
  listing->inodes.resize(count);
  listing->missing.store(1);  // our own, until all have been asked
  const Nanoseconds now = parts_.clock.mono_ns();
  for (std::size_t i = 0; i < count; ++i) {
    const std::string& name = entries[first + i].name;
    const NameTree::Found found = names_.find(*listing->directory, name);
    const bool fresh = found.inode && now < found.trusted_until_mono_ns && trusted(*found.inode);
    if (fresh || (found.inode && serve_unasked(*found.inode))) {
      listing->inodes[i] = found.inode;
      continue;
    }
    Result<std::string> path = names_.path_of(*listing->directory, name);
    if (!path) continue;
    listing->missing.fetch_add(1);
    const Asked asked = found.inode ? ask(*found.inode) : Asked{now, 0};
    parts_.share.call<Attributes>(
        CallKind::kNames, asking(true),
        [path = std::move(*path)](Netfs& netfs) { return netfs.stat(path, Freshness::kServer); },
        [this, listing, i, name, asked](Result<Attributes> result) {
          // Without attributes the entry is listed by name only, and looked up when it is used.
          if (result) listing->inodes[i] = install(*listing->directory, name, *result, asked);
          if (listing->missing.fetch_sub(1) == 1) answer_listing(*listing);
        });
  }
  if (listing->missing.fetch_sub(1) == 1) answer_listing(*listing);
}

void Vfs::answer_listing(Listing& listing) {
  ReplySlot& slot = listing.reply.slot();
  std::size_t used = 0;
  std::uint64_t offset = listing.offset;
  bool room = add_dots_plus(*listing.directory, offset, used, listing.size, slot);
  const std::size_t first = listing.offset > 2 ? listing.offset - 2 : 0;
  for (std::size_t i = 0; room && i < listing.inodes.size(); ++i) {
    const Dirent& dirent = (*listing.entries)[first + i];
    Entry entry;
    if (Inode* inode = listing.inodes[i].get()) {
      entry = entry_of(*inode, parts_.clock.mono_ns() + entry_trust_ns(*inode));
      hold(*inode);
    } else {
      // Node 0: the kernel takes the name and type only.
      entry.inode = dirent.inode;
      entry.attributes.mode = mode_of(dirent.type);
    }
    room = slot.add_dirent_plus(used, listing.size, dirent.name, entry, first + i + 3);
    if (!room && entry.node.value() != 0) forget(entry.node, 1);
  }
  listing.reply.data(ByteCount{used});
}

// The kernel takes no reference for the dots.
bool Vfs::add_dots_plus(Inode& directory, std::uint64_t& offset, std::size_t& used,
                        std::size_t size, ReplySlot& slot) {
  for (const std::string_view name : {".", ".."}) {
    const std::uint64_t next = name.size();
    if (offset >= next) continue;
    Entry entry;
    entry.inode = directory.inode_number;
    entry.attributes.mode = S_IFDIR;
    if (!slot.add_dirent_plus(used, size, name, entry, next)) return false;
    offset = next;
  }
  return true;
}

}  // namespace larder
