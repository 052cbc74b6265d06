// SPDX-License-Identifier: Apache-2.0
// Changes of names: made on the share first, then here, then told.
#include <fcntl.h>
#include <larder/store.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>

#include "vfs/vfs.h"

namespace larder {

// What larder makes as root for somebody else becomes theirs. A group that a set-group-ID directory
// gave stays.
Result<Attributes> Vfs::hand_over(Netfs& netfs, const std::string& path, NetfsFile* file,
                                  const Attributes& made, const std::optional<NewOwner>& owner) {
  const bool own_group = owner && owner->group == NewOwner::Group::kCallers;
  if (!owner || (made.uid == owner->uid && (!own_group || made.gid == owner->gid))) return made;
  AttributeChange change;
  change.uid = owner->uid;
  if (own_group) change.gid = owner->gid;
  // A new owner takes set-user-ID and set-group-ID away; they were asked for.
  if (!made.is_symlink() && (made.mode & 06000) != 0) change.mode = made.mode & 07777;
  Result<Attributes> given = netfs.set_attributes(path, file, change);
  // A share that maps owners itself (sshfs, SMB) refuses; then they are as it says.
  return given ? given : made;
}

std::optional<Vfs::NewOwner> Vfs::owner_of_new(const Inode& directory, Caller caller) const {
  if (!options_.gives_files_away || (caller.uid == 0 && caller.gid == 0)) return std::nullopt;
  MutexLock lock(directory.mutex);
  const bool gives_group = (directory.attributes.mode & S_ISGID) != 0;
  return NewOwner{caller.uid, caller.gid,
                  gives_group ? NewOwner::Group::kDirectorys : NewOwner::Group::kCallers};
}

template <class Make>
void Vfs::make(NodeId parent, std::string_view name, Caller caller, Reply reply, Make make) {
  if (parts_.control.owns(parent)) return reply.error({ErrorCode::kPermission});
  const InodeRef directory = inode_of(parent);
  Result<std::string> path = names_.path_of(*directory, name);
  if (!path) return reply.error(path.error());
  if (!park(reply)) return;
  const Asked asked = ask();
  const CredentialsRef as = caller_of(reply);
  parts_.share.call<Attributes>(
      CallKind::kNames, until_answered(as),
      [path = std::move(*path), owner = owner_of_new(*directory, caller),
       make = std::move(make)](Netfs& netfs) mutable -> Result<Attributes> {
        TRY(const Attributes made, make(netfs, path));
        return hand_over(netfs, path, nullptr, made, owner);
      },
      [this, directory, name = std::string(name), asked, asked_wall_ns = parts_.clock.wall_ns(),
       reply = std::move(reply)](Result<Attributes> result) mutable {
        changed_name(*directory, name);
        if (!result) return reply.error(result.error());
        share_clock_.saw_made(result->mtime_ns, asked_wall_ns, parts_.clock.wall_ns());
        const InodeRef inode = install(*directory, name, *result, asked);
        answer_entry(
            *inode,
            kernel_trusts_until(*directory, name, asked.at_mono_ns + entry_trust_ns(*inode, name)),
            std::move(reply));
      });
}

// Its time stamps and link count are not what we knew.
void Vfs::changed_directory(Inode& directory) {
  MutexLock lock(directory.mutex);
  directory.last_change = ++changes_;
  directory.trusted_until_mono_ns = 0;
  memos_.listings.invalidate(key_of(directory, "list"));
}

// We made, moved or removed something of that name: what was asked about it before is of before.
void Vfs::changed_name(Inode& directory, std::string_view name) {
  changed_directory(directory);
  memos_.names.invalidate(name_key(nullptr, directory, name));
}

void Vfs::make_directory(NodeId parent, std::string_view name, std::uint32_t mode, Caller caller,
                         Reply reply) {
  make(parent, name, caller, std::move(reply),
       [mode = NewMode(mode, caller.umask)](Netfs& netfs, const std::string& path) {
         return netfs.make_directory(path, mode);
       });
}

void Vfs::make_node(NodeId parent, std::string_view name, std::uint32_t mode, std::uint64_t rdev,
                    Caller caller, Reply reply) {
  make(parent, name, caller, std::move(reply),
       [mode = NewMode(mode, caller.umask), rdev](Netfs& netfs, const std::string& path) {
         return netfs.make_node(path, mode, rdev);
       });
}

void Vfs::make_symlink(NodeId parent, std::string_view name, std::string_view target, Caller caller,
                       Reply reply) {
  make(parent, name, caller, std::move(reply),
       [target = std::string(target)](Netfs& netfs, const std::string& path) {
         return netfs.make_symlink(path, target);
       });
}

void Vfs::make_link(NodeId node, NodeId new_parent, std::string_view new_name, Reply reply) {
  if (parts_.control.owns(node) || parts_.control.owns(new_parent))
    return reply.error({ErrorCode::kPermission});
  const InodeRef inode = inode_of(node);
  const InodeRef directory = inode_of(new_parent);
  Result<Target> from = named_or_open(*inode);
  Result<std::string> to = names_.path_of(*directory, new_name);
  if (!from || !to) return reply.error(from ? to.error() : from.error());
  if (!park(reply)) return;
  const Asked asked = ask();
  const CredentialsRef as = caller_of(reply);
  parts_.share.call<Changed>(
      CallKind::kNames, until_answered(as),
      [from = std::move(*from), to = std::move(*to),
       look = look_at(*inode)](Netfs& netfs) -> Result<Changed> {
        Changed changed{seen(netfs, from, look), {}};
        TRY(changed.now, from.ask_by_name(netfs, [&](const Target& by) {
          return netfs.make_link(by.path, by.file.get(), to);
        }));
        return changed;
      },
      [this, inode, directory, asked, name = std::string(new_name),
       reply = std::move(reply)](Result<Changed> result) mutable {
        changed_name(*directory, name);
        if (!result) return reply.error(result.error());
        const Attributes& now = result->now;
        const Nanoseconds until = parts_.clock.mono_ns() + entry_trust_ns(*inode, name);
        // Another client gave the old name to another file, and that is what has the new name too.
        if (!still_is(*inode, now))
          return answer_entry(*install(*directory, name, now, asked), 0, std::move(reply));
        adopt(*inode, *result, asked);
        has_name(*inode);
        names_.put(*directory, name, *inode, until);
        if (inode->file_id.given()) {
          if (const auto place = names_object(*directory))
            place.store->put_name(place.object, names_.keys().key(name), {inode->file_id, now});
        }
        answer_entry(*inode, kernel_trusts_until(*directory, name, until), std::move(reply));
      });
}

// One name fewer. Without another, what is cached goes with the inode; with others, its ctime has
// moved, and unless we take that over the next open would find a version it does not know.
void Vfs::lost_name(Inode& inode, LostTo whom) {
  MutexLock lock(inode.mutex);
  inode.last_change = ++changes_;
  inode.trusted_until_mono_ns = 0;
  if (inode.attributes.nlink > 1 && !inode.file_id.given() && !inode.is_directory())
    --inode.attributes.nlink;
  else
    inode.unlinked = true;
  if (!inode.unlinked || whom == LostTo::kOthers) return;
  inode.removed_by_us = true;
  inode.removed = std::make_unique<Attributes>(inode.attributes);
  inode.removed->nlink = 0;
}

// It is open here, and nobody has opened the share's file yet: that must happen before its last
// name goes.
bool Vfs::must_keep_file(const InodeRef& inode) const {
  if (!inode || !inode->is_regular()) return false;
  std::shared_ptr<NetfsFile> open;  // goes behind the lock
  MutexLock lock(inode->mutex);
  open = inode->open_files.find(OpenFiles::Use::kReading);
  return inode->open_count != 0 && !open;
}

// On a share thread. Null where it cannot be opened, or is another file by now.
std::shared_ptr<NetfsFile> Vfs::keep_file(Netfs& netfs, const std::string& path,
                                          const Inode& inode) {
  const auto file = target_at(inode, path).opened(netfs);
  return file ? *file : nullptr;
}

void Vfs::keep_open(Inode& inode, const std::shared_ptr<NetfsFile>& file) {
  std::shared_ptr<NetfsFile> before;  // goes behind the lock
  MutexLock lock(inode.mutex);
  if (inode.open_count != 0) before = inode.open_files.keep(file);
}

template <class Remove>
void Vfs::take_out(NodeId parent, std::string_view name, Reply reply, Remove remove) {
  if (parts_.control.owns(parent)) return reply.error({ErrorCode::kPermission});
  const InodeRef directory = inode_of(parent);
  Result<std::string> path = names_.path_of(*directory, name);
  if (!path) return reply.error(path.error());
  const InodeRef known = names_.find(*directory, name).inode;
  if (!park(reply)) return;
  using Kept = std::shared_ptr<NetfsFile>;
  const CredentialsRef as = caller_of(reply);
  parts_.share.call<Kept>(
      CallKind::kNames, until_answered(as),
      [path = std::move(*path), remove, known,
       keep = must_keep_file(known)](Netfs& netfs) -> Result<Kept> {
        Kept kept = keep ? keep_file(netfs, path, *known) : nullptr;
        TRY_OK(remove(netfs, path));
        return kept;
      },
      [this, directory, known, name = std::string(name),
       reply = std::move(reply)](Result<Kept> result) mutable {
        if (result && known) keep_open(*known, *result);
        changed_name(*directory, name);
        const bool gone = result || (result.error().code == ErrorCode::kShareAnswer &&
                                     result.error().sys_errno == ENOENT);
        if (gone) forget_name(*directory, name, result ? LostTo::kUs : LostTo::kOthers);
        result ? reply.ok() : reply.error(result.error());
      });
}

void Vfs::remove_file(NodeId parent, std::string_view name, Reply reply) {
  take_out(parent, name, std::move(reply),
           [](Netfs& netfs, const std::string& path) { return netfs.remove_file(path); });
}

void Vfs::remove_directory(NodeId parent, std::string_view name, Reply reply) {
  take_out(parent, name, std::move(reply),
           [](Netfs& netfs, const std::string& path) { return netfs.remove_directory(path); });
}

void Vfs::rename(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name,
                 unsigned flags, Reply reply) {
  if (parts_.control.owns(parent) || parts_.control.owns(new_parent))
    return reply.error({ErrorCode::kPermission});
  const InodeRef from = inode_of(parent);
  const InodeRef to = inode_of(new_parent);
  Result<std::string> from_path = names_.path_of(*from, name);
  Result<std::string> to_path = names_.path_of(*to, new_name);
  if (!from_path || !to_path) return reply.error(from_path ? to_path.error() : from_path.error());
  if (!park(reply)) return;
  const InodeRef moved = names_.find(*from, name).inode;
  const InodeRef replaced = names_.find(*to, new_name).inode;
  struct Renamed {
    Changed changed;
    std::shared_ptr<NetfsFile> kept;  // of what was replaced, and is open here
  };
  const Asked asked = ask();
  Target source = moved ? target_at(*moved, std::move(*from_path)) : Target{*from_path};
  const Look look = moved ? look_at(*moved) : Look::kBehind;
  const CredentialsRef as = caller_of(reply);
  parts_.share.call<Renamed>(
      CallKind::kNames, until_answered(as),
      [source = std::move(source), to_path = std::move(*to_path), flags, replaced, look,
       keep = must_keep_file(replaced)](Netfs& netfs) -> Result<Renamed> {
        Renamed answer{{seen(netfs, source, look), {}}, nullptr};
        if (keep) answer.kept = keep_file(netfs, to_path, *replaced);
        TRY_OK(netfs.rename(source.path, to_path, flags));
        // A rename moves the file's ctime: the same content under a new identity.
        answer.changed.now = netfs.stat(to_path, Freshness::kServer).value_or(Attributes{});
        return answer;
      },
      [this, from, to, replaced, asked, name = std::string(name), new_name = std::string(new_name),
       flags, reply = std::move(reply)](Result<Renamed> result) mutable {
        changed_name(*from, name);
        changed_name(*to, new_name);
        if (!result) return reply.error(result.error());
        if (replaced) keep_open(*replaced, result->kept);
        renamed(*from, name, *to, new_name, flags, result->changed, asked);
        reply.ok();
      });
}

void Vfs::renamed(Inode& from, const std::string& name, Inode& to, const std::string& new_name,
                  unsigned flags, const Changed& changed, const Asked& asked) {
  const bool exchange = (flags & RENAME_EXCHANGE) != 0;
  rename_given(from, name, to, new_name, exchange);
  if (exchange) {
    const NameTree::Moved moved = names_.exchange(from, name, to, new_name);
    take_back_spelling(moved.from, name);
    take_back_spelling(moved.to, new_name);
    // The other one's ctime moved as well, and nobody told us how: it is asked for at its next use.
    if (const InodeRef other = names_.find(from, name).inode) changed_directory(*other);
  } else {
    const NameTree::Moved moved = names_.move(from, name, to, new_name);
    take_back_spelling(moved.from, name);
    take_back_spelling(moved.to, new_name);
    if (moved.to.inode) lost_name(*moved.to.inode, LostTo::kUs);
  }
  const InodeRef moved = names_.find(to, new_name).inode;
  if (!moved || changed.now.mode == 0) return;
  if (still_is(*moved, changed.now)) return adopt(*moved, changed, asked);
  // Another client had given the old name to another file, and the kernel has moved what it knew.
  // It is told to look again; who opens the file before it has is told kShareStale by the share's
  // answer for that name, so the name stays with the inode until then.
  names_.distrust(*moved);
  {
    MutexLock lock(moved->mutex);
    moved->trusted_until_mono_ns = 0;
  }
  kernel_->drop_name(node_of(to), new_name);
}

// The names of a share without stable numbers carry their file ids along: one record.
void Vfs::rename_given(Inode& from, const std::string& name, Inode& to, const std::string& new_name,
                       bool exchange) {
  if (parts_.share.traits().inode_numbers == InodeNumbers::kStable) return;
  const cache::IndexPlace here = names_object(from);
  const cache::IndexPlace there = names_object(to);
  if (!here || !there) return;
  const std::string key = names_.keys().key(name), new_key = names_.keys().key(new_name);
  if (!exchange && here.store == there.store) {
    return here.store->move_name(here.object, key, there.object, new_key);
  }
  const auto first = here.store->find_name(here.object, key);
  const auto second = there.store->find_name(there.object, new_key);
  if (!exchange) here.store->remove_name(here.object, key);
  // Between the two records a crash may leave one file id under both names; both are looked up
  // anew, and content is told by its identity, so at worst one is fetched again.
  if (first) there.store->put_name(there.object, new_key, *first);
  if (second && exchange) here.store->put_name(here.object, key, *second);
}

void Vfs::inode_gone(void* context, Inode& inode) {
  auto& self = *static_cast<Vfs*>(context);
  self.names_.detach(inode);
  self.memos_.forget(inode);
  self.relinquish_cookie(inode);
}

void Vfs::relinquish_cookie(Inode& inode) {
  cache::CookieRef cookie;
  bool retire = false;
  {
    MutexLock lock(inode.mutex);
    cookie = std::move(inode.cookie);
    retire = inode.unlinked || inode.session.open();
  }
  if (cookie)
    parts_.cache.relinquish(std::move(cookie), retire ? cache::Retire::kYes : cache::Retire::kNo);
}

}  // namespace larder
