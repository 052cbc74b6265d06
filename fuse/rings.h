// SPDX-License-Identifier: Apache-2.0
// Rings: the uring transport. A thread per processor, pinned to it, with one io_uring for the
// requests of that processor.
//
// Life: prepare() has all that can fail, for once the answer to INIT says "over io_uring" every
// request of the mount waits until each queue has an entry. Then INIT is answered, then start().
// Processors that are not there, or not for us, have their queues on a ring of their own.
#pragma once

#include <larder/reactor.h>
#include <larder/result.h>
#include <larder/transport_stats.h>
#include <larder/units.h>

#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "crew.h"
#include "ring_queue.h"

namespace larder::fuse {

// How the memory is dealt out.
struct RingLayout {
  std::size_t payload_bytes = 0;  // of an entry; also the largest read and write
  unsigned depth = 0;             // entries of a queue from the start
  std::int64_t entries_most = 0;  // of all queues
};
// Half of the memory is for the entries of the start, the rest for when requests wait. Complains
// where it is too little for one small entry a queue.
SetUp<RingLayout> plan_rings(ByteCount memory, unsigned queues);

// "0-3,8" -> 5. 0: malformed.
unsigned count_processors(const std::string& list);

class Rings {
 public:
  struct Options {
    fuse_session* session = nullptr;
    ByteCount memory;
    bool wake_in_place = true;  // courtesy.h
  };
  static SetUp<std::unique_ptr<Rings>> prepare(const Options& options, TransportStats& stats);
  ~Rings();  // REQUIRES: join() was called

  const RingLayout& layout() const { return layout_; }
  std::size_t ring_count() const { return rings_.size(); }
  // REQUIRES: INIT has been answered. `on_refused` is called once, from a ring thread, where the
  // kernel takes no entry after all.
  void start(std::function<void(int sys_errno)> on_refused);

  // An answer of libfuse's to a request of ours. Thread: any.
  void answer(std::uint64_t tag, const iovec* parts, int count);
  // The tag of the request that the kernel calls `unique`; 0: none that is under way. Thread: any.
  std::uint64_t tag_of(std::uint64_t unique) const;

  // New requests are answered ENOTCONN; those that are out may still be answered.
  void refuse();
  std::size_t parked() const { return commons_.parked.load(); }
  // Ends the threads. REQUIRES: nothing is parked.
  void join();

 private:
  static constexpr unsigned kCrewThreads = 2;
  struct Ring {
    std::unique_ptr<Reactor> reactor;
    std::vector<RingQueue*> queues;
    int processor = -1;  // that it is pinned to; -1: none
    std::size_t live = 0;
    bool quits = false;
    Status begun;  // the thread's, until `ready`
    std::latch ready{1};
    std::thread thread;
  };
  struct Quit : Work {
    explicit Quit(Ring& r) : ring(r) {}
    Ring& ring;
  };

  Rings(RingLayout layout, const Options& options, TransportStats& stats)
      : layout_(layout), wake_in_place_(options.wake_in_place), commons_{.stats = stats} {}
  SetUp<std::monostate> add_ring(int processor, const std::vector<std::uint16_t>& queues);
  void run(Ring& ring);

  const RingLayout layout_;
  const bool wake_in_place_;
  RingCommons commons_;
  Crew crew_{kCrewThreads};
  std::vector<std::unique_ptr<Ring>> rings_;
  std::vector<std::unique_ptr<RingQueue>> queues_;  // by the processor's number
  std::latch started_{1};
  bool cancelled_ = false;  // before started_: end at once
  std::atomic<bool> refusal_told_{false};
};

}  // namespace larder::fuse
