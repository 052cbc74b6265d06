// SPDX-License-Identifier: Apache-2.0
// RingQueue: the entries for the requests of one processor.
//
// The kernel wants one queue for each processor that could ever be there, and puts a request into
// the queue of the processor that its caller runs on. A queue without an idle entry lets its
// requests wait; so before a request is parked, which may be for long, the queue enters another
// entry where fewer than two are idle, as far as the memory goes. At that end a request that would
// have to wait is refused.
//
// The kernel does not look at its queue when an entry is new (6.14 to 6.18): only a commit takes
// the next request from it. Where a burst finds all entries busy and all of these come to wait,
// nobody commits, and what queued meanwhile stays there beside idle entries. So a queue on which as
// many requests wait as it had entries at first is *starved*, and has the kernel send itself a
// request that wants nothing, a nudge: its commit takes one from the queue.
//
//   N1 requests stay in the kernel's queue beside idle entries only while at least `depth` are
//      parked: below that one of the first entries commits, and what it takes commits or parks
//   N2 each request that parks on a starved queue is followed by a nudge. So the chain of nudges
//      goes on until a commit finds the kernel's queue empty
//   N3 a nudge may be lost: the kernel knows none of the files that it may name, or has handed out
//      the idle entries in between. So a starved queue is nudged again each kNudgeAgain_ns in which
//      nothing came
#pragma once

#include <larder/clock.h>
#include <larder/reactor.h>
#include <larder/transport_stats.h>

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "known_files.h"
#include "ring_entry.h"

namespace larder::fuse {

// What all queues of a mount have in common.
struct RingCommons {
  fuse_session* session = nullptr;
  int device_fd = -1;
  std::size_t payload_bytes = 0;
  TransportStats& stats;
  std::atomic<std::int64_t> entries_left{0};  // that the memory still allows
  std::atomic<std::size_t> parked{0};
  WorkQueue* crew = nullptr;         // takes work that would hold up a ring; null: nobody does
  std::atomic<bool> refuses{false};  // the end has come: new requests are answered ENOTCONN
  // Has the kernel put a request that wants nothing into the queue of that processor; false: it
  // did not. Called by the owner of the queue's ring; never waits.
  std::function<bool(std::uint16_t processor)> nudge{};
  KnownFiles known_files{};  // one of which a nudge names
  // The kernel refused an entry; then it sends everything over /dev/fuse. Called on ring threads.
  std::function<void(int sys_errno)> on_refused{};
};

class RingQueue {
 public:
  static constexpr std::size_t kEntriesMax = 4096;
  static constexpr Nanoseconds kNudgeAgain_ns = 50 * kMillisecond;

  // `live`: counts the entries of all queues of a ring; the owner's.
  RingQueue(RingCommons& commons, Reactor& reactor, std::uint16_t id, std::size_t& live);

  // The owner's: enters `depth` entries. REQUIRES: INIT has been answered.
  void start(unsigned depth);
  // Entry number `index`; null: there is none. Thread: any.
  RingEntry* entry(std::size_t index) const {
    return index < kEntriesMax ? entries_[index].load(std::memory_order_acquire) : nullptr;
  }
  std::size_t size() const { return size_.load(std::memory_order_acquire); }
  // Requests may lie in the kernel's queue that only a nudge brings.
  bool is_starved() const { return depth_ != 0 && parked_.load() >= depth_; }
  // The owner's, in front of each turn of the ring.
  void new_turn() { came_ns_ = kNobodyCame; }
  // The owner's: when those came that are served in this turn; 0 where it is one alone.
  Nanoseconds came_ns() {
    if (came_ns_ == kNobodyCame) came_ns_ = others_wait() ? system_clock().mono_ns() : 0;
    return came_ns_;
  }
  // The owner's, where a starved queue saw nothing for kNudgeAgain_ns.
  void nudge_again();

  // For the entries.
  std::uint16_t id() const { return id_; }
  int device_fd() const { return commons_.device_fd; }
  fuse_session* session() const { return commons_.session; }
  Reactor& reactor() const { return reactor_; }
  TransportStats& stats() const { return commons_.stats; }
  bool is_owner() const { return current_reactor() == &reactor_; }
  bool refuses() const { return commons_.refuses.load(std::memory_order_relaxed); }
  bool others_wait() const { return reactor_.waiting() != 0; }
  // True: the crew runs it.
  bool hand_over(Work& work) {
    if (commons_.crew == nullptr) return false;
    commons_.stats.handed_over.add();
    commons_.crew->post(work);
    return true;
  }
  void now_idle() { idle_.fetch_add(1, std::memory_order_relaxed); }
  void now_busy() { idle_.fetch_sub(1, std::memory_order_relaxed); }
  void entry_gone(bool at_first, int sys_errno);
  bool may_park();
  void unpark();
  KnownFiles& known_files() const { return commons_.known_files; }

 private:
  struct Nudge : Work {
    explicit Nudge(RingQueue& q) : queue(q) {}
    RingQueue& queue;
    std::atomic<bool> posted{false};
    bool entries_are_in = false;  // those that this turn has added
  };
  void nudge();
  struct Growth : Work {
    explicit Growth(RingQueue& q) : queue(q) {}
    RingQueue& queue;
    std::atomic<bool> posted{false};
  };
  void make_room();
  bool add_entry();

  RingCommons& commons_;
  Reactor& reactor_;
  const std::uint16_t id_;
  std::size_t& live_;
  std::atomic<int> idle_{0};  // written by the owner
  std::atomic<std::size_t> size_{0};
  const std::unique_ptr<std::atomic<RingEntry*>[]> entries_;
  std::vector<std::unique_ptr<RingEntry>> owned_;
  Growth growth_{*this};
  std::size_t depth_ = 0;  // entries of the start
  std::atomic<std::size_t> parked_{0};
  Nudge nudge_{*this};
  static constexpr Nanoseconds kNobodyCame = -1;
  Nanoseconds came_ns_ = kNobodyCame;
};

}  // namespace larder::fuse
