// SPDX-License-Identifier: Apache-2.0
#include "ops.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

namespace larder::fuse {
namespace {

Served& served(fuse_req_t request) { return *static_cast<Served*>(fuse_req_userdata(request)); }
Filesystem& fs(fuse_req_t request) { return *served(request).filesystem; }
Reply reply(fuse_req_t request) { return current()->take(request); }

NodeId node(fuse_ino_t ino) { return NodeId{ino}; }
HandleId handle(const fuse_file_info* info) { return info ? HandleId{info->fh} : kNoHandle; }
Caller caller(fuse_req_t request) {
  const fuse_ctx* context = fuse_req_ctx(request);
  return {context->uid, context->gid, static_cast<std::uint32_t>(context->pid), context->umask};
}
std::int64_t nanoseconds(const timespec& t) { return t.tv_sec * kSecond + t.tv_nsec; }

void init(void* userdata, fuse_conn_info* conn) {
  const Served& self = *static_cast<Served*>(userdata);
  // larder alone decides when the kernel's pages go.
  conn->want |= conn->capable & FUSE_CAP_EXPLICIT_INVAL_DATA;
  conn->want &= ~static_cast<unsigned>(FUSE_CAP_AUTO_INVAL_DATA);
  const KernelTuning& tuning = self.kernel;
  const auto want = [conn](unsigned capability, auto wanted) {
    conn->want = wanted ? conn->want | (conn->capable & capability) : conn->want & ~capability;
  };
  want(FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC, true);
  want(FUSE_CAP_DONT_MASK, true);  // the share applies it
  want(FUSE_CAP_ASYNC_DIO, tuning.async_dio);
  want(FUSE_CAP_PARALLEL_DIROPS, tuning.parallel_dirops);
  want(FUSE_CAP_CACHE_SYMLINKS, tuning.cache_symlinks);
  want(FUSE_CAP_READDIRPLUS, tuning.readdirplus != ReadDirPlus::kNever);
  want(FUSE_CAP_READDIRPLUS_AUTO, tuning.readdirplus == ReadDirPlus::kAuto);
  // Nothing is spliced: a warm read is in its buffer already.
  conn->want &=
      ~static_cast<unsigned>(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
  want(FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS, self.share_locks);
  want(FUSE_CAP_WRITEBACK_CACHE, self.writeback_cache);
  // A mode alone says too much where there is an access list: its group bits are the list's mask.
  want(FUSE_CAP_POSIX_ACL, self.checks_access_lists);
  conn->max_write = kMaxWrite;
  // Further read-ahead, of all files, is held back once this many are out.
  conn->max_background = tuning.max_background;
  conn->congestion_threshold = tuning.max_background / 4 * 3;
  conn->time_gran = 1;
}

void lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  fs(req).lookup(node(parent), name, reply(req));
}

void forget(fuse_req_t req, fuse_ino_t ino, std::uint64_t lookups) {
  fs(req).forget(node(ino), lookups);
  fuse_reply_none(req);
}

void forget_multi(fuse_req_t req, std::size_t count, fuse_forget_data* forgets) {
  for (std::size_t i = 0; i < count; ++i) fs(req).forget(node(forgets[i].ino), forgets[i].nlookup);
  fuse_reply_none(req);
}

void getattr(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info) {
  fs(req).get_attributes(node(ino), handle(info), reply(req));
}

void setattr(fuse_req_t req, fuse_ino_t ino, struct stat* s, int valid, fuse_file_info* info) {
  SetAttributes change;
  change.handle = handle(info);
  if (valid & FUSE_SET_ATTR_MODE) change.mode = s->st_mode;
  if (valid & FUSE_SET_ATTR_UID) change.uid = s->st_uid;
  if (valid & FUSE_SET_ATTR_GID) change.gid = s->st_gid;
  if (valid & FUSE_SET_ATTR_SIZE) change.size = static_cast<std::uint64_t>(s->st_size);
  if (valid & FUSE_SET_ATTR_ATIME) change.atime_ns = nanoseconds(s->st_atim);
  if (valid & FUSE_SET_ATTR_MTIME) change.mtime_ns = nanoseconds(s->st_mtim);
  if (valid & FUSE_SET_ATTR_ATIME_NOW) change.atime_ns = AttributeChange::kNow;
  if (valid & FUSE_SET_ATTR_MTIME_NOW) change.mtime_ns = AttributeChange::kNow;
  fs(req).set_attributes(node(ino), change, reply(req));
}

void readlink(fuse_req_t req, fuse_ino_t ino) { fs(req).read_link(node(ino), reply(req)); }

void mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
  fs(req).make_node(node(parent), name, mode, rdev, caller(req), reply(req));
}

void mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  fs(req).make_directory(node(parent), name, mode, caller(req), reply(req));
}

void unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  fs(req).remove_file(node(parent), name, reply(req));
}

void rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) {
  fs(req).remove_directory(node(parent), name, reply(req));
}

void symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
  fs(req).make_symlink(node(parent), name, target, caller(req), reply(req));
}

void rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned flags) {
  fs(req).rename(node(parent), name, node(new_parent), new_name, flags, reply(req));
}

void link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char* new_name) {
  fs(req).make_link(node(ino), node(new_parent), new_name, reply(req));
}

void open(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info) {
  fs(req).open(node(ino), info->flags, caller(req), reply(req));
}

void create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
            fuse_file_info* info) {
  if ((info->flags & O_TMPFILE) == O_TMPFILE)
    return fs(req).create_unnamed(node(parent), info->flags, mode, caller(req), reply(req));
  fs(req).create(node(parent), name, info->flags, mode, caller(req), reply(req));
}

void read(fuse_req_t req, fuse_ino_t ino, std::size_t size, off_t offset, fuse_file_info* info) {
  fs(req).read(node(ino), handle(info), ByteOffset{static_cast<std::uint64_t>(offset)},
               ByteCount{std::min(size, kMaxRead)}, reply(req));
}

void write(fuse_req_t req, fuse_ino_t ino, const char* data, std::size_t size, off_t offset,
           fuse_file_info* info) {
  fs(req).write(node(ino), handle(info), ByteOffset{static_cast<std::uint64_t>(offset)},
                std::as_bytes(std::span(data, size)),
                info->writepage != 0 ? WrittenBy::kKernel : WrittenBy::kCall, reply(req));
}

void flush(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info) {
  fs(req).flush(node(ino), handle(info), LockOwner{info->lock_owner}, reply(req));
}

LockRange to_range(const struct flock& lock) {
  LockRange range;
  range.type = lock.l_type == F_RDLCK   ? LockType::kRead
               : lock.l_type == F_WRLCK ? LockType::kWrite
                                        : LockType::kUnlock;
  range.first = static_cast<std::uint64_t>(lock.l_start);
  if (lock.l_len != 0) range.last = range.first + static_cast<std::uint64_t>(lock.l_len) - 1;
  return range;
}

void getlk(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info, struct flock* lock) {
  fs(req).get_lock(node(ino), handle(info), LockOwner{info->lock_owner}, to_range(*lock),
                   reply(req));
}

void setlk(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info, struct flock* lock, int sleep) {
  fs(req).set_lock(node(ino), handle(info), LockOwner{info->lock_owner}, to_range(*lock),
                   sleep != 0 ? Waits::kYes : Waits::kNo, reply(req));
}

void flock(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info, int operation) {
  const LockType type = (operation & LOCK_UN) != 0   ? LockType::kUnlock
                        : (operation & LOCK_EX) != 0 ? LockType::kWrite
                                                     : LockType::kRead;
  fs(req).lock_whole(node(ino), handle(info), type,
                     (operation & LOCK_NB) != 0 ? Waits::kNo : Waits::kYes, reply(req));
}

void release(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info) {
  fs(req).release(node(ino), handle(info), reply(req));
}

void fsync(fuse_req_t req, fuse_ino_t ino, int data_only, fuse_file_info* info) {
  fs(req).sync(node(ino), handle(info), data_only ? SyncWhat::kDataOnly : SyncWhat::kAll,
               reply(req));
}

void opendir(fuse_req_t req, fuse_ino_t ino, fuse_file_info*) {
  fs(req).open_directory(node(ino), reply(req));
}

void readdir(fuse_req_t req, fuse_ino_t ino, std::size_t size, off_t offset, fuse_file_info* info) {
  fs(req).read_directory(node(ino), handle(info), static_cast<std::uint64_t>(offset), size,
                         reply(req));
}

void readdirplus(fuse_req_t req, fuse_ino_t ino, std::size_t size, off_t offset,
                 fuse_file_info* info) {
  fs(req).read_directory_plus(node(ino), handle(info), static_cast<std::uint64_t>(offset), size,
                              reply(req));
}

void releasedir(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info) {
  fs(req).release_directory(node(ino), handle(info), reply(req));
}

void fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, fuse_file_info*) {
  fs(req).sync_directory(node(ino), data_only ? SyncWhat::kDataOnly : SyncWhat::kAll, reply(req));
}

void fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
               fuse_file_info* info) {
  fs(req).allocate(node(ino), handle(info), mode, ByteOffset{static_cast<std::uint64_t>(offset)},
                   ByteCount{static_cast<std::uint64_t>(length)}, reply(req));
}

void lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, fuse_file_info* info) {
  fs(req).seek(node(ino), handle(info), ByteOffset{static_cast<std::uint64_t>(offset)}, whence,
               reply(req));
}

void copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_offset, fuse_file_info* from_info,
                     fuse_ino_t to, off_t to_offset, fuse_file_info* to_info, std::size_t length,
                     int) {
  fs(req).copy_range(
      {node(from), handle(from_info), ByteOffset{static_cast<std::uint64_t>(from_offset)}},
      {node(to), handle(to_info), ByteOffset{static_cast<std::uint64_t>(to_offset)}},
      ByteCount{length}, reply(req));
}

void statfs(fuse_req_t req, fuse_ino_t ino) { fs(req).stat_fs(node(ino), reply(req)); }

void access(fuse_req_t req, fuse_ino_t ino, int mask) {
  fs(req).access(node(ino), mask, reply(req));
}

void getxattr(fuse_req_t req, fuse_ino_t ino, const char* name, std::size_t size) {
  fs(req).get_xattr(node(ino), name, size, reply(req));
}

void listxattr(fuse_req_t req, fuse_ino_t ino, std::size_t size) {
  fs(req).list_xattr(node(ino), size, reply(req));
}

void setxattr(fuse_req_t req, fuse_ino_t ino, const char* name, const char* value, std::size_t size,
              int flags) {
  fs(req).set_xattr(node(ino), name, std::as_bytes(std::span(value, size)), flags, reply(req));
}

void removexattr(fuse_req_t req, fuse_ino_t ino, const char* name) {
  fs(req).remove_xattr(node(ino), name, reply(req));
}

fuse_lowlevel_ops make_operations() {
  fuse_lowlevel_ops ops{};
  ops.init = init;
  ops.lookup = lookup;
  ops.forget = forget;
  ops.forget_multi = forget_multi;
  ops.getattr = getattr;
  ops.setattr = setattr;
  ops.readlink = readlink;
  ops.mknod = mknod;
  ops.mkdir = mkdir;
  ops.unlink = unlink;
  ops.rmdir = rmdir;
  ops.symlink = symlink;
  ops.rename = rename;
  ops.link = link;
  ops.open = open;
  ops.create = create;
  ops.read = read;
  ops.write = write;
  ops.flush = flush;
  ops.release = release;
  ops.fsync = fsync;
  ops.opendir = opendir;
  ops.readdir = readdir;
  ops.readdirplus = readdirplus;
  ops.releasedir = releasedir;
  ops.fsyncdir = fsyncdir;
  ops.getlk = getlk;
  ops.setlk = setlk;
  ops.flock = flock;
  ops.fallocate = fallocate;
  ops.lseek = lseek;
  ops.copy_file_range = copy_file_range;
  ops.statfs = statfs;
  ops.access = access;
  ops.getxattr = getxattr;
  ops.listxattr = listxattr;
  ops.setxattr = setxattr;
  ops.removexattr = removexattr;
  return ops;
}

}  // namespace

const fuse_lowlevel_ops& operations() {
  static const fuse_lowlevel_ops ops = make_operations();
  return ops;
}

}  // namespace larder::fuse
