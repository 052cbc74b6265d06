// SPDX-License-Identifier: Apache-2.0
// PosixNetfs, for its own parts: posix.cc (opening), posix_names.cc, posix_files.cc,
// posix_attributes.cc.
#pragma once

#include <larder/fd.h>
#include <larder/netfs.h>

#include <atomic>
#include <memory>
#include <string>

#include <sys/stat.h>

#include "netfs/act_as.h"
#include "netfs/safe_path.h"
#include "netfs/share_pool.h"
#include "netfs/share_root.h"

namespace larder::netfs {

struct PosixFile final : NetfsFile {
  Fd fd;
  int flags = 0;                              // as asked for, without O_CREAT, O_EXCL and O_TRUNC
  std::string path;                           // when it was opened
  std::atomic<std::uint64_t> root_device{0};  // of the root below which it was opened last
  std::uint64_t inode = 0;                    // with btime: which file it is
  std::int64_t btime_ns = 0;
};

class PosixNetfs final : public Netfs {
 public:
  PosixNetfs(std::unique_ptr<ShareRoot> root, Traits traits, SharePool::Keeper keeper)
      : root_(std::move(root)), traits_(std::move(traits)), keeper_(std::move(keeper)) {}

  const Traits& traits() const override { return traits_; }
  std::string why_away() const override { return root_->why_away(); }
  bool act_as(const Credentials* who) override { return netfs::act_as(who); }

  Result<Attributes> stat(const std::string& path, Freshness fresh) override;
  std::vector<Result<Attributes>> stat_names(const std::string& directory,
                                             const std::vector<std::string>& names) override;
  Result<std::vector<Dirent>> list(const std::string& path) override;
  Result<std::string> read_link(const std::string& path) override;
  Result<struct statvfs> stat_fs() override;
  Status access(const std::string& path, int mode) override;

  Result<OpenedFile> open(const std::string& path, int flags, NewMode mode) override;
  Result<OpenedFile> open_again(NetfsFile& file, int flags) override;
  Result<Attributes> stat(NetfsFile& file, Freshness fresh) override;
  std::shared_ptr<LentFile> lend(NetfsFile& file) override;
  Result<ByteCount> read(NetfsFile& file, ByteOffset offset, std::span<std::byte> into) override;
  Result<ByteCount> write(NetfsFile& file, ByteOffset offset,
                          std::span<const std::byte> data) override;
  Result<ByteCount> write_in_place(NetfsFile& file, ByteOffset offset,
                                   std::span<const std::byte> data) override;
  Status sync(NetfsFile& file, SyncWhat what) override;
  Status flush(NetfsFile& file) override;
  Status allocate(NetfsFile& file, int mode, ByteOffset offset, ByteCount length) override;
  Result<ByteOffset> seek(NetfsFile& file, ByteOffset offset, int whence) override;
  Result<ByteCount> copy(NetfsFile& from, ByteOffset from_offset, NetfsFile& to,
                         ByteOffset to_offset, ByteCount length) override;
  Result<std::shared_ptr<NetfsFile>> open_for_locks(const std::string& path,
                                                    NetfsFile* file) override;
  Status lock(NetfsFile& file, const LockRange& range) override;
  Status lock_whole(NetfsFile& file, LockType type) override;
  Result<LockRange> conflicting_lock(NetfsFile& file, const LockRange& range) override;
  Status sync_directory(const std::string& path, SyncWhat what) override;

  Result<Attributes> set_attributes(const std::string& path, NetfsFile* file,
                                    const AttributeChange& change) override;
  Result<Attributes> make_directory(const std::string& path, NewMode mode) override;
  Result<Attributes> make_node(const std::string& path, NewMode mode, std::uint64_t rdev) override;
  Result<Attributes> make_symlink(const std::string& path, const std::string& target) override;
  Result<Attributes> make_link(const std::string& existing, NetfsFile* file,
                               const std::string& path) override;
  Status remove_file(const std::string& path) override;
  Status remove_directory(const std::string& path) override;
  Status rename(const std::string& from, const std::string& to, unsigned flags) override;

  Result<std::string> get_xattr(const std::string& path, NetfsFile* file,
                                const std::string& name) override;
  Result<std::vector<std::string>> list_xattr(const std::string& path, NetfsFile* file) override;
  Status set_xattr(const std::string& path, NetfsFile* file, const std::string& name,
                   std::span<const std::byte> value, int flags) override;
  Status remove_xattr(const std::string& path, NetfsFile* file, const std::string& name) override;

 private:
  using Root = ShareRoot::Root;

  // Calls `call(root, place of path)`; once more on a new root where the share was mounted again.
  template <class Call>
  auto at(const std::string& path, Call call)
      -> decltype(call(std::declval<const Root&>(), std::declval<const SafePath&>()));
  // Calls `call()`; once more where the file could be opened again.
  template <class Call>
  auto on(PosixFile& file, Call call) -> decltype(call());
  // Calls `call(descriptor)` with one that holds the very file: `file`'s, or where it is null an
  // O_PATH one of `path`.
  template <class Call>
  auto held(const std::string& path, NetfsFile* file, Call call) -> decltype(call(0));
  // Opens the file behind `file` again, after `error`. kShareStale: it is gone.
  Status revive(PosixFile& file, Error error);

  Result<OpenedFile> open_at(const ShareRoot::Ref& root, const std::string& path, int flags,
                             NewMode mode);
  Result<OpenedFile> opened(Fd fd, const std::string& path, int flags, std::uint64_t root_device);

  const std::unique_ptr<ShareRoot> root_;
  const Traits traits_;
  const SharePool::Keeper keeper_;
};

// statx of `name` below `directory`.
Result<Attributes> stat_at(std::uint64_t root_device, int directory, const char* name, int at_flags,
                           Freshness fresh);
Result<std::vector<Dirent>> list_at(int directory, const char* name);

template <class Call>
auto PosixNetfs::at(const std::string& path, Call call)
    -> decltype(call(std::declval<const Root&>(), std::declval<const SafePath&>())) {
  const auto attempt =
      [&](const Root& root) -> decltype(call(root, std::declval<const SafePath&>())) {
    TRY(const SafePath place, SafePath::resolve(root.fd.get(), path));
    return call(root, place);
  };
  TRY(const ShareRoot::Ref root, root_->current());
  auto answer = attempt(*root);
  if (answer) return answer;
  TRY(const ShareRoot::Ref fresh, root_->recover(root, answer.error()));
  return attempt(*fresh);
}

template <class Call>
auto PosixNetfs::on(PosixFile& file, Call call) -> decltype(call()) {
  auto answer = call();
  if (answer) return answer;
  TRY_OK(revive(file, answer.error()));
  return call();
}

template <class Call>
auto PosixNetfs::held(const std::string& path, NetfsFile* file, Call call) -> decltype(call(0)) {
  if (file != nullptr) {
    auto& f = static_cast<PosixFile&>(*file);
    return on(f, [&] { return call(f.fd.get()); });
  }
  return at(path, [&](const Root&, const SafePath& place) -> decltype(call(0)) {
    TRY(const Fd fd, place.hold());
    return call(fd.get());
  });
}

// While something is made: this thread's umask is the caller's, so that the share's file system
// applies it or the directory's default access list. Where the thread has no umask of its own,
// larder applies it.
class Making {
 public:
  explicit Making(NewMode wanted)
      : changes_(wanted.umask != 0 && thread_has_own_umask()),
        bits_(changes_ ? wanted.mode : wanted.masked()) {
    if (changes_) ::umask(wanted.umask & 0777);
  }
  ~Making() {
    if (changes_) ::umask(0);
  }
  Making(const Making&) = delete;
  Making& operator=(const Making&) = delete;
  mode_t bits() const { return bits_; }

 private:
  const bool changes_;
  const mode_t bits_;
};

inline Status status_of(int returned) {
  if (returned != 0) return share_error();
  return {};
}

}  // namespace larder::netfs
