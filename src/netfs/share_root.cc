// SPDX-License-Identifier: Apache-2.0
#include "netfs/share_root.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <system_error>

#include "netfs/act_as.h"
#include "netfs/safe_path.h"

namespace larder::netfs {
namespace {

constexpr const char* kMountTable = "/proc/thread-self/mountinfo";
constexpr int kTries = 5;

std::string errno_text(int sys_errno) { return std::generic_category().message(sys_errno); }

Result<std::string> read_table() {
  const Fd fd(::open(kMountTable, O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return fail(ErrorCode::kSystem, errno);
  std::string text;
  std::array<char, 16384> chunk;
  for (;;) {
    const ssize_t n = ::read(fd.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(ErrorCode::kSystem, errno);
    if (n == 0) return text;
    text.append(chunk.data(), static_cast<std::size_t>(n));
  }
}

Fd open_absolute(const std::string& path) {
  struct open_how how = {};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return Fd(static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how)));
}

std::uint64_t fsid_of(const struct statfs& fs) {
  std::uint64_t fsid = 0;
  static_assert(sizeof fs.f_fsid == sizeof fsid);
  std::memcpy(&fsid, &fs.f_fsid, sizeof fsid);
  return fsid;
}

// The share or the connection to it is gone, whatever the call was.
bool says_gone(int sys_errno) {
  return sys_errno == ENOTCONN || sys_errno == ESTALE || sys_errno == ENODEV ||
         sys_errno == ESHUTDOWN || sys_errno == ECONNABORTED;
}

// It may be gone, or it may be one file: the root decides.
bool says_maybe_gone(int sys_errno) {
  return sys_errno == EIO || sys_errno == EHOSTDOWN || sys_errno == EHOSTUNREACH ||
         sys_errno == ENETUNREACH || sys_errno == ETIMEDOUT;
}

int ask(int root, unsigned sync, struct statx& answer) {
  return ::statx(root, "", static_cast<int>(AT_EMPTY_PATH | sync), STATX_BASIC_STATS | STATX_MNT_ID,
                 &answer) == 0
             ? 0
             : errno;
}

bool is_removed(const ShareRoot::Root& root) {
  struct statx seen {};
  return root.counts_links && ask(root.fd.get(), AT_STATX_DONT_SYNC, seen) == 0 &&
         seen.stx_nlink == 0;
}

}  // namespace

ShareRoot::ShareRoot(Place place, SharePool::Keeper keeper)
    : place_(std::move(place)),
      keeper_(std::move(keeper)),
      table_(::open(kMountTable, O_RDONLY | O_CLOEXEC)) {}

SetUp<std::unique_ptr<ShareRoot>> ShareRoot::open(Place place, SharePool::Keeper keeper) {
  std::unique_ptr<ShareRoot> share(new ShareRoot(std::move(place), std::move(keeper)));
  const std::string& path = share->place_.path;
  if (!share->table_.valid()) {
    return complain(ErrorCode::kSystem,
                    fmt::format("cannot read {}: {}", kMountTable, errno_text(errno)), errno);
  }
  auto seen = share->see();
  if (!seen) {
    return complain(
        seen.error().code,
        fmt::format("cannot open the share {}: {}", path, errno_text(seen.error().sys_errno)),
        seen.error().sys_errno);
  }
  if (seen->has_ours_on_top) {
    return complain(ErrorCode::kShareAway,
                    fmt::format("{} is covered by a larder that is mounted there already", path));
  }
  share->identity_ = seen->identity;
  share->mount_ = seen->mount;
  const auto root = share->reopen(std::move(*seen));
  if (!root) {
    return complain(root.error().code,
                    fmt::format("cannot open the share {}: {}", path, share->why_away()),
                    root.error().sys_errno);
  }
  return share;
}

std::string ShareRoot::why_away() const {
  const MutexLock lock(mutex_);
  return why_away_;
}

Result<ShareRoot::Seen> ShareRoot::see() {
  TRY(const std::string table, read_table());
  const std::vector<MountEntry> mounts = parse_mounts(table);
  const auto covering = covering_mount(mounts, place_.path, place_.own_mountpoint);
  Seen seen;
  if (covering) {
    seen.mount = *covering->mount;
    seen.has_ours_on_top = covering->has_ours_on_top;
  }
  if (has_own_mount(covering)) {
    seen.identity = identity_of_mount(seen.mount, place_.path);
  } else {
    // A directory of the root file system: nothing that hangs, so it may be opened to be compared.
    Ref kept;
    if (seen.has_ours_on_top) {
      const MutexLock lock(mutex_);
      kept = root_;
    }
    const Fd opened = kept == nullptr && !seen.has_ours_on_top ? open_absolute(place_.path) : Fd{};
    const int fd = kept != nullptr ? kept->fd.get() : opened.get();
    struct statfs fs {};
    if (fd < 0 || ::fstatfs(fd, &fs) != 0) return share_error();
    const std::string type =
        covering ? seen.mount.type : fmt::format("{:x}", static_cast<unsigned long>(fs.f_type));
    seen.identity = identity_without_mount(type, fsid_of(fs), place_.path);
  }
  if (!place_.share_id.empty()) seen.identity = identity_by_override(place_.share_id, covering);
  return seen;
}

bool ShareRoot::table_changed_locked() {
  // The kernel tells each change once, to whoever polls this description first.
  struct pollfd poll_it = {.fd = table_.get(), .events = POLLPRI, .revents = 0};
  return ::poll(&poll_it, 1, 0) > 0 && (poll_it.revents & (POLLPRI | POLLERR)) != 0;
}

Result<ShareRoot::Ref> ShareRoot::current() {
  {
    const MutexLock lock(mutex_);
    if (table_changed_locked()) ++changes_;
    if (!away_ && root_ != nullptr && looked_ == changes_) return root_;
  }
  return look_again();
}

Result<ShareRoot::Ref> ShareRoot::look_again() {
  const AsLarder not_as_the_caller;
  std::uint64_t changes = 0;
  {
    const MutexLock lock(mutex_);
    changes = changes_;
  }
  auto seen = see();
  if (!seen) return go_away(errno_text(seen.error().sys_errno), OldRoot::kKeep);
  if (seen->identity == identity_) {
    const MutexLock lock(mutex_);
    const bool same_mount = root_ != nullptr && root_->mount_id == seen->mount.id;
    if (same_mount || (seen->has_ours_on_top && root_ != nullptr)) {
      looked_ = std::max(looked_, changes);
      away_ = false;
      return root_;
    }
  }
  auto root = reopen(std::move(*seen));
  if (root) {
    const MutexLock lock(mutex_);
    looked_ = std::max(looked_, changes);
  }
  return root;
}

Result<ShareRoot::Ref> ShareRoot::reopen(Seen seen) {
  for (int i = 0; i < kTries; ++i) {
    if (seen.identity != identity_) {
      return go_away(fmt::format("{} shows {}", place_.path, to_text(seen.identity)),
                     seen.has_ours_on_top ? OldRoot::kKeep : OldRoot::kDrop);
    }
    if (seen.has_ours_on_top)
      return go_away("its root below our own mount does not answer", OldRoot::kKeep);
    auto root = open_path(seen);
    if (!root) return go_away(errno_text(root.error().sys_errno), OldRoot::kKeep);
    if (*root != nullptr) {
      Ref old = *root;
      const MutexLock lock(mutex_);
      root_.swap(old);
      away_ = false;
      return root_;
    }
    // S3: a mount came or went between the table and the open.
    auto again = see();
    if (!again) return go_away(errno_text(again.error().sys_errno), OldRoot::kKeep);
    seen = std::move(*again);
  }
  return go_away("its mount changes all the time", OldRoot::kKeep);
}

// Null where another mount than `seen` answered.
Result<ShareRoot::Ref> ShareRoot::open_path(const Seen& seen) {
  auto root = std::make_unique<Root>();
  root->fd = open_absolute(place_.path);
  if (!root->fd.valid()) return share_error();
  struct statx answer {};
  if (const int error = ask(root->fd.get(), AT_STATX_FORCE_SYNC, answer)) return share_error(error);
  const bool has_id = (answer.stx_mask & STATX_MNT_ID) != 0 && seen.mount.id != 0;
  if (has_id && answer.stx_mnt_id != static_cast<std::uint64_t>(seen.mount.id)) return Ref{};
  root->mount_id = seen.mount.id;
  root->device = ::makedev(answer.stx_dev_major, answer.stx_dev_minor);
  root->counts_links = answer.stx_nlink > 0;
  const std::shared_ptr<Root> adopted = keeper_.adopt(std::move(root));
  return Ref(adopted);
}

Result<ShareRoot::Ref> ShareRoot::recover(const Ref& used, Error error) {
  if (error.code != ErrorCode::kShareAnswer) return fail(error);
  const AsLarder not_as_the_caller;
  const int e = error.sys_errno;
  const bool root_is_removed = e == ENOENT && is_removed(*used);
  if (!says_gone(e) && !says_maybe_gone(e) && !root_is_removed) return fail(error);
  auto seen = see();
  if (!seen) return go_away(errno_text(seen.error().sys_errno), OldRoot::kKeep);
  if (seen->identity == identity_) {
    struct statx answer {};
    const int root_error = ask(used->fd.get(), AT_STATX_FORCE_SYNC, answer);
    if (root_error == 0 && says_maybe_gone(e)) return fail(error);
    if (seen->has_ours_on_top) {
      return root_error == 0 ? Result<Ref>(fail(error))
                             : go_away(errno_text(root_error), OldRoot::kKeep);
    }
  }
  return reopen(std::move(*seen));
}

tl::unexpected<Error> ShareRoot::go_away(std::string why, OldRoot old) {
  Ref dropped;
  const MutexLock lock(mutex_);
  away_ = true;
  why_away_ = std::move(why);
  if (old == OldRoot::kDrop) dropped.swap(root_);
  return fail(ErrorCode::kShareAway);
}

}  // namespace larder::netfs
