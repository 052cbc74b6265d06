// SPDX-License-Identifier: Apache-2.0
// Timers: deadlines by the thousand on one Clock.
//
// A Timer is owned by its caller. `cancel` returns false when the timer has already fired or is
// firing: then its callback has run or will run, and the caller must not free it before. Callbacks
// run on the thread that calls run_due() and must not block; they usually post to a WorkQueue.
#pragma once

#include <larder/clock.h>

#include <cstdint>
#include <memory>

namespace larder {

struct Timer {
  void (*fire)(Timer& self) = nullptr;
  Nanoseconds due_mono_ns = 0;
  // The Timers'.
  bool waiting = false;
  std::uint64_t order = 0;  // of adding: those due at one instant fire in it
};

class Timers {
 public:
  explicit Timers(const Clock& clock);
  ~Timers();  // REQUIRES: stop() was called if start() was, no timer waits

  // Thread: any. REQUIRES: `timer` does not wait.
  void add(Timer& timer, Nanoseconds due_mono_ns);
  bool cancel(Timer& timer);

  // Fires all that are due, also those that a callback adds meanwhile and that are due already;
  // returns when the next one is (max() where none waits). Simulations call it.
  Nanoseconds run_due();

  // Production: a thread of its own calls run_due().
  void start();
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace larder
