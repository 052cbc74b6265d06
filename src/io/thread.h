// SPDX-License-Identifier: Apache-2.0
// Thread: a named thread of larder's own. All signals are blocked in it, so that SIGTERM reaches
// the main thread, which ends the mount, and no system call of a worker is cut short.
//
// A thread that cannot be started stops the program with the reason: a pool that is short of
// threads would look like a hang. Joined by hand: what a thread still does at the end is its
// owner's to say.
#pragma once

#include <larder/work_queue.h>
#include <pthread.h>

#include <string>

namespace larder {

class Thread {
 public:
  // `name` is what ps and gdb show; the kernel keeps 15 characters of it.
  Thread(const std::string& name, Callback<> body);
  ~Thread();  // REQUIRES: joined or left
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;

  // REQUIRES: called once, and not on the thread itself.
  void join();
  // It hangs: it goes on for as long as it likes, with what its body holds. Instead of join().
  void leave();
  bool is_current() const { return pthread_equal(::pthread_self(), id_) != 0; }

 private:
  pthread_t id_{};
  bool joined_ = false;
};

}  // namespace larder
