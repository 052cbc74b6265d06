// SPDX-License-Identifier: Apache-2.0
// SimNetfs as larder calls it.
#include <dirent.h>
#include <fcntl.h>
#include <larder/result.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "support/sim_netfs.h"
#include "support/sim_netfs_node.h"

namespace larder::test {
namespace {

std::string_view bytes_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

Result<Attributes> SimNetfs::stat(const std::string& path, Freshness fresh) {
  TRY_OK(begin(SimCall::kStat));
  const MutexLock lock(mutex_);
  TRY(const NodeRef node, node_locked(path));
  return answer_locked(*node, fresh);
}

Result<std::vector<Dirent>> SimNetfs::list(const std::string& path) {
  TRY_OK(begin(SimCall::kList));
  const MutexLock lock(mutex_);
  TRY(const NodeRef node, node_locked(path));
  if (!node->is(S_IFDIR)) return no(ENOTDIR);
  std::vector<Dirent> names;
  for (const auto& [key, child] : node->children) {
    names.push_back({.name = child.name,
                     .inode = attributes_locked(*child.node).inode,
                     .type = static_cast<std::uint8_t>(IFTODT(child.node->mode))});
  }
  return names;
}

Result<std::string> SimNetfs::read_link(const std::string& path) {
  TRY_OK(begin(SimCall::kReadLink));
  const MutexLock lock(mutex_);
  TRY(const NodeRef node, node_locked(path));
  if (!node->is(S_IFLNK)) return no(EINVAL);
  return node->content;
}

Result<struct statvfs> SimNetfs::stat_fs() {
  TRY_OK(begin(SimCall::kStatFs));
  struct statvfs answer {};
  answer.f_bsize = answer.f_frsize = 4096;
  answer.f_blocks = 1 << 20;
  answer.f_bfree = answer.f_bavail = 1 << 19;
  answer.f_namemax = 255;
  return answer;
}

Status SimNetfs::access(const std::string& path, int mode) {
  TRY_OK(begin(SimCall::kAccess));
  const MutexLock lock(mutex_);
  TRY(const NodeRef node, node_locked(path));
  // One user, who owns everything.
  const auto wanted = static_cast<std::uint32_t>(mode & 07);
  return ((node->mode >> 6) & wanted) == wanted ? Status{} : Status{no(EACCES)};
}

Result<OpenedFile> SimNetfs::open(const std::string& path, int flags, NewMode mode) {
  TRY_OK(begin(SimCall::kOpen));
  const MutexLock lock(mutex_);
  TRY(Place place, find_locked(path));
  if ((flags & O_TMPFILE) == O_TMPFILE) {
    if (profile_ == SimProfile::kS3 || profile_ == SimProfile::kSshfs) return no(EOPNOTSUPP);
    if (place.node == nullptr) return no(ENOENT);
    if (!place.node->is(S_IFDIR)) return no(ENOTDIR);
    place.node = new_node_locked(S_IFREG | (mode.masked() & 07777));
    place.node->nlink = 0;
  } else if (place.node == nullptr) {
    if ((flags & O_CREAT) == 0) return no(ENOENT);
    TRY_OK(add_locked(path, S_IFREG | (mode.masked() & 07777), [](Node&) {}));
    TRY(place, find_locked(path));
  } else if ((flags & O_CREAT) != 0 && (flags & O_EXCL) != 0) {
    return no(EEXIST);
  }
  Node& node = *place.node;
  const bool writes = (flags & O_ACCMODE) != O_RDONLY;
  if (node.is(S_IFLNK)) return no(ELOOP);
  if (node.is(S_IFDIR) && writes) return no(EISDIR);
  const bool wants_directory = (flags & O_TMPFILE) == O_DIRECTORY;
  if (!node.is(S_IFDIR) && wants_directory) return no(ENOTDIR);
  if (!node.is(S_IFDIR) && !node.is(S_IFREG)) return no(ENXIO);
  if ((flags & O_TRUNC) != 0 && writes) {
    node.content.clear();
    node.kept.reset();
    changed_locked(node);
  }
  return OpenedFile{std::make_shared<File>(place.node, flags, open_files_),
                    answer_locked(node, Freshness::kServer)};
}

std::shared_ptr<LentFile> SimNetfs::lend(NetfsFile&) {
  struct Lent final : LentFile {
    Result<Fd> take() override { return Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }
  };
  return std::make_shared<Lent>();
}

Result<OpenedFile> SimNetfs::open_again(NetfsFile& file, int flags) {
  TRY_OK(begin(SimCall::kOpen));
  const MutexLock lock(mutex_);
  TRY(const NodeRef node, open_node_locked(file));
  if ((flags & O_TRUNC) != 0) {
    node->content.clear();
    node->kept.reset();
    changed_locked(*node);
  }
  return OpenedFile{std::make_shared<File>(node, flags, open_files_),
                    answer_locked(*node, Freshness::kServer)};
}

Result<Attributes> SimNetfs::stat(NetfsFile& file, Freshness fresh) {
  TRY_OK(begin(SimCall::kFileStat));
  const MutexLock lock(mutex_);
  TRY(const NodeRef node, open_node_locked(file));
  return answer_locked(*node, fresh);
}

Result<ByteCount> SimNetfs::read(NetfsFile& file, ByteOffset offset, std::span<std::byte> into) {
  TRY_OK(begin(SimCall::kRead));
  if ((static_cast<File&>(file).flags & O_ACCMODE) == O_WRONLY) return no(EBADF);
  const auto copy_locked = [&](std::size_t from, std::size_t to)
                               REQUIRES(mutex_) -> Result<std::size_t> {
    TRY(const NodeRef node, open_node_locked(file));
    if (node->is(S_IFDIR)) return no(EISDIR);
    const std::uint64_t at = offset.value() + from;
    const std::size_t n = at >= node->content.size()
                              ? 0
                              : std::min<std::size_t>(to - from, node->content.size() - at);
    std::memcpy(into.data() + from, node->content.data() + (n == 0 ? 0 : at), n);
    bytes_read_ += n;
    return n;
  };
  MutexLock lock(mutex_);
  std::size_t half = 0;
  if (auto hook = std::exchange(hooks_[index(SimCall::kRead)], nullptr)) {
    half = into.size() / 2;
    TRY(const std::size_t first, copy_locked(0, half));
    lock.unlock();
    hook();
    lock.lock();
    if (first < half) return ByteCount{first};
  }
  std::size_t end = into.size();
  if (cut_reads_ > 0) {
    --cut_reads_;
    end = half + (end - half) / 2;
  }
  TRY(const std::size_t rest, copy_locked(half, end));
  return ByteCount{half + rest};
}

Result<ByteCount> SimNetfs::write(NetfsFile& file, ByteOffset offset,
                                  std::span<const std::byte> data) {
  const bool appends = (static_cast<File&>(file).flags & O_APPEND) != 0;
  return write_as(file, offset, data, appends ? Ends::kAppends : Ends::kInPlace);
}

Result<ByteCount> SimNetfs::write_in_place(NetfsFile& file, ByteOffset offset,
                                           std::span<const std::byte> data) {
  return write_as(file, offset, data, Ends::kInPlace);
}

Result<ByteCount> SimNetfs::write_as(NetfsFile& file, ByteOffset offset,
                                     std::span<const std::byte> data, Ends ends) {
  TRY_OK(begin(SimCall::kWrite));
  const File& f = static_cast<File&>(file);
  if ((f.flags & O_ACCMODE) == O_RDONLY) return no(EBADF);
  const MutexLock lock(mutex_);
  TRY(const NodeRef node, open_node_locked(file));
  const std::size_t at = ends == Ends::kAppends ? node->content.size() : offset.value();
  if (node->content.size() < at + data.size()) node->content.resize(at + data.size(), '\0');
  std::memcpy(node->content.data() + at, data.data(), data.size());
  node->kept.reset();
  changed_locked(*node);
  node->unsent = traits_.sends_late;
  return ByteCount{data.size()};
}

void SimNetfs::send_locked(Node& node) {
  if (std::exchange(node.unsent, false)) changed_locked(node);
}

Status SimNetfs::sync(NetfsFile& file, SyncWhat) {
  TRY_OK(begin(SimCall::kSync));
  const MutexLock lock(mutex_);
  TRY(const NodeRef node, open_node_locked(file));
  send_locked(*node);
  return {};
}

Status SimNetfs::flush(NetfsFile& file) {
  TRY_OK(begin(SimCall::kFlush));
  const MutexLock lock(mutex_);
  TRY(const NodeRef node, open_node_locked(file));
  send_locked(*node);
  return {};
}

// Punching and zeroing alike; space is not kept account of.
Status SimNetfs::allocate(NetfsFile& file, int mode, ByteOffset offset, ByteCount length) {
  TRY_OK(begin(SimCall::kAllocate));
  if ((static_cast<File&>(file).flags & O_ACCMODE) == O_RDONLY) return no(EBADF);
  if (profile_ == SimProfile::kS3 || profile_ == SimProfile::kSshfs) return no(EOPNOTSUPP);
  const MutexLock lock(mutex_);
  TRY(const NodeRef node, open_node_locked(file));
  const std::size_t end = offset.value() + length.value();
  if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && node->content.size() < end)
    node->content.resize(end, '\0');
  if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0) {
    for (std::size_t i = offset.value(); i < std::min(end, node->content.size()); ++i)
      node->content[i] = '\0';
  }
  node->kept.reset();
  changed_locked(*node);
  return {};
}

// No holes but the one at the end.
Result<ByteOffset> SimNetfs::seek(NetfsFile& file, ByteOffset offset, int whence) {
  TRY_OK(begin(SimCall::kFileStat));
  const MutexLock lock(mutex_);
  TRY(const NodeRef node, open_node_locked(file));
  if (offset.value() >= node->content.size()) return no(ENXIO);
  return whence == SEEK_DATA ? offset : ByteOffset{node->content.size()};
}

Result<ByteCount> SimNetfs::copy(NetfsFile& from, ByteOffset from_offset, NetfsFile& to,
                                 ByteOffset to_offset, ByteCount length) {
  TRY_OK(begin(SimCall::kCopy));
  if (profile_ == SimProfile::kS3 || profile_ == SimProfile::kSshfs) return no(EOPNOTSUPP);
  if ((static_cast<File&>(to).flags & O_ACCMODE) == O_RDONLY) return no(EBADF);
  const MutexLock lock(mutex_);
  TRY(const NodeRef in, open_node_locked(from));
  TRY(const NodeRef out, open_node_locked(to));
  if (from_offset.value() >= in->content.size()) return ByteCount{0};
  const std::string bytes = in->content.substr(from_offset.value(), length.value());
  if (out->content.size() < to_offset.value() + bytes.size())
    out->content.resize(to_offset.value() + bytes.size(), '\0');
  std::memcpy(out->content.data() + to_offset.value(), bytes.data(), bytes.size());
  out->kept.reset();
  changed_locked(*out);
  return ByteCount{bytes.size()};
}

Result<std::shared_ptr<NetfsFile>> SimNetfs::open_for_locks(const std::string&, NetfsFile*) {
  return no(ENOLCK);
}
Status SimNetfs::lock(NetfsFile&, const LockRange&) { return no(ENOLCK); }
Status SimNetfs::lock_whole(NetfsFile&, LockType) { return no(ENOLCK); }
Result<LockRange> SimNetfs::conflicting_lock(NetfsFile&, const LockRange&) { return no(ENOLCK); }

Status SimNetfs::sync_directory(const std::string& path, SyncWhat) {
  TRY_OK(begin(SimCall::kSync));
  const MutexLock lock(mutex_);
  TRY(const NodeRef node, node_locked(path));
  return node->is(S_IFDIR) ? Status{} : Status{no(ENOTDIR)};
}

Result<Attributes> SimNetfs::set_attributes(const std::string& path, NetfsFile* file,
                                            const AttributeChange& change) {
  TRY_OK(begin(SimCall::kSetAttributes));
  const MutexLock lock(mutex_);
  TRY(const NodeRef node, file != nullptr ? open_node_locked(*file) : node_locked(path));
  node->kept.reset();
  if (change.size) {
    if (node->is(S_IFDIR)) return no(EISDIR);
    if (!node->is(S_IFREG)) return no(EINVAL);
    node->content.resize(*change.size, '\0');
    changed_locked(*node);
  }
  if (change.mode) {
    if (node->is(S_IFLNK)) return no(EOPNOTSUPP);
    node->mode = (node->mode & S_IFMT) | (*change.mode & 07777);
  }
  if (change.uid) node->uid = *change.uid;
  if (change.gid) node->gid = *change.gid;
  const auto stamp = [&](std::int64_t time_ns) {
    return time_ns == AttributeChange::kNow ? now_ns() : time_ns - time_ns % step_of(profile_);
  };
  if (change.atime_ns) node->atime_ns = stamp(*change.atime_ns);
  if (change.mtime_ns) node->mtime_ns = stamp(*change.mtime_ns);
  recorded_locked(*node);
  return answer_locked(*node, Freshness::kServer);
}

Result<Attributes> SimNetfs::make_directory(const std::string& path, NewMode mode) {
  TRY_OK(begin(SimCall::kMake));
  const MutexLock lock(mutex_);
  return add_locked(path, S_IFDIR | (mode.masked() & 07777), [](Node&) {});
}

Result<Attributes> SimNetfs::make_node(const std::string& path, NewMode wanted,
                                       std::uint64_t rdev) {
  const std::uint32_t mode = wanted.masked();
  TRY_OK(begin(SimCall::kMake));
  const MutexLock lock(mutex_);
  if ((mode & S_IFMT) == S_IFDIR || (mode & S_IFMT) == S_IFLNK) return no(EINVAL);
  const std::uint32_t type = (mode & S_IFMT) == 0 ? S_IFREG : mode & S_IFMT;
  return add_locked(path, type | (mode & 07777), [&](Node& n) { n.rdev = rdev; });
}

Result<Attributes> SimNetfs::make_symlink(const std::string& path, const std::string& target) {
  TRY_OK(begin(SimCall::kMake));
  if (profile_ == SimProfile::kS3) return no(EOPNOTSUPP);
  const MutexLock lock(mutex_);
  return add_locked(path, S_IFLNK | 0777, [&](Node& n) { n.content = target; });
}

Result<Attributes> SimNetfs::make_link(const std::string& existing, NetfsFile* file,
                                       const std::string& path) {
  TRY_OK(begin(SimCall::kMake));
  if (profile_ == SimProfile::kS3) return no(EOPNOTSUPP);
  const MutexLock lock(mutex_);
  TRY(const NodeRef node, file != nullptr ? open_node_locked(*file) : node_locked(existing));
  if (node->is(S_IFDIR)) return no(EPERM);
  TRY(const Place place, find_locked(path));
  if (place.node != nullptr) return no(EEXIST);
  place.parent->children[place.key] = {.name = place.name, .node = node};
  ++node->nlink;
  node->kept.reset();
  recorded_locked(*node);
  changed_locked(*place.parent);
  return attributes_locked(*node);
}

Status SimNetfs::remove_file(const std::string& path) {
  TRY_OK(begin(SimCall::kRemove));
  const MutexLock lock(mutex_);
  TRY(const Place place, find_locked(path));
  if (place.node == nullptr) return no(ENOENT);
  if (place.node->is(S_IFDIR)) return no(EISDIR);
  place.node->kept.reset();
  return unlink_locked(place);
}

Status SimNetfs::remove_directory(const std::string& path) {
  TRY_OK(begin(SimCall::kRemove));
  const MutexLock lock(mutex_);
  TRY(const Place place, find_locked(path));
  if (place.node == nullptr) return no(ENOENT);
  if (place.parent == nullptr) return no(EBUSY);
  if (!place.node->is(S_IFDIR)) return no(ENOTDIR);
  return unlink_locked(place);
}

Status SimNetfs::rename(const std::string& from, const std::string& to, unsigned flags) {
  TRY_OK(begin(SimCall::kRename));
  const MutexLock lock(mutex_);
  TRY(const Place old, find_locked(from));
  TRY(const Place place, find_locked(to));
  if (old.node == nullptr) return no(ENOENT);
  if (old.parent == nullptr || place.parent == nullptr) return no(EBUSY);
  if (old.node->is(S_IFDIR) && (to + "/").starts_with(from + "/") && to != from) return no(EINVAL);
  if (flags != 0 && flags != RENAME_NOREPLACE && flags != RENAME_EXCHANGE) return no(EINVAL);
  if (flags != 0 && profile_ == SimProfile::kS3) return no(EINVAL);
  old.node->kept.reset();
  if (flags == RENAME_EXCHANGE) {
    if (place.node == nullptr) return no(ENOENT);
    std::swap(old.parent->children[old.key].node, place.parent->children[place.key].node);
    const std::uint32_t moved = old.node->is(S_IFDIR), other = place.node->is(S_IFDIR);
    old.parent->nlink += other - moved;
    place.parent->nlink += moved - other;
    place.node->kept.reset();
    recorded_locked(*place.node);
  } else {
    const bool same_name = place.parent == old.parent && place.key == old.key;
    if (place.node != nullptr && !same_name && flags == RENAME_NOREPLACE) return no(EEXIST);
    if (place.node == old.node && !same_name) return {};  // two links of one file
    if (place.node != nullptr && place.node != old.node) {
      if (place.node->is(S_IFDIR) && !old.node->is(S_IFDIR)) return no(EISDIR);
      if (!place.node->is(S_IFDIR) && old.node->is(S_IFDIR)) return no(ENOTDIR);
      TRY_OK(unlink_locked(place));
    }
    old.parent->children.erase(old.key);
    place.parent->children[place.key] = {.name = place.name, .node = old.node};
    if (old.node->is(S_IFDIR)) {
      --old.parent->nlink;
      ++place.parent->nlink;
    }
  }
  changed_locked(*old.parent);
  changed_locked(*place.parent);
  recorded_locked(*old.node);
  return {};
}

Result<std::string> SimNetfs::get_xattr(const std::string& path, NetfsFile* file,
                                        const std::string& name) {
  TRY_OK(begin(SimCall::kXattr));
  const MutexLock lock(mutex_);
  TRY(const NodeRef node, file != nullptr ? open_node_locked(*file) : node_locked(path));
  const auto found = node->xattrs.find(name);
  if (found == node->xattrs.end()) return no(ENODATA);
  return found->second;
}

Result<std::vector<std::string>> SimNetfs::list_xattr(const std::string& path, NetfsFile* file) {
  TRY_OK(begin(SimCall::kXattr));
  const MutexLock lock(mutex_);
  TRY(const NodeRef node, file != nullptr ? open_node_locked(*file) : node_locked(path));
  std::vector<std::string> names;
  for (const auto& [name, value] : node->xattrs) names.push_back(name);
  return names;
}

Status SimNetfs::set_xattr(const std::string& path, NetfsFile* file, const std::string& name,
                           std::span<const std::byte> value, int flags) {
  TRY_OK(begin(SimCall::kXattr));
  const MutexLock lock(mutex_);
  TRY(const NodeRef node, file != nullptr ? open_node_locked(*file) : node_locked(path));
  const bool there = node->xattrs.contains(name);
  if (there && flags == XATTR_CREATE) return no(EEXIST);
  if (!there && flags == XATTR_REPLACE) return no(ENODATA);
  node->xattrs[name] = bytes_text(value);
  node->kept.reset();
  recorded_locked(*node);
  return {};
}

Status SimNetfs::remove_xattr(const std::string& path, NetfsFile* file, const std::string& name) {
  TRY_OK(begin(SimCall::kXattr));
  const MutexLock lock(mutex_);
  TRY(const NodeRef node, file != nullptr ? open_node_locked(*file) : node_locked(path));
  if (node->xattrs.erase(name) == 0) return no(ENODATA);
  node->kept.reset();
  recorded_locked(*node);
  return {};
}

}  // namespace larder::test
