// SPDX-License-Identifier: Apache-2.0
// Places: how many threads read requests at once, of more that could.
//
// The kernel wakes the threads that wait in read(2) of /dev/fuse in turn, so more of them than
// there are processors only wake each other: each request finds a thread that has slept for long.
// So there is a place for each processor. Who has one keeps it from request to request, without a
// look here; who is about to wait for the disk leaves it to another, if there is one, and queues
// for a place when he has answered. So there is always one who reads.
#pragma once

#include <condition_variable>
#include <mutex>
#include <utility>

namespace larder::fuse {

class Places {
 public:
  explicit Places(unsigned count) : free_(count) {}

  // A place, from enter() until it is left. Thread: one at a time.
  class Held {
   public:
    Held() = default;
    ~Held() { leave(); }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

    // Waits for one, if it is not held already. False: closed.
    bool enter(Places& places);
    void leave();
    // False, and it is kept: nobody waits for it.
    bool leave_to_another();

   private:
    Places* of_ = nullptr;
  };

  // Nobody gets one any more, and who waits for one is told. Thread: any.
  void close();

 private:
  bool take();
  void give_back();
  bool give_to_another();

  std::mutex mutex_;
  std::condition_variable freed_;
  unsigned free_;
  unsigned waiting_ = 0;  // for whom a free place may be meant already
  bool closed_ = false;
};

}  // namespace larder::fuse
