// SPDX-License-Identifier: Apache-2.0
// Operations on inodes: attributes, symlink targets, extended attributes, the file system as a
// whole.
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "slowshare/request.h"

namespace larder::slowshare {
namespace {

void op_init(void*, fuse_conn_info* connection) {
  connection->max_write = 1U << 20;
  connection->max_read = 0;  // as much as the kernel asks for, that is 1 MiB
  // Read-ahead of several files at once must not queue in the kernel: the wait is our business.
  connection->max_background = 512;
  connection->congestion_threshold = 384;
  connection->want &= ~static_cast<unsigned>(FUSE_CAP_SPLICE_READ);
  // Else each read(2) of cached pages would ask for the attributes first, as no network client
  // does.
  connection->want &= ~static_cast<unsigned>(FUSE_CAP_AUTO_INVAL_DATA);
}

void op_forget(fuse_req_t req, fuse_ino_t ino, std::uint64_t times) {
  Source& source = source_of(req);
  source.gate().note(Call::forget, 1);
  source.forget(ino, times);
  fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, fuse_forget_data* forgets) {
  Source& source = source_of(req);
  source.gate().note(Call::forget, count);
  for (size_t i = 0; i < count; ++i) source.forget(forgets[i].ino, forgets[i].nlookup);
  fuse_reply_none(req);
}

void answer_attributes(fuse_req_t req, Source& source, fuse_ino_t ino) {
  struct stat attributes = {};
  if (fstatat(source.inode(ino).fd.get(), "", &attributes, AT_EMPTY_PATH) != 0) {
    fuse_reply_err(req, errno);
  } else {
    fuse_reply_attr(req, &attributes, source.timeouts().attr_s);
  }
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, fuse_file_info*) {
  const Request request(req, Call::getattr, ino);
  if (request.refused()) return;
  answer_attributes(req, request.source, ino);
}

timespec time_to_set(int to_set, int flag, int flag_now, timespec given) {
  if ((to_set & flag_now) != 0) return {0, UTIME_NOW};
  if ((to_set & flag) != 0) return given;
  return {0, UTIME_OMIT};
}

int set_attributes(Inode& inode, const struct stat& attributes, int to_set, fuse_file_info* file) {
  const int fd = inode.fd.get();
  const std::string path = inode.proc_path();
  if ((to_set & FUSE_SET_ATTR_MODE) != 0 && chmod(path.c_str(), attributes.st_mode) != 0)
    return errno;
  if ((to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0) {
    const bool has_uid = (to_set & FUSE_SET_ATTR_UID) != 0;
    const bool has_gid = (to_set & FUSE_SET_ATTR_GID) != 0;
    const uid_t uid = has_uid ? attributes.st_uid : static_cast<uid_t>(-1);
    const gid_t gid = has_gid ? attributes.st_gid : static_cast<gid_t>(-1);
    if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0) return errno;
  }
  if ((to_set & FUSE_SET_ATTR_SIZE) != 0) {
    const int result = file != nullptr ? ftruncate(fd_of(file), attributes.st_size)
                                       : truncate(path.c_str(), attributes.st_size);
    if (result != 0) return errno;
  }
  if ((to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME)) != 0) {
    const std::array<timespec, 2> times = {
        time_to_set(to_set, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW, attributes.st_atim),
        time_to_set(to_set, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW, attributes.st_mtim)};
    if (utimensat(fd, "", times.data(), AT_EMPTY_PATH) != 0) return errno;
  }
  return 0;
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat* attributes, int to_set,
                fuse_file_info* file) {
  const Request request(req, Call::setattr, ino);
  if (request.refused()) return;
  const int error = set_attributes(request.source.inode(ino), *attributes, to_set, file);
  if (error != 0) {
    fuse_reply_err(req, error);
  } else {
    answer_attributes(req, request.source, ino);
  }
}

void op_readlink(fuse_req_t req, fuse_ino_t ino) {
  const Request request(req, Call::readlink, ino);
  if (request.refused()) return;
  std::array<char, PATH_MAX + 1> target;
  const ssize_t size =
      readlinkat(request.source.inode(ino).fd.get(), "", target.data(), target.size() - 1);
  if (size < 0) {
    fuse_reply_err(req, errno);
    return;
  }
  target.at(static_cast<std::size_t>(size)) = '\0';
  fuse_reply_readlink(req, target.data());
}

void op_statfs(fuse_req_t req, fuse_ino_t ino) {
  const Request request(req, Call::statfs, ino);
  if (request.refused()) return;
  struct statvfs numbers = {};
  if (fstatvfs(request.source.inode(ino).fd.get(), &numbers) != 0) {
    fuse_reply_err(req, errno);
  } else {
    fuse_reply_statfs(req, &numbers);
  }
}

// `get` is called as the system call is: with size 0 it tells how much there is.
template <class Get>
void answer_xattr(fuse_req_t req, size_t size, Get get) {
  std::vector<char> value(size);
  const ssize_t got = get(value.data(), size);
  if (got < 0) {
    fuse_reply_err(req, errno);
  } else if (size == 0) {
    fuse_reply_xattr(req, static_cast<size_t>(got));
  } else {
    fuse_reply_buf(req, value.data(), static_cast<size_t>(got));
  }
}

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char* name, size_t size) {
  const Request request(req, Call::getxattr, ino);
  if (request.refused()) return;
  const std::string path = request.source.inode(ino).proc_path();
  answer_xattr(req, size,
               [&](char* value, size_t room) { return getxattr(path.c_str(), name, value, room); });
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size) {
  const Request request(req, Call::listxattr, ino);
  if (request.refused()) return;
  const std::string path = request.source.inode(ino).proc_path();
  answer_xattr(req, size,
               [&](char* value, size_t room) { return listxattr(path.c_str(), value, room); });
}

void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char* name, const char* value, size_t size,
                 int flags) {
  const Request request(req, Call::setxattr, ino);
  if (request.refused()) return;
  request.answer(setxattr(request.source.inode(ino).proc_path().c_str(), name, value, size, flags));
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char* name) {
  const Request request(req, Call::removexattr, ino);
  if (request.refused()) return;
  request.answer(removexattr(request.source.inode(ino).proc_path().c_str(), name));
}

}  // namespace

void add_inode_operations(fuse_lowlevel_ops& ops) {
  ops.init = op_init;
  ops.forget = op_forget;
  ops.forget_multi = op_forget_multi;
  ops.getattr = op_getattr;
  ops.setattr = op_setattr;
  ops.readlink = op_readlink;
  ops.statfs = op_statfs;
  ops.getxattr = op_getxattr;
  ops.listxattr = op_listxattr;
  ops.setxattr = op_setxattr;
  ops.removexattr = op_removexattr;
}

}  // namespace larder::slowshare
