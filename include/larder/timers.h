// SPDX-License-Identifier: Apache-2.0
// Timers: deadlines by the thousand on one Clock.
//
// A Timer is owned by its caller. `cancel` returns false when the timer has already fired or is firing:
// then its callback has run or will run, and the caller must not free it before. Callbacks run on the
// thread that calls run_due() and must not block; they usually post to a WorkQueue.
#pragma once

#include <larder/clock.h>

#include <memory>

namespace larder {

struct Timer {
  void (*fire)(Timer& self) = nullptr;
  Nanoseconds due_mono_ns = 0;
  bool waiting = false;  // the Timers'
};

class Timers {
 public:
  explicit Timers(const Clock& clock);
  ~Timers();  // REQUIRES: stop() was called if start() was, no timer waits

  // Thread: any. REQUIRES: `timer` does not wait.
  void add(Timer& timer, Nanoseconds due_mono_ns);
  bool cancel(Timer& timer);

  // Fires all that are due; returns when the next one is (max() where none waits). Simulations call it.
  Nanoseconds run_due();

  // Production: a thread of its own calls run_due().
  void start();
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace larder
