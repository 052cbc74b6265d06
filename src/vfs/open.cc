// SPDX-License-Identifier: Apache-2.0
// Open, create, flush, release.
//
// Close-to-open: an open for which the level of coherency wants it opens the file on the share and
// asks for its attributes there; the answer says which version is current, and whether the kernel's
// pages are of it.
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "vfs/vfs.h"

namespace larder {
namespace {

// What the share is asked to open with: creation is create()'s business, and reads and writes go
// through larder's own buffers.
constexpr int kOpenFlags = O_ACCMODE | O_APPEND | O_TRUNC;
// As often an open asks what the share shows, while changes of our own overtake the answers.
constexpr unsigned kAttemptsMax = 3;

}  // namespace

// The share need not be asked: what is known is trusted by the level of coherency, or cannot be
// asked for.
bool Vfs::may_open_unasked(const Inode& inode, int flags) const {
  if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0 || !inode.is_regular())
    return false;
  if (serve_unasked(inode)) return true;
  // Whether this caller may, only the share can tell.
  return !asks_at_open(inode) && trusted(inode) && !options_.as_caller;
}

// A kernel that gathers writes reads what it completes pages from, and knows itself where the end
// is.
int Vfs::flags_for_share(int flags) const {
  if (!options_.writeback_cache) return flags;
  flags &= ~O_APPEND;
  return (flags & O_ACCMODE) == O_WRONLY ? (flags & ~O_ACCMODE) | O_RDWR : flags;
}

// Truncating takes set-user-ID and set-group-ID away, unless root does it. Where larder is root
// and the caller is not, the share does not know.
Result<OpenedFile> Vfs::open_for(Netfs& netfs, const Target& target, int flags, Caller caller) {
  TRY(OpenedFile opened, target.file ? netfs.open_again(*target.file, flags & kOpenFlags)
                                     : netfs.open(target.path, flags & kOpenFlags, 0));
  const std::uint32_t mode = opened.attributes.mode;
  const bool is_set = (mode & S_ISUID) != 0 || (mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP);
  if ((flags & O_TRUNC) == 0 || caller.uid == 0 || !is_set) return opened;
  AttributeChange change;
  change.mode = mode & 07777 & ~((mode & S_IXGRP) != 0 ? S_ISUID | S_ISGID : S_ISUID);
  const auto cleared = netfs.set_attributes(target.path, opened.file.get(), change);
  if (cleared) opened.attributes = *cleared;
  return opened;
}

// What the kernel may be given is made ready where the share's descriptors are.
void Vfs::lend_if(Lend lend, Netfs& netfs, OpenedFile& opened) {
  if (lend == Lend::kYes && opened.attributes.is_regular()) opened.lent = netfs.lend(*opened.file);
}

void Vfs::open(NodeId node, int flags, Caller caller, Reply reply) {
  if (parts_.control.owns(node)) {
    // Root's own rights pass over the modes.
    if ((flags & O_ACCMODE) != O_RDONLY) return reply.error({ErrorCode::kPermission});
    return parts_.control.open(node, std::move(reply));
  }
  counters_.opens.add();
  flags = flags_for_share(flags);
  const InodeRef inode = inode_of(node);
  const bool excluded = is_excluded(*inode);
  if (!excluded && may_open_unasked(*inode, flags)) {
    counters_.opens_unasked.add();
    return opened(*inode, {.flags = flags, .node = node}, nullptr, std::move(reply));
  }
  Result<Target> target = named_or_open(*inode);
  if (!target) return reply.error(target.error());
  const CredentialsRef as = caller_of(reply);
  const bool cuts = (flags & O_TRUNC) != 0;
  if (!(cuts ? park(reply) : park_question(reply))) return;
  Opening opening{.flags = flags, .asked = ask(), .node = node};
  opening.excluded = excluded;
  // Who comes later is served as the first one is, also when that one has left by the time.
  if (excluded) opening.backing = backing_of(*inode);
  const bool wants_number = excluded && may_pass_through() && !opening.backing;
  const Lend lend = wants_number ? Lend::kYes : Lend::kNo;
  if (cuts) opening.cut = begin_truncate(*inode, 0, opening.asked);
  parts_.share.call<OpenedFile>(
      CallKind::kNames, cuts ? until_answered(as) : asking(*inode, opening.may_fall_back(), as),
      [target = std::move(*target), flags, caller, lend](Netfs& netfs) -> Result<OpenedFile> {
        TRY(OpenedFile share, target.ask_by_name(netfs, [&](const Target& by) {
          return open_for(netfs, by, flags, caller);
        }));
        lend_if(lend, netfs, share);
        return share;
      },
      [this, inode, opening, reply = std::move(reply)](Result<OpenedFile> result) mutable {
        share_opened(*inode, opening, std::move(result), std::move(reply));
      });
}

void Vfs::share_opened(Inode& inode, const Opening& opening, Result<OpenedFile> result,
                       Reply reply) {
  if (!reply.stay()) return;
  if (!result) {
    if (opening.cut) truncated(inode, *opening.cut, fail(result.error()));
    const Error error = lost_path(inode, result.error());
    if (!opening.may_fall_back() || !unreachable(error) || !may_serve_unasked(inode))
      return reply.error(error);
    // The share turned slow while we waited: the version that was current is served on.
    counters_.opens_unasked.add();
    return opened(inode, opening, nullptr, std::move(reply));
  }
  if (!still_is(inode, result->attributes)) {
    if (opening.cut) not_truncated(inode, *opening.cut);
    return reply.error({ErrorCode::kShareStale});
  }
  Opening held = opening;
  if (!held.backing) held.backing = give_to_kernel(*result);
  hold_to_share(InodeRef(&inode), opening, std::move(*result), 1,
                [this, inode = InodeRef(&inode), opening = std::move(held),
                 reply = std::move(reply)](Result<OpenedFile> share) mutable {
                  if (!share) return reply.error(share.error());
                  opened(*inode, opening, &*share, std::move(reply));
                });
}

// An open shows what the share showed it. Where a change of our own came in between, that is of
// before, so the file that it opened is asked once more; who changes it all the time is not waited
// for.
void Vfs::hold_to_share(const InodeRef& inode, const Opening& opening, OpenedFile share,
                        unsigned attempts, ThenOpened then) {
  // What an open left of it is told by truncated().
  if (opening.cut) return then(std::move(share));
  if (validate(*inode, share.attributes, opening.asked) || attempts == kAttemptsMax)
    return then(std::move(share));
  const Opening again{.flags = opening.flags, .asked = ask()};
  parts_.share.call<Attributes>(
      CallKind::kNames, {},
      [file = share.file](Netfs& netfs) { return netfs.stat(*file, Freshness::kServer); },
      [this, inode, share, again, attempts,
       then = std::move(then)](Result<Attributes> now) mutable {
        if (!now) return then(fail(now.error()));
        share.attributes = *now;
        hold_to_share(inode, again, std::move(share), attempts + 1, std::move(then));
      });
}

// By an inode of the kernel's that shows an older version. One that cuts it gives it a size that
// the kernel knows.
bool Vfs::opened_what_was_before_locked(const Inode& inode, const Opening& opening) const {
  if (!options_.writeback_cache || opening.node == NodeId{}) return false;
  return opening.node != inode.node() || (!opening.cut && inode.kernel_shows_another_locked());
}

// The open has succeeded: `share` is what the share opened, null where it was not asked;
// `created_until`: it came from a create, and the name is trusted until then.
void Vfs::opened(Inode& inode, const Opening& opening, const OpenedFile* share, Reply reply,
                 std::optional<Nanoseconds> created_until) {
  HandleRef handle(new Handle(InodeRef(&inode), opening.flags, caller_of(reply)));
  OpenReply answer{.handle = handle->id(), .direct_io = options_.direct_io || asks_at_read(inode)};
  answer.no_flush = options_.skip_flush && !options_.share_locks && !handle->writable();
  if (share) handle->slot->set(share->file);
  bool kernel_is_behind = false;
  if (opening.excluded) leave_cache(inode);
  if (inode.is_regular()) {
    MutexLock lock(inode.mutex);
    if (opened_what_was_before_locked(inode, opening)) {
      lock.unlock();
      if (share && opening.cut) truncated(inode, *opening.cut, share->attributes);
      names_.distrust(inode);  // so that the look-up asks, and the next open finds nothing newer
      return reply.error({ErrorCode::kShareStale});
    }
    if (created_until && options_.writeback_cache) inode.show_current_locked();
    choose_way_locked(inode, opening, *handle, answer);
    kernel_is_behind = share && !created_until &&
                       inode.told != identity_of(inode.attributes, parts_.share.traits());
    ensure_cookie_locked(inode);
    ++inode.open_count;
    if (share)
      inode.open_files.add(share->file,
                           handle->readable() ? OpenFiles::Use::kReading : OpenFiles::Use::kAny);
    const std::uint64_t generation = inode.generation.load();
    // The kernel's pages are kept exactly when they are of the version that this open validated,
    // and that version can be told from the next.
    // Where it reads a file by itself it keeps none of them, and may not be told to.
    answer.keep_cache = !options_.verify && !inode.backing &&
                        inode.kernel_generation == generation &&
                        inode.session.kind != Session::Kind::kVolatile;
    inode.kernel_generation = generation;
    if (handle->writable()) begin_write_session_locked(inode);
  }
  if (share && opening.cut) truncated(inode, *opening.cut, share->attributes);
  counters_.handles.add();
  handle.detach();  // the kernel's, until RELEASE
  // Close-to-open holds for the size too, and an open does not tell it: the kernel must ask.
  if (kernel_is_behind) kernel_->drop_attributes_of_opening(inode.node());
  if (!created_until) return reply.opened(answer);
  const Entry entry = entry_of(inode, *created_until);
  hold(inode);
  reply.created(entry, answer);
}

void Vfs::create(NodeId parent, std::string_view name, int flags, std::uint32_t mode, Caller caller,
                 Reply reply) {
  if (parts_.control.owns(parent)) return reply.error({ErrorCode::kPermission});
  counters_.opens.add();
  flags = flags_for_share(flags);
  const InodeRef directory = inode_of(parent);
  Result<std::string> path = names_.path_of(*directory, name);
  if (!path) return reply.error(path.error());
  if (!park(reply)) return;
  const Asked asked = ask();
  const CredentialsRef as = caller_of(reply);
  const bool excluded = is_excluded(*path);
  const Lend lend = excluded && may_pass_through() ? Lend::kYes : Lend::kNo;
  parts_.share.call<OpenedFile>(
      CallKind::kNames, until_answered(as),
      [path = std::move(*path), flags, mode = NewMode(mode, caller.umask),
       owner = owner_of_new(*directory, caller), lend](Netfs& netfs) -> Result<OpenedFile> {
        TRY(OpenedFile made, netfs.open(path, (flags & (kOpenFlags | O_EXCL)) | O_CREAT, mode));
        TRY(made.attributes, hand_over(netfs, path, made.file.get(), made.attributes, owner));
        lend_if(lend, netfs, made);
        return made;
      },
      [this, directory, name = std::string(name), asked, flags, excluded,
       reply = std::move(reply)](Result<OpenedFile> result) mutable {
        changed_name(*directory, name);
        if (!result) return reply.error(result.error());
        // It may have been there before: then this is an open like any other.
        const InodeRef inode = install(*directory, name, result->attributes, asked);
        const Nanoseconds until =
            kernel_trusts_until(*directory, name, asked.at_mono_ns + entry_trust_ns(*inode, name));
        Opening opening{.flags = flags, .asked = asked};
        opening.excluded = excluded;
        opening.backing = give_to_kernel(*result);
        if ((flags & O_TRUNC) != 0) opening.cut = begin_truncate(*inode, 0, asked);
        hold_to_share(inode, opening, std::move(*result), 1,
                      [this, inode, opening, until,
                       reply = std::move(reply)](Result<OpenedFile> share) mutable {
                        if (!share) return reply.error(share.error());
                        opened(*inode, opening, &*share, std::move(reply), until);
                      });
      });
}

void Vfs::create_unnamed(NodeId parent, int flags, std::uint32_t mode, Caller caller, Reply reply) {
  if (parts_.control.owns(parent)) return reply.error({ErrorCode::kPermission});
  counters_.opens.add();
  flags = flags_for_share(flags);
  const InodeRef directory = inode_of(parent);
  Result<std::string> path = names_.path_of(*directory);
  if (!path) return reply.error(path.error());
  if (!park(reply)) return;
  const Asked asked = ask();
  const CredentialsRef as = caller_of(reply);
  parts_.share.call<OpenedFile>(
      CallKind::kNames, until_answered(as),
      [path = std::move(*path), flags, mode = NewMode(mode, caller.umask),
       owner = owner_of_new(*directory, caller)](Netfs& netfs) -> Result<OpenedFile> {
        TRY(OpenedFile made, netfs.open(path, flags & (kOpenFlags | O_EXCL | O_TMPFILE), mode));
        TRY(made.attributes, hand_over(netfs, {}, made.file.get(), made.attributes, owner));
        return made;
      },
      [this, asked, flags, reply = std::move(reply)](Result<OpenedFile> made) mutable {
        if (!made) return reply.error(made.error());
        const InodeRef inode = install_unnamed(made->attributes, asked);
        opened(*inode, {.flags = flags, .asked = asked}, &*made, std::move(reply), 0);
      });
}

void Vfs::flush(NodeId node, HandleId id, LockOwner owner, Reply reply) {
  if (parts_.control.owns(node)) return reply.ok();
  Handle& handle = handle_of(id);
  std::shared_ptr<NetfsFile> locks = take_lock_file(*handle.inode, owner);
  std::shared_ptr<NetfsFile> file = handle.writable() ? handle.share_file() : nullptr;
  if (!locks && !file) return reply.ok();
  if (!park(reply)) return;
  const InodeRef inode = handle.inode;
  const Asked asked = ask();
  parts_.share.call<Attributes>(
      CallKind::kNames, {CallOptions::kNone},
      [file, locks = std::move(locks)](Netfs& netfs) mutable -> Result<Attributes> {
        if (locks) static_cast<void>(netfs.lock(*locks, {.type = LockType::kUnlock}));
        if (!file) return Attributes{};
        // What close(2) reports of the share's file is what close(2) of ours reports.
        TRY_OK(netfs.flush(*file));
        return netfs.stat(*file, Freshness::kServer);
      },
      [this, inode, asked, file, told = file != nullptr,
       reply = std::move(reply)](Result<Attributes> result) mutable {
        if (!result) return reply.error(result.error());
        if (told && inode->if_its_own(file)) {
          note_sent(*inode, asked);
          learn(*inode, *result, asked);
        }
        reply.ok();
      });
}

void Vfs::sync(NodeId node, HandleId id, SyncWhat what, Reply reply) {
  if (parts_.control.owns(node)) return reply.ok();
  const InodeRef inode = handle_of(id).inode;
  std::shared_ptr<NetfsFile> file = handle_of(id).share_file();
  if (!file) return reply.ok();  // nothing of ours is dirty, and the share was never opened
  if (!park(reply)) return;
  const Asked asked = ask();
  parts_.share.call<std::monostate>(
      CallKind::kNames, {CallOptions::kNone},
      [file, what](Netfs& netfs) -> Result<std::monostate> {
        TRY_OK(netfs.sync(*file, what));
        return std::monostate{};
      },
      [this, inode, asked, reply = std::move(reply)](Result<std::monostate> result) mutable {
        if (!result) return reply.error(result.error());
        note_sent(*inode, asked);
        reply.ok();
      });
}

void Vfs::release(NodeId node, HandleId id, Reply reply) {
  if (parts_.control.owns(node)) return parts_.control.release(id, std::move(reply));
  const HandleRef handle(&handle_of(id), false);
  counters_.handles.sub();
  Inode& inode = *handle->inode;
  bool last_writer = false;
  OpenFiles gone;
  std::vector<LockFile> unlocked;
  std::shared_ptr<BackingFile> backing;
  const std::shared_ptr<NetfsFile> file = handle->share_file();
  const bool speaks = inode.if_its_own(file) != nullptr;
  const std::shared_ptr<NetfsFile> own_lock = take_lock_file(inode, LockOwner{id.value()});
  if (inode.is_regular()) {
    MutexLock lock(inode.mutex);
    if (--inode.open_count == 0) {
      std::swap(unlocked, inode.lock_files);
      std::swap(gone, inode.open_files);
      backing = leave_way_locked(inode);
      if (inode.session.kind == Session::Kind::kVolatile) end_volatile_session_locked(inode);
    }
    last_writer = handle->writable() && --inode.session.writers == 0;
  }
  // The answer first: nobody waits for what follows, and close(2) has long returned.
  reply.ok();
  if (last_writer) last_writer_gone(handle->inode, file, speaks);
}

}  // namespace larder
