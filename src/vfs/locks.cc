// SPDX-License-Identifier: Apache-2.0
// Locks on the share (locks=share). Without that the kernel keeps them on this machine, and nothing
// of them comes here.
//
// A lock owner (a process, or for F_OFD_* a file description) has one descriptor of its own on the
// share for each file that it locks, and locks through it with F_OFD_SETLK: so owners conflict with
// each other and with other clients as processes do on one machine, and closing the descriptor lets
// go of all that one owner holds. flock(2) takes the descriptor of its handle.
//
// Waiting is by timed retries: between two of them a lock is a timer and holds no thread. Each try
// looks whether the caller was interrupted, by the kernel's word or by his own signals
// (signalled.h).
//
// Invariant: in `lock_files` stands at most one descriptor per owner, and it is the one that holds
// what the owner was told it has. Two first locks of one owner at once open two: the later to come
// back finds the other's, lets go of its own and tries again with that.
#include <algorithm>
#include <cerrno>

#include "vfs/ask_share.h"
#include "vfs/lock_wait.h"
#include "vfs/signalled.h"

namespace larder {
namespace {

constexpr Nanoseconds kFirstPause_ns = 5 * kMillisecond;
constexpr Nanoseconds kLongestPause_ns = 200 * kMillisecond;

bool is_conflict(const Error& error) {
  return error.code == ErrorCode::kShareAnswer &&
         (error.sys_errno == EAGAIN || error.sys_errno == EACCES);
}

template <class Files>
auto find_of(Files& files, LockOwner owner) {
  return std::ranges::find(files, owner, &LockFile::owner);
}

bool was_interrupted(Reply& reply) {
  return reply.interrupted() ||
         signalled_now(reply.slot().asker()).value_or(Signalled::kNothing) != Signalled::kNothing;
}

}  // namespace

void Vfs::get_lock(NodeId node, HandleId, LockOwner owner, const LockRange& range, Reply reply) {
  if (parts_.control.owns(node)) return reply.error({ErrorCode::kNotSupported});
  const InodeRef inode = inode_of(node);
  std::shared_ptr<NetfsFile> own = lock_file_of(*inode, owner);
  ask_share<LockRange>(
      *inode, std::move(reply),
      [own, range](Netfs& netfs, const Target& target) -> Result<LockRange> {
        std::shared_ptr<NetfsFile> file = own;
        if (!file) {
          TRY(file, netfs.open_for_locks(target.path, target.file.get()));
        }
        return netfs.conflicting_lock(*file, range);
      },
      [](Reply r, const LockRange& conflict) { r.lock(conflict); });
}

void Vfs::set_lock(NodeId node, HandleId, LockOwner owner, const LockRange& range, Waits waits,
                   Reply reply) {
  if (parts_.control.owns(node)) return reply.error({ErrorCode::kNotSupported});
  const InodeRef inode = inode_of(node);
  // Who has locked nothing has nothing to unlock.
  if (range.type == LockType::kUnlock && !lock_file_of(*inode, owner)) return reply.ok();
  if (!park(reply)) return;
  try_lock(std::make_unique<LockWait>(*this, inode, owner, range, waits, std::move(reply)));
}

void Vfs::lock_whole(NodeId node, HandleId id, LockType type, Waits waits, Reply reply) {
  if (parts_.control.owns(node)) return reply.error({ErrorCode::kNotSupported});
  const InodeRef inode = inode_of(node);
  // By the handle: that is whose an flock(2) is.
  const LockOwner owner{id.value()};
  if (type == LockType::kUnlock && !lock_file_of(*inode, owner)) return reply.ok();
  if (!park(reply)) return;
  auto wait = std::make_unique<LockWait>(*this, inode, owner, LockRange{.type = type}, waits,
                                         std::move(reply));
  wait->kind = LockWait::Kind::kWhole;
  try_lock(std::move(wait));
}

std::shared_ptr<NetfsFile> Vfs::lock_file_of(const Inode& inode, LockOwner owner) const {
  MutexLock lock(inode.mutex);
  const auto found = find_of(inode.lock_files, owner);
  return found == inode.lock_files.end() ? nullptr : found->file;
}

// The owner's descriptor: the first to come stays.
std::shared_ptr<NetfsFile> Vfs::note_lock_file(Inode& inode, LockOwner owner,
                                               const std::shared_ptr<NetfsFile>& file) {
  MutexLock lock(inode.mutex);
  const auto there = find_of(inode.lock_files, owner);
  if (there != inode.lock_files.end()) return there->file;
  inode.lock_files.push_back({owner, file});
  return file;
}

// On a share thread each time; in between the wait is a timer, or nothing where it is answered.
void Vfs::try_lock(std::unique_ptr<LockWait> wait) {
  LockWait& trying = *wait;
  Result<Target> target = target_of(*trying.inode);
  if (!target) return wait->reply.error(target.error());
  struct Tried {
    std::shared_ptr<NetfsFile> file;
    Status status;
    Attributes now;
  };
  const Asked asked = ask();
  const CredentialsRef as = caller_of(wait->reply);
  parts_.share.call<Tried>(
      CallKind::kNames, {.as = as},
      [target = std::move(*target), file = lock_file_of(*trying.inode, trying.owner),
       range = trying.range, kind = trying.kind](Netfs& netfs) mutable -> Result<Tried> {
        if (!file) {
          TRY(file, netfs.open_for_locks(target.path, target.file.get()));
        }
        Tried tried{file, {}, {}};
        tried.status = kind == LockWait::Kind::kWhole ? netfs.lock_whole(*file, range.type)
                                                      : netfs.lock(*file, range);
        if (!tried.status || range.type == LockType::kUnlock) return tried;
        // Who has the lock sees what the last holder wrote.
        TRY(tried.now, netfs.stat(*file, Freshness::kServer));
        return tried;
      },
      [this, asked, wait = std::move(wait)](Result<Tried> result) mutable {
        if (!result) return wait->reply.error(result.error());
        const bool unlock = wait->range.type == LockType::kUnlock;
        const auto file =
            result->status ? note_lock_file(*wait->inode, wait->owner, result->file) : result->file;
        if (file != result->file) return try_lock(std::move(wait));
        if (result->status) {
          if (!unlock) learn(*wait->inode, result->now, asked);
          return wait->reply.ok();
        }
        const Error error = result->status.error();
        if (!is_conflict(error)) return wait->reply.error(error);
        if (wait->waits == Waits::kNo) return wait->reply.error({ErrorCode::kShareAnswer, EAGAIN});
        pause_lock(std::move(wait));
      });
}

void Vfs::pause_lock(std::unique_ptr<LockWait> wait) {
  wait->pause_ns = std::clamp(wait->pause_ns * 2, kFirstPause_ns, kLongestPause_ns);
  LockWait& pausing = *wait;
  MutexLock lock(waiting_locks_mutex_);
  if (waiting_locks_end_) {
    lock.unlock();
    return wait->reply.error({ErrorCode::kShutdown});
  }
  waiting_locks_.push_back(std::move(wait));
  // Under the lock: whoever finds it among those that pause can cancel it.
  parts_.timers.add(pausing, parts_.clock.mono_ns() + pausing.pause_ns);
}

// Takes `wait` out of those that pause; null where the end came first.
std::unique_ptr<Vfs::LockWait> Vfs::take_paused(const LockWait* wait) {
  MutexLock lock(waiting_locks_mutex_);
  const auto found = std::find_if(waiting_locks_.begin(), waiting_locks_.end(),
                                  [&](const auto& one) { return one.get() == wait; });
  if (found == waiting_locks_.end()) return nullptr;
  auto taken = std::move(*found);
  waiting_locks_.erase(found);
  return taken;
}

void Vfs::resume_lock(const LockWait* paused) {
  auto wait = take_paused(paused);
  if (!wait) return;
  if (was_interrupted(wait->reply)) return wait->reply.error({ErrorCode::kShareAnswer, EINTR});
  try_lock(std::move(wait));
}

void Vfs::end_waiting() {
  leaving_.end();
  store_waits_.end();
  std::vector<std::unique_ptr<LockWait>> waiting;
  {
    MutexLock lock(waiting_locks_mutex_);
    waiting_locks_end_ = true;
    // One whose timer fires just now is answered by resume_lock(), and fails since the share does.
    for (auto& wait : waiting_locks_)
      if (parts_.timers.cancel(*wait)) waiting.push_back(std::move(wait));
    std::erase(waiting_locks_, nullptr);
  }
  for (const auto& wait : waiting) wait->reply.error({ErrorCode::kShutdown});
}

// What the owner holds of the file goes with its descriptor: at each close(2) of a process, as
// POSIX has it.
std::shared_ptr<NetfsFile> Vfs::take_lock_file(Inode& inode, LockOwner owner) {
  MutexLock lock(inode.mutex);
  const auto found = find_of(inode.lock_files, owner);
  if (found == inode.lock_files.end()) return nullptr;
  auto file = std::move(found->file);
  inode.lock_files.erase(found);
  return file;
}

}  // namespace larder
