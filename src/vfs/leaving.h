// SPDX-License-Identifier: Apache-2.0
// Leaving: who asked for something of the share, waits for it, and is interrupted, need not wait
// on.
//
// A signal that ends the asker is answered at once: it goes, and sees no answer. One that it has a
// handler for is answered only when the request has waited for share_slow: on a share that is
// merely distant a stat(2) that fails with EINTR would be a surprise to most programs, as it never
// does on a local disk. One that only stops or continues him (Ctrl-Z, a debugger, a freezer) is
// none of these: no system call should fail for it, however long it lasts. The kernel tells of the
// first signal only, and not always (signalled.h): whoever waits is looked at once unasked, and who
// stays though a signal came again and again.
//
// What runs for him goes on: others may wait for it too, and the cache is filled.
//
//   L1 a guarded reply is answered EINTR at most once, and then takes no other answer
//   L2 behind stay() it is answered by its owner alone. Called before the first touch of its
//      payload, and before anything is done that the kernel must learn of (a handle, a look-up
//      count), and before caller() is asked. Who has to wait again says may_leave()
//   L3 only what changes nothing is guarded: a change that might still happen is waited for
#pragma once

#include <larder/clock.h>
#include <larder/reply.h>
#include <larder/stats.h>
#include <larder/timers.h>
#include <larder/work_queue.h>

#include <memory>

namespace larder {

class Leaving {
 public:
  // All outlive this, except as end() says.
  Leaving(const Clock& clock, Timers& timers, WorkQueue& answers, Nanoseconds patience_ns,
          stats::Counter& left);
  ~Leaving();  // ends it

  // Puts a guard around a reply that has just been parked. Thread: any.
  void guard(Reply& reply);
  // Nobody leaves any more; no timer is touched. Thread: any.
  void end();

 private:
  struct Core;
  class Guarded;
  const std::shared_ptr<Core> core_;
};

}  // namespace larder
