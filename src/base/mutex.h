// SPDX-License-Identifier: Apache-2.0
// Mutex: ranked and annotated. A thread takes locks in rising rank only; debug and sanitizer builds
// check it on every lock. The ranks and what each protects: docs/locking.md (the same list).
//
// No lock is held across an answer to the kernel, a call to the share, or waiting I/O.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "base/annotations.h"

namespace larder {

enum class Rank : std::uint8_t {
  kControl = 3,          // vfs: one open control file
  kMount = 5,            // start and stop
  kInodeTable = 10,      // vfs: file id -> inode
  kInode = 20,           // vfs: one inode
  kHandle = 25,          // vfs: one open file
  kMemo = 28,            // memo: what one cache keeps
  kFlight = 30,          // memo: who waits for what
  kSequence = 32,        // memo: what was invalidated since
  kNames = 34,           // vfs: the tree of names
  kCacheTree = 35,       // cache: netfs registry, cookie tree, lists of objects
  kCookie = 40,          // cache: one cookie
  kObject = 45,          // cache: one object and its operations
  kStoreIndex = 50,      // store: objects by key, names
  kStoreObject = 55,     // store: one object's extents
  kStoreAllocator = 60,  // store: free space, eviction order
  kStoreJournal = 65,    // store: records waiting for their commit
  kShareCalls = 70,      // netfs: calls that are out
  kTimers = 75,          // base: deadlines
  kQueue = 80,           // io: work queues and engines
  kStats = 90,           // stats, log
  kLeaf = 100,           // nothing is locked behind it
};

#if defined(LARDER_CHECK_RANKS)
void rank_push(Rank rank);
void rank_pop(Rank rank);
#else
inline void rank_push(Rank) {}
inline void rank_pop(Rank) {}
#endif

class CAPABILITY("mutex") Mutex {
 public:
  explicit Mutex(Rank rank) : rank_(rank) {}
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() ACQUIRE() {
    rank_push(rank_);
    mutex_.lock();
  }
  void unlock() RELEASE() {
    // The rank first: once unlocked, another thread may lock, see that all is done, and free this
    // Mutex.
    rank_pop(rank_);
    mutex_.unlock();
  }

 private:
  friend class CondVar;
  std::mutex mutex_;
  const Rank rank_;
};

// Of a Mutex or a SmallMutex (base/small_mutex.h).
template <class M = Mutex>
class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(M& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() RELEASE() {
    if (held_) mutex_.unlock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  // For the stretch in the middle that must run without the lock.
  void unlock() RELEASE() {
    mutex_.unlock();
    held_ = false;
  }
  void lock() ACQUIRE() {
    mutex_.lock();
    held_ = true;
  }

 private:
  M& mutex_;
  bool held_ = true;
};

class CondVar {
 public:
  // REQUIRES: `mutex` is held; it is again when this returns. Wakes up for no reason at times.
  void wait(Mutex& mutex) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  // Real time, not the Clock's: for production threads that sleep until a deadline.
  void wait_for(Mutex& mutex, std::chrono::nanoseconds time) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait_for(lock, time);
    lock.release();
  }
  void notify_one() { condition_.notify_one(); }
  void notify_all() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace larder
