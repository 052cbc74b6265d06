// SPDX-License-Identifier: Apache-2.0
#include "slowshare/source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <strings.h>

#include <cerrno>

namespace larder::slowshare {

DirectoryStream open_stream(int directory) {
  Fd fd{openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  DirectoryStream stream{fd.valid() ? fdopendir(fd.get()) : nullptr};
  if (stream != nullptr) (void)fd.release();
  return stream;
}

std::string Inode::proc_path() const { return fmt::format("/proc/self/fd/{}", fd.get()); }

Source::Source(Fd root, Gate& gate, Timeouts timeouts, Caching caching, NameCase name_case)
    : gate_(gate), timeouts_(timeouts), caching_(caching), name_case_(name_case) {
  root_.fd = std::move(root);
  root_.name.assign(1, '/');  // gcc 12 warns of the plain assignment at -O3
}

Inode& Source::inode(fuse_ino_t ino) {
  return ino == FUSE_ROOT_ID ? root_ : *reinterpret_cast<Inode*>(ino);
}

std::string Source::name_of(fuse_ino_t ino) {
  const std::lock_guard lock(mutex_);
  return inode(ino).name;
}

std::string Source::spelled(fuse_ino_t parent, const char* name) {
  const int directory = inode(parent).fd.get();
  struct stat attributes = {};
  if (name_case_ == NameCase::kTells ||
      fstatat(directory, name, &attributes, AT_SYMLINK_NOFOLLOW) == 0)
    return name;
  const DirectoryStream stream = open_stream(directory);
  if (stream == nullptr) return name;
  while (const dirent* found = readdir(stream.get())) {
    if (strcasecmp(found->d_name, name) == 0) return found->d_name;
  }
  return name;
}

int Source::lookup(fuse_ino_t parent, const char* asked, fuse_entry_param& entry) {
  entry = {};
  const std::string name = spelled(parent, asked);
  Fd fd{openat(inode(parent).fd.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
  if (!fd.valid()) return errno;
  if (fstatat(fd.get(), "", &entry.attr, AT_EMPTY_PATH) != 0) return errno;
  entry.attr_timeout = timeouts_.attr_s;
  entry.entry_timeout = timeouts_.entry_s;

  const std::lock_guard lock(mutex_);
  auto& place = inodes_[{entry.attr.st_dev, entry.attr.st_ino}];
  if (place == nullptr) {
    place = std::make_unique<Inode>();
    place->fd = std::move(fd);
    place->key = {entry.attr.st_dev, entry.attr.st_ino};
  }
  place->name = name;
  ++place->told;
  entry.ino = reinterpret_cast<fuse_ino_t>(place.get());
  return 0;
}

void Source::forget(fuse_ino_t ino, std::uint64_t times) {
  if (ino == FUSE_ROOT_ID) return;
  const std::lock_guard lock(mutex_);
  Inode& gone = inode(ino);
  gone.told -= times;
  if (gone.told == 0) inodes_.erase(std::pair(gone.key));
}

void Source::renamed(fuse_ino_t parent, const char* name) {
  struct stat attributes = {};
  if (fstatat(inode(parent).fd.get(), name, &attributes, AT_SYMLINK_NOFOLLOW) != 0) return;
  const std::lock_guard lock(mutex_);
  const auto found = inodes_.find({attributes.st_dev, attributes.st_ino});
  if (found != inodes_.end()) found->second->name = name;
}

}  // namespace larder::slowshare
