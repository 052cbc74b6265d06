// SPDX-License-Identifier: Apache-2.0
// Netfs: the code that talks to one kind of share. One of the five seams.
//
// A Netfs is a set of *blocking* calls with values for errors. It knows no cookie, no store and no
// FUSE. Nobody above this floor calls it directly: `ShareCalls` (share_calls.h) runs each call on a
// share thread, asynchronously, under a deadline, and lets the caller walk away from it. So a new
// kind of share is written as plain system calls, and hanging is dealt with in one place.
//
// Paths are relative to the share's root, without a leading slash; "" is the root. A path never
// leaves the root: not by "..", not by a symbolic link. One with an empty part, "." or ".." is
// kInvalid.
#pragma once

#include <larder/credentials.h>
#include <larder/fd.h>
#include <larder/identity.h>
#include <larder/result.h>
#include <larder/units.h>

#include <sys/statvfs.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace larder {

struct Attributes {
  std::uint64_t inode = 0;
  std::uint64_t device = 0;  // 0: the device of the share's root
  std::uint32_t mode = 0;    // type and permissions, as st_mode
  std::uint32_t nlink = 1;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t rdev = 0;
  std::uint64_t size = 0;        // bytes
  std::uint64_t blocks_512 = 0;  // in units of 512 bytes
  std::uint32_t block_size = 4096;
  std::int64_t atime_ns = 0, mtime_ns = 0, ctime_ns = 0;
  std::int64_t btime_ns = 0;  // 0: none
  std::uint64_t change = 0;   // 0: none

  bool is_directory() const { return (mode & 0170000) == 0040000; }
  bool is_regular() const { return (mode & 0170000) == 0100000; }
  bool is_symlink() const { return (mode & 0170000) == 0120000; }
};

// Which share this is: kept in the store; when the path shows another one, the share is away.
struct ShareIdentity {
  std::string type;  // file system type: "fuse.sshfs", "nfs4", "ext4"
  std::string
      source;  // mount source: "server:/export"; f_fsid in hex where it has no mount of its own
  std::string root;   // the mount's root inside that file system
  std::string below;  // path from the mount point to SHARE; "" where SHARE is the mount point
  bool is_mount_point = false;

  std::string key() const;  // the share cookie's key: all of them, length-prefixed
  friend bool operator==(const ShareIdentity&, const ShareIdentity&) = default;
};

enum class InodeNumbers : std::uint8_t { kStable, kUnstable };
// What the user says of them; kAuto: by the type of the file system.
enum class ShareInodes : std::uint8_t { kAuto, kStable, kUnstable };

// What can be relied on. Constant once the share is open.
struct Traits {
  std::string netfs = "posix";
  std::uint32_t version =
      0;  // of the keys and aux data below this netfs; another one discards them
  ShareIdentity share;
  InodeNumbers inode_numbers = InodeNumbers::kStable;
  bool has_ctime = true;      // ctime is the file's own, not a copy of mtime
  bool folds_case = false;    // names that differ only in case are one name
  bool sends_late = false;    // a write bears the time of the flush that sends it to the server
  bool tells_writer = false;  // what became of a write is told to the descriptor that wrote, alone
};

// The version that these attributes describe, by what this share can be trusted with.
Identity identity_of(const Attributes& attributes, const Traits& traits);
// The file, where the share's own numbers tell it; nullopt where larder must give one.
std::optional<FileId> file_id_of(const Attributes& attributes, const Traits& traits);

struct Dirent {
  std::string name;
  std::uint64_t inode = 0;
  std::uint8_t type = 0;  // DT_*; DT_UNKNOWN where the share does not tell
};

// An open file of the share. Made and used on share threads only. Destroyed there too, but the last
// reference may be let go anywhere: the deleter that the Netfs gives it sees to that.
class NetfsFile {
 public:
  virtual ~NetfsFile() = default;
};

// A file of the share as the kernel can be given it.
class LentFile {
 public:
  virtual ~LentFile() = default;
  // A descriptor of the program's own table that stands for the file and has not opened it: to
  // close it asks nothing of the share. Thread: any but share threads.
  virtual Result<Fd> take() = 0;
};

struct OpenedFile {
  std::shared_ptr<NetfsFile> file;
  Attributes attributes;  // asked of the server after the open, not from a client's cache
  std::shared_ptr<LentFile> lent = nullptr;  // where that was asked for, and can be (Netfs::lend)
};

// How fresh attributes have to be: a cache below us (NFS client, FUSE share) may answer, or the
// server must.
enum class Freshness : std::uint8_t { kCached, kServer };

struct AttributeChange {
  std::optional<std::uint32_t> mode = {}, uid = {}, gid = {};
  std::optional<std::uint64_t> size = {};
  // kNow lets the share take its own clock
  static constexpr std::int64_t kNow = INT64_MIN;
  std::optional<std::int64_t> atime_ns = {}, mtime_ns = {};
};

enum class LockType : std::uint8_t { kRead, kWrite, kUnlock };
struct LockRange {
  static constexpr std::uint64_t kToEnd = INT64_MAX;
  LockType type = LockType::kUnlock;
  std::uint64_t first = 0, last = kToEnd;  // bytes, both included
  std::uint32_t pid = 0;                   // of who holds it; 0: not known, or not on this machine
};

// With what mode something is made, before `umask` takes its bits away: where the directory has a
// default access list, that stands instead of the umask, and only the share can tell.
struct NewMode {
  // NOLINTNEXTLINE(google-explicit-constructor): 0755 is one, with no umask
  NewMode(std::uint32_t mode_bits, std::uint32_t umask_bits = 0)
      : mode(mode_bits), umask(umask_bits) {}
  std::uint32_t masked() const { return mode & ~umask; }
  std::uint32_t mode;  // of a node with its type
  std::uint32_t umask;
};

enum class SyncWhat : std::uint8_t { kAll, kDataOnly };

// Errors of every call: kShareAnswer with the errno the share gave (it goes to the user as it is);
// kShareAway when the share is not there (see RULES on identity); never kNotFound because of that.
// Thread: share threads only, any number at once.
class Netfs {
 public:
  virtual ~Netfs() = default;
  virtual const Traits& traits() const = 0;
  // A sentence for the log: why the last kShareAway. Share threads may not log themselves
  // (src/netfs/share_pool.h), so whoever hears of it does. Thread: any.
  virtual std::string why_away() const { return {}; }

  // The calls that this thread makes are made as `who` until the next act_as(); null: as larder
  // itself. False: that cannot be, and the thread is as larder itself.
  virtual bool act_as(const Credentials* who) = 0;

  virtual Result<Attributes> stat(const std::string& path, Freshness fresh) = 0;
  // Each name of one directory, as the server has it now: one after the other, but the way there
  // only once.
  virtual std::vector<Result<Attributes>> stat_names(const std::string& directory,
                                                     const std::vector<std::string>& names) {
    std::vector<Result<Attributes>> answers;
    answers.reserve(names.size());
    for (const std::string& name : names)
      answers.push_back(
          stat(directory.empty() ? name : directory + "/" + name, Freshness::kServer));
    return answers;
  }
  virtual Result<std::vector<Dirent>> list(const std::string& path) = 0;  // without "." and ".."
  virtual Result<std::string> read_link(const std::string& path) = 0;
  virtual Result<struct statvfs> stat_fs() = 0;
  virtual Status access(const std::string& path, int mode) = 0;

  // `flags`: O_ACCMODE, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY; `mode` for O_CREAT.
  // O_TMPFILE: `path` is the directory of a new file that has no name (EOPNOTSUPP: it cannot).
  virtual Result<OpenedFile> open(const std::string& path, int flags, NewMode mode) = 0;
  // The same file once more, also where it has no name any more.
  virtual Result<OpenedFile> open_again(NetfsFile& file, int flags) = 0;
  virtual Result<Attributes> stat(NetfsFile& file, Freshness fresh) = 0;
  // Null: this kind of share has no files that the kernel could be given.
  virtual std::shared_ptr<LentFile> lend(NetfsFile&) { return nullptr; }
  // Less than asked only at the end of the file. Several may run on one file at once.
  virtual Result<ByteCount> read(NetfsFile& file, ByteOffset offset, std::span<std::byte> into) = 0;
  // All, or the part that there was room for, or an error. On a file opened with O_APPEND the share
  // chooses the offset.
  virtual Result<ByteCount> write(NetfsFile& file, ByteOffset offset,
                                  std::span<const std::byte> data) = 0;
  // The same at `offset`, also on a file opened with O_APPEND.
  virtual Result<ByteCount> write_in_place(NetfsFile& file, ByteOffset offset,
                                           std::span<const std::byte> data) = 0;
  virtual Status sync(NetfsFile& file, SyncWhat what) = 0;
  // What close(2) of this file would report now: closes a duplicate.
  virtual Status flush(NetfsFile& file) = 0;
  // `mode`: FALLOC_FL_*. kShareAnswer EOPNOTSUPP where the share cannot.
  virtual Status allocate(NetfsFile& file, int mode, ByteOffset offset, ByteCount length) = 0;
  // `whence`: SEEK_DATA or SEEK_HOLE.
  virtual Result<ByteOffset> seek(NetfsFile& file, ByteOffset offset, int whence) = 0;
  // Without the bytes passing through here. May copy less; an error only where nothing was copied.
  virtual Result<ByteCount> copy(NetfsFile& from, ByteOffset from_offset, NetfsFile& to,
                                 ByteOffset to_offset, ByteCount length) = 0;
  // What was made and removed in a directory is on the server's disk.
  virtual Status sync_directory(const std::string& path, SyncWhat what) = 0;

  // A descriptor for the locks of one owner: another one's locks conflict with its own, and all go
  // with it. `file` may be null: then by path. Taken at once, or kShareAnswer EAGAIN.
  virtual Result<std::shared_ptr<NetfsFile>> open_for_locks(const std::string& path,
                                                            NetfsFile* file) = 0;
  virtual Status lock(NetfsFile& file, const LockRange& range) = 0;
  virtual Status lock_whole(NetfsFile& file, LockType type) = 0;  // flock(2)
  // One that stands in the way of `range`; kUnlock: none does.
  virtual Result<LockRange> conflicting_lock(NetfsFile& file, const LockRange& range) = 0;

  // `file` may be null: then by path.
  virtual Result<Attributes> set_attributes(const std::string& path, NetfsFile* file,
                                            const AttributeChange& change) = 0;
  virtual Result<Attributes> make_directory(const std::string& path, NewMode mode) = 0;
  virtual Result<Attributes> make_node(const std::string& path, NewMode mode,
                                       std::uint64_t rdev) = 0;
  virtual Result<Attributes> make_symlink(const std::string& path, const std::string& target) = 0;
  // `file` may be null: else that gets the name, and `existing` is passed over.
  virtual Result<Attributes> make_link(const std::string& existing, NetfsFile* file,
                                       const std::string& path) = 0;
  virtual Status remove_file(const std::string& path) = 0;
  virtual Status remove_directory(const std::string& path) = 0;
  virtual Status rename(const std::string& from, const std::string& to,
                        unsigned flags) = 0;  // RENAME_*

  // `file` may be null here too.
  virtual Result<std::string> get_xattr(const std::string& path, NetfsFile* file,
                                        const std::string& name) = 0;
  virtual Result<std::vector<std::string>> list_xattr(const std::string& path, NetfsFile* file) = 0;
  virtual Status set_xattr(const std::string& path, NetfsFile* file, const std::string& name,
                           std::span<const std::byte> value, int flags) = 0;
  virtual Status remove_xattr(const std::string& path, NetfsFile* file,
                              const std::string& name) = 0;
};

}  // namespace larder
