// SPDX-License-Identifier: Apache-2.0
// Operations on open directories. A listing's offset is the source's own, so it survives seeks as
// well as the source's does.
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "slowshare/request.h"

namespace larder::slowshare {
namespace {

struct Listing {
  std::mutex mutex;
  DirectoryStream stream;
  off_t offset = 0;  // where the stream stands
};

Listing& listing_of(const fuse_file_info* file) { return *reinterpret_cast<Listing*>(file->fh); }

void op_opendir(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file) {
  const Request request(req, Call::opendir, ino);
  if (request.refused()) return;
  auto listing = std::make_unique<Listing>();
  listing->stream = open_stream(request.source.inode(ino).fd.get());
  if (listing->stream == nullptr) {
    fuse_reply_err(req, errno);
    return;
  }
  file->fh = reinterpret_cast<std::uint64_t>(listing.get());
  if (fuse_reply_open(req, file) == 0) (void)listing.release();
}

enum class Detail : std::uint8_t { kNames, kAttributes };

// One entry more in `room`; its size, more than the room where it does not fit, 0 where it is gone.
std::size_t add_entry(fuse_req_t req, Source& source, fuse_ino_t ino, const dirent& found,
                      std::span<char> room, Detail detail) {
  const std::string_view name = found.d_name;
  if (detail == Detail::kNames) {
    struct stat attributes = {};
    attributes.st_ino = found.d_ino;
    attributes.st_mode = DTTOIF(static_cast<mode_t>(found.d_type));
    return fuse_add_direntry(req, room.data(), room.size(), found.d_name, &attributes, found.d_off);
  }
  fuse_entry_param entry = {};
  if (name == "." || name == "..") {
    entry.attr.st_ino = found.d_ino;  // and no inode number: the kernel learns of no inode
    entry.attr.st_mode = DTTOIF(static_cast<mode_t>(found.d_type));
  } else if (source.lookup(ino, found.d_name, entry) != 0) {
    return 0;
  }
  const std::size_t size =
      fuse_add_direntry_plus(req, room.data(), room.size(), found.d_name, &entry, found.d_off);
  if (size > room.size() && entry.ino != 0) source.forget(entry.ino, 1);
  return size;
}

void list(fuse_req_t req, const Request& request, fuse_ino_t ino, size_t size, off_t offset,
          Listing& listing, Detail detail) {
  std::vector<char> answer(size);
  std::size_t used = 0;
  std::unique_lock lock(listing.mutex);
  DIR* stream = listing.stream.get();
  if (offset != listing.offset) seekdir(stream, offset);
  listing.offset = offset;
  while (true) {
    errno = 0;
    const dirent* found = readdir(stream);
    if (found == nullptr) {
      if (errno != 0 && used == 0) {
        const int error = errno;
        lock.unlock();
        fuse_reply_err(req, error);
        return;
      }
      break;
    }
    const std::span<char> room = std::span(answer).subspan(used);
    const std::size_t added = add_entry(req, request.source, ino, *found, room, detail);
    if (added > room.size()) {
      seekdir(stream, listing.offset);
      break;
    }
    used += added;
    listing.offset = found->d_off;
  }
  // Before the answer: the kernel may release the listing as soon as it has it.
  lock.unlock();
  fuse_reply_buf(req, answer.data(), used);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info* file) {
  const Request request(req, Call::readdir, ino);
  if (request.refused()) return;
  list(req, request, ino, size, offset, listing_of(file), Detail::kNames);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    fuse_file_info* file) {
  const Request request(req, Call::readdirplus, ino);
  if (request.refused()) return;
  list(req, request, ino, size, offset, listing_of(file), Detail::kAttributes);
}

void op_releasedir(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file) {
  const std::unique_ptr<Listing> closes{&listing_of(file)};
  const Request request(req, Call::releasedir, ino);
  if (!request.refused()) fuse_reply_err(req, 0);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, fuse_file_info* file) {
  const Request request(req, Call::fsyncdir, ino);
  if (request.refused()) return;
  const int fd = dirfd(listing_of(file).stream.get());
  request.answer(data_only != 0 ? fdatasync(fd) : ::fsync(fd));
}

}  // namespace

void add_directory_operations(fuse_lowlevel_ops& ops) {
  ops.opendir = op_opendir;
  ops.readdir = op_readdir;
  ops.readdirplus = op_readdirplus;
  ops.releasedir = op_releasedir;
  ops.fsyncdir = op_fsyncdir;
}

const fuse_lowlevel_ops& operations() {
  static const fuse_lowlevel_ops ops = [] {
    fuse_lowlevel_ops all = {};
    add_name_operations(all);
    add_inode_operations(all);
    add_file_operations(all);
    add_directory_operations(all);
    return all;
  }();
  return ops;
}

}  // namespace larder::slowshare
