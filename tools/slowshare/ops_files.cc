// SPDX-License-Identifier: Apache-2.0
// Operations on open files.
//
// Plain reads go through the kernel's pages and its read-ahead, as with any network client, but an
// open never keeps pages of an earlier one. With Caching::kDirect each read(2) is a request of its
// own.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include "slowshare/request.h"

namespace larder::slowshare {
namespace {

// A buffer per thread, so that a read of 1 MiB does not map and clear memory each time.
std::vector<char>& read_buffer(std::size_t size) {
  thread_local std::vector<char> buffer;
  if (buffer.size() < size) buffer.resize(size);
  return buffer;
}

void fill_in(const Source& source, fuse_file_info& file, int fd) {
  file.fh = static_cast<std::uint64_t>(fd);
  file.keep_cache = 0;
  file.direct_io = source.caching() == Caching::kDirect ? 1 : 0;
}

// The kernel has made sure of the name already, and our buffers are not aligned for O_DIRECT.
int flags_for_source(int flags) { return (flags & ~(O_NOFOLLOW | O_DIRECT)) | O_CLOEXEC; }

void op_open(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file) {
  const Request request(req, Call::open, ino);
  if (request.refused()) return;
  const std::string path = request.source.inode(ino).proc_path();
  Fd fd{open(path.c_str(), flags_for_source(file->flags))};
  if (!fd.valid()) {
    fuse_reply_err(req, errno);
    return;
  }
  fill_in(request.source, *file, fd.get());
  // When nobody waits for the answer any more, no release follows.
  if (fuse_reply_open(req, file) == 0) (void)fd.release();
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char* asked, mode_t mode,
               fuse_file_info* file) {
  const Request request(req, Call::create, asked);
  if (request.refused()) return;
  Source& source = request.source;
  const std::string name = source.spelled(parent, asked);
  const int directory = source.inode(parent).fd.get();
  struct stat before = {};
  const bool is_new = fstatat(directory, name.c_str(), &before, AT_SYMLINK_NOFOLLOW) != 0;
  Fd fd{openat(directory, name.c_str(),
               ((file->flags | O_CREAT) & ~O_DIRECT) | O_CLOEXEC | O_NOFOLLOW, mode)};
  if (!fd.valid()) {
    fuse_reply_err(req, errno);
    return;
  }
  if (is_new) give_to_caller(req, directory, name.c_str());
  fuse_entry_param entry;
  const int error = source.lookup(parent, name.c_str(), entry);
  if (error != 0) {
    fuse_reply_err(req, error);
    return;
  }
  fill_in(source, *file, fd.get());
  if (fuse_reply_create(req, &entry, file) == 0) {
    (void)fd.release();
  } else {
    source.forget(entry.ino, 1);
  }
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info* file) {
  const Request request(req, Call::read, ino);
  if (request.refused()) return;
  Gate& gate = request.source.gate();
  std::vector<char>& buffer = read_buffer(size);
  const ssize_t got = pread(fd_of(file), buffer.data(), size, offset);
  if (got < 0) {
    fuse_reply_err(req, errno);
    return;
  }
  const std::size_t given = gate.read_size(request.name, static_cast<std::size_t>(got));
  gate.transfer(Gate::Way::kRead, given);
  fuse_reply_buf(req, buffer.data(), given);
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char* bytes, size_t size, off_t offset,
              fuse_file_info* file) {
  const Request request(req, Call::write, ino);
  if (request.refused()) return;
  request.source.gate().transfer(Gate::Way::kWrite, size);
  const ssize_t written = pwrite(fd_of(file), bytes, size, offset);
  if (written < 0) {
    fuse_reply_err(req, errno);
  } else {
    fuse_reply_write(req, static_cast<size_t>(written));
  }
}

// close(2) of one descriptor: what the source says at close is its answer.
void op_flush(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file) {
  const Request request(req, Call::flush, ino);
  if (request.refused()) return;
  request.answer(close(dup(fd_of(file))));
}

void op_release(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file) {
  const Fd closes{fd_of(file)};  // also where a rule refuses the request: the kernel asks once
  const Request request(req, Call::release, ino);
  if (!request.refused()) fuse_reply_err(req, 0);
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, fuse_file_info* file) {
  const Request request(req, Call::fsync, ino);
  if (request.refused()) return;
  request.answer(data_only != 0 ? fdatasync(fd_of(file)) : ::fsync(fd_of(file)));
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                  fuse_file_info* file) {
  const Request request(req, Call::fallocate, ino);
  if (request.refused()) return;
  request.answer(fallocate(fd_of(file), mode, offset, length));
}

void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, fuse_file_info* file) {
  const Request request(req, Call::lseek, ino);
  if (request.refused()) return;
  const off_t place = lseek(fd_of(file), offset, whence);
  if (place < 0) {
    fuse_reply_err(req, errno);
  } else {
    fuse_reply_lseek(req, place);
  }
}

}  // namespace

void add_file_operations(fuse_lowlevel_ops& ops) {
  ops.open = op_open;
  ops.create = op_create;
  ops.read = op_read;
  ops.write = op_write;
  ops.flush = op_flush;
  ops.release = op_release;
  ops.fsync = op_fsync;
  ops.fallocate = op_fallocate;
  ops.lseek = op_lseek;
}

}  // namespace larder::slowshare
