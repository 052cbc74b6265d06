// SPDX-License-Identifier: Apache-2.0
// Operations on names: look-up, making, removing, renaming.
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "slowshare/request.h"

namespace larder::slowshare {

void answer_entry(fuse_req_t req, Source& source, fuse_ino_t parent, const char* name) {
  fuse_entry_param entry;
  const int error = source.lookup(parent, name, entry);
  if (error != 0) {
    fuse_reply_err(req, error);
  } else if (fuse_reply_entry(req, &entry) != 0) {
    source.forget(entry.ino, 1);
  }
}

void give_to_caller(fuse_req_t req, int parent_fd, const char* made) {
  if (geteuid() != 0) return;
  const fuse_ctx* caller = fuse_req_ctx(req);
  struct stat parent = {};
  if (fstatat(parent_fd, "", &parent, AT_EMPTY_PATH) != 0) return;
  // Below a set-gid directory the system has already given the directory's group.
  const gid_t group = (parent.st_mode & S_ISGID) != 0 ? static_cast<gid_t>(-1) : caller->gid;
  if (caller->uid == 0 && (caller->gid == 0 || group != caller->gid)) return;
  struct stat as_made = {};
  if (fstatat(parent_fd, made, &as_made, AT_SYMLINK_NOFOLLOW) != 0) return;
  // May fail where the source has no owners; the file is there all the same.
  if (fchownat(parent_fd, made, caller->uid, group, AT_SYMLINK_NOFOLLOW) != 0) return;
  // A new owner takes set-user-ID and set-group-ID away; they were asked for.
  if (S_ISLNK(as_made.st_mode) || (as_made.st_mode & (S_ISUID | S_ISGID)) == 0) return;
  [[maybe_unused]] const int result = fchmodat(parent_fd, made, as_made.st_mode & 07777, 0);
}

namespace {

int directory_fd(Source& source, fuse_ino_t parent) { return source.inode(parent).fd.get(); }

// The common end of mknod, mkdir, symlink.
void answer_made(fuse_req_t req, Source& source, fuse_ino_t parent, const char* name, int result) {
  if (result < 0) {
    fuse_reply_err(req, errno);
    return;
  }
  give_to_caller(req, directory_fd(source, parent), name);
  answer_entry(req, source, parent, name);
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  const Request request(req, Call::lookup, name);
  if (request.refused()) return;
  answer_entry(req, request.source, parent, name);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char* asked, mode_t mode, dev_t device) {
  const Request request(req, Call::mknod, asked);
  if (request.refused()) return;
  const std::string name = request.source.spelled(parent, asked);
  const int made = mknodat(directory_fd(request.source, parent), name.c_str(), mode, device);
  answer_made(req, request.source, parent, name.c_str(), made);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char* asked, mode_t mode) {
  const Request request(req, Call::mkdir, asked);
  if (request.refused()) return;
  const std::string name = request.source.spelled(parent, asked);
  const int made = mkdirat(directory_fd(request.source, parent), name.c_str(), mode);
  answer_made(req, request.source, parent, name.c_str(), made);
}

void op_symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* asked) {
  const Request request(req, Call::symlink, asked);
  if (request.refused()) return;
  const std::string name = request.source.spelled(parent, asked);
  const int made = symlinkat(target, directory_fd(request.source, parent), name.c_str());
  answer_made(req, request.source, parent, name.c_str(), made);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char* asked) {
  const Request request(req, Call::link, asked);
  if (request.refused()) return;
  const std::string name = request.source.spelled(parent, asked);
  const std::string from = request.source.inode(ino).proc_path();
  const int to = directory_fd(request.source, parent);
  if (linkat(AT_FDCWD, from.c_str(), to, name.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    fuse_reply_err(req, errno);
    return;
  }
  answer_entry(req, request.source, parent, name.c_str());
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char* asked) {
  const Request request(req, Call::unlink, asked);
  if (request.refused()) return;
  const std::string name = request.source.spelled(parent, asked);
  request.answer(unlinkat(directory_fd(request.source, parent), name.c_str(), 0));
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char* asked) {
  const Request request(req, Call::rmdir, asked);
  if (request.refused()) return;
  const std::string name = request.source.spelled(parent, asked);
  request.answer(unlinkat(directory_fd(request.source, parent), name.c_str(), AT_REMOVEDIR));
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char* asked, fuse_ino_t to_parent,
               const char* to_asked, unsigned flags) {
  const Request request(req, Call::rename, asked, to_asked);
  if (request.refused()) return;
  Source& source = request.source;
  const std::string name = source.spelled(parent, asked);
  std::string to_name = source.spelled(to_parent, to_asked);
  if (parent == to_parent && name == to_name) to_name = to_asked;  // it gets another spelling
  const int result = renameat2(directory_fd(source, parent), name.c_str(),
                               directory_fd(source, to_parent), to_name.c_str(), flags);
  const int error = result < 0 ? errno : 0;
  if (error == 0) {
    source.renamed(to_parent, to_name.c_str());
    if ((flags & RENAME_EXCHANGE) != 0) source.renamed(parent, name.c_str());
  }
  fuse_reply_err(req, error);
}

}  // namespace

void add_name_operations(fuse_lowlevel_ops& ops) {
  ops.lookup = op_lookup;
  ops.mknod = op_mknod;
  ops.mkdir = op_mkdir;
  ops.symlink = op_symlink;
  ops.link = op_link;
  ops.unlink = op_unlink;
  ops.rmdir = op_rmdir;
  ops.rename = op_rename;
}

}  // namespace larder::slowshare
