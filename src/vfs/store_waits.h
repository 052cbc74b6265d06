// SPDX-License-Identifier: Apache-2.0
// StoreWaits: reads that wait for their turn at an object of the store, no longer than a patience.
//
// An operation waits behind the ones before it. One of those may be at a disk that hangs, and an
// exclusive one behind it holds up all that come later: so a read whose turn does not come goes
// past the store, to the share.
//
//   1. Of a wait exactly one goes on with it: who has its operation run or cancelled (came() said
//      true), or this, by `go_on`
//   2. While it is claimed here its operation is taken back with no lock held. Where that comes too
//      late, whoever has it leaves it to this
#pragma once

#include <larder/clock.h>
#include <larder/cookie.h>
#include <larder/stats.h>
#include <larder/timers.h>
#include <larder/work_queue.h>

#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <memory>

namespace larder {

class StoreWaits {
 public:
  enum class Turn : std::uint8_t {
    kCame,    // the operation is in progress
    kNever,   // it was refused or cancelled: the store is not to be had now
    kTooLate  // it was taken back
  };

  struct Wait : boost::intrusive::list_base_hook<> {
    cache::Operation* operation = nullptr;
    // Thread: of the answer queue.
    void (*go_on)(Wait& self, Turn turn) = nullptr;

   private:
    friend class StoreWaits;
    enum class State : std::uint8_t { kOwn, kClaimed, kLeft };
    State state = State::kOwn;
    Turn turn = Turn::kNever;  // kLeft: as it came
    Nanoseconds since_mono_ns = 0;
  };

  // All outlive this, except as end() says.
  StoreWaits(const Clock& clock, Timers& timers, WorkQueue& answers, cache::FsCache& cache,
             Nanoseconds patience_ns, stats::Counter& passed);
  ~StoreWaits();  // ends it

  // Before the operation is submitted. Thread: any.
  void add(Wait& wait);
  // It was taken at once, or refused; it runs, or was cancelled. True: the caller goes on. Thread:
  // any.
  bool came(Wait& wait, Turn turn);
  // No wait is cut short any more; no timer is touched.
  void end();

 private:
  struct Core;
  const std::shared_ptr<Core> core_;
};

}  // namespace larder
