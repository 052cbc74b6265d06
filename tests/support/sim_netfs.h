// SPDX-License-Identifier: Apache-2.0
// SimNetfs: a share in memory, as one client sees it, that a test can change behind larder's back.
//
//   profile  time stamps   ctime  inode numbers  attributes kept by the client below larder else
//   nfs      1 ns          own    stable         3 s, but the server is asked when that is asked
//   ESTALE for files gone smb      100 ns        own    stable         1 s, as nfs folds case,
//   birth times sshfs    1 s           mtime  change at remount()  20 s, whatever is asked (sshfs's
//   dcache) s3       1 s           mtime  none           0 etag, no links
//
// Time is the SimClock's. Every call is counted before anything else, so a test can say how often
// the share was asked. Thread: any; no lock is held while a hook runs.
#pragma once

#include <larder/clock.h>
#include <larder/netfs.h>

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/mutex.h"

namespace larder::test {

enum class SimProfile : std::uint8_t { kNfs, kSmb, kSshfs, kS3 };
std::string_view to_text(SimProfile profile);
inline constexpr std::array kAllProfiles = {SimProfile::kNfs, SimProfile::kSmb, SimProfile::kSshfs,
                                            SimProfile::kS3};

enum class SimCall : std::uint8_t {
  kStat,
  kList,
  kReadLink,
  kStatFs,
  kAccess,
  kOpen,
  kFileStat,
  kRead,
  kWrite,
  kSync,
  kFlush,
  kSetAttributes,
  kMake,
  kRemove,
  kRename,
  kXattr,
  kAllocate,
  kCopy,
};
inline constexpr std::size_t kSimCalls = 18;

class SimNetfs final : public Netfs {
 public:
  SimNetfs(SimProfile profile, const Clock& clock);
  ~SimNetfs() override;

  // --- As another client of the share does it. Missing parents are made; what is not there stops
  // the test. Nothing of this is counted.
  void put(const std::string& path, std::string_view content);  // same file, new content, new mtime
  void replace(const std::string& path, std::string_view content);  // another file under the name
  void put_quietly(const std::string& path,
                   std::string_view content);  // mtime and ctime as they were
  void make_dir(const std::string& path);
  void make_link_to(const std::string& path, const std::string& target);  // a symbolic link
  void erase(const std::string& path);
  void move(const std::string& from, const std::string& to);
  void set_inode(const std::string& path, std::uint64_t inode);  // a number that was free again
  void set_mtime(const std::string& path, std::int64_t mtime_ns);
  bool exists(const std::string& path) const;
  std::string content(const std::string& path) const;
  Attributes attributes(const std::string& path) const;  // the truth, past any client's cache
  // The client mounts the share again: its cache is empty, unstable inode numbers are others.
  void remount();
  // Instead of the profile's.
  void keep_attributes_for(Nanoseconds time_ns);

  // --- Faults.
  void fail_next(SimCall call, int sys_errno, unsigned times = 1);
  void refuse(std::uint32_t uid);  // each call that is made as this user is EACCES
  void go_away();                  // every call is kShareAway until come_back()
  void come_back();
  // The next reads bring half of what is asked: a broken share, since the contract is to read on.
  void cut_next_reads(unsigned times);
  // Runs once in the middle of the next such call: after its first half where it has one (read),
  // else right before its answer is made.
  void during_next(SimCall call, std::function<void()> hook);

  // --- What was asked.
  std::uint64_t calls(SimCall call) const;
  std::uint64_t calls() const;
  std::uint64_t data_calls() const { return calls(SimCall::kRead) + calls(SimCall::kWrite); }
  std::uint64_t bytes_read() const;
  std::uint64_t open_files() const;

  // --- Netfs
  const Traits& traits() const override { return traits_; }
  // Writes bear the time of the flush behind them, as those of NFS do. REQUIRES: nothing was
  // written.
  void send_late() { traits_.sends_late = true; }
  std::string why_away() const override { return "the test says so"; }
  // Keeps errors of writes by descriptor, as a FUSE share may. REQUIRES: nothing was written.
  void tell_writer() { traits_.tells_writer = true; }
  bool act_as(const Credentials* who) override;
  // Some descriptor: a kernel of a test does not look at it.
  std::shared_ptr<LentFile> lend(NetfsFile& file) override;
  Result<Attributes> stat(const std::string& path, Freshness fresh) override;
  Result<std::vector<Dirent>> list(const std::string& path) override;
  Result<std::string> read_link(const std::string& path) override;
  Result<struct statvfs> stat_fs() override;
  Status access(const std::string& path, int mode) override;
  Result<OpenedFile> open(const std::string& path, int flags, NewMode mode) override;
  Result<OpenedFile> open_again(NetfsFile& file, int flags) override;
  Result<Attributes> stat(NetfsFile& file, Freshness fresh) override;
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
  // Locks stay with the client here: this share refuses them.
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
  struct Node;
  struct File;
  enum class Ends : std::uint8_t { kAppends, kInPlace };
  Result<ByteCount> write_as(NetfsFile& file, ByteOffset offset, std::span<const std::byte> data,
                             Ends ends);
  using NodeRef = std::shared_ptr<Node>;
  struct Place {  // where a name is, or would be
    NodeRef parent;
    std::string key, name;
    NodeRef node;  // null: no such name
  };

  // Counts, runs the hook, and says whether the call fails.
  Status begin(SimCall call);
  std::string key_of(std::string_view name) const;
  Nanoseconds now_ns() const;
  Result<Place> find_locked(const std::string& path) const REQUIRES(mutex_);
  Result<NodeRef> node_locked(const std::string& path) const REQUIRES(mutex_);
  // For tests' own changes: the parents are made.
  Place make_way_locked(const std::string& path) REQUIRES(mutex_);
  NodeRef new_node_locked(std::uint32_t mode) REQUIRES(mutex_);
  Result<Attributes> add_locked(const std::string& path, std::uint32_t mode,
                                const std::function<void(Node&)>& fill) REQUIRES(mutex_);
  Status unlink_locked(const Place& place) REQUIRES(mutex_);
  Attributes attributes_locked(const Node& node) const REQUIRES(mutex_);
  Attributes answer_locked(Node& node, Freshness fresh) REQUIRES(mutex_);
  Result<NodeRef> open_node_locked(NetfsFile& file) const REQUIRES(mutex_);
  void changed_locked(Node& node) REQUIRES(mutex_);  // content: mtime and ctime
  void send_locked(Node& node) REQUIRES(mutex_);
  void recorded_locked(Node& node) REQUIRES(mutex_);  // the rest: ctime
  static std::size_t index(SimCall call) { return static_cast<std::size_t>(call); }

  const SimProfile profile_;
  const Clock& clock_;
  Traits traits_;

  mutable Mutex mutex_{Rank::kLeaf};
  NodeRef root_ GUARDED_BY(mutex_);
  std::uint64_t next_inode_ GUARDED_BY(mutex_) = 2;
  std::uint64_t mounts_ GUARDED_BY(mutex_) = 1;
  Nanoseconds keep_ns_ GUARDED_BY(mutex_);
  bool away_ GUARDED_BY(mutex_) = false;
  // Of the one thread that calls.
  std::optional<std::uint32_t> acting_as_ GUARDED_BY(mutex_), refused_ GUARDED_BY(mutex_);
  unsigned cut_reads_ GUARDED_BY(mutex_) = 0;
  struct Fault {
    int sys_errno = 0;
    unsigned times = 0;
  };
  std::array<Fault, kSimCalls> faults_ GUARDED_BY(mutex_);
  std::array<std::function<void()>, kSimCalls> hooks_ GUARDED_BY(mutex_);
  std::array<std::uint64_t, kSimCalls> counts_ GUARDED_BY(mutex_){};
  std::uint64_t bytes_read_ GUARDED_BY(mutex_) = 0;
  const std::shared_ptr<std::atomic<std::uint64_t>> open_files_ =
      std::make_shared<std::atomic<std::uint64_t>>(0);
};

}  // namespace larder::test
