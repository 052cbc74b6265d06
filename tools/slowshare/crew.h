// SPDX-License-Identifier: Apache-2.0
// Crew: the threads that take requests from the kernel, each from read(2) to its answer.
//
// As many are at work as the mount's `parallel` says; what comes above that waits in the kernel. A
// thread whose request is parked does not count: another takes its place, and one too many ends
// when it is free again.
#pragma once

#include <fuse3/fuse_lowlevel.h>
#include <larder/fd.h>
#include <pthread.h>

#include <condition_variable>
#include <mutex>
#include <vector>

#include "slowshare/gate.h"

namespace larder::slowshare {

class Crew {
 public:
  Crew(fuse_session* session, Gate& gate, unsigned parallel);

  void start();
  // For the Gate: one has been parked.
  void replace_parked();
  // Becomes readable when the mount is over (the last thread but the parked ones has ended).
  int over_fd() const { return over_.get(); }

  // Ends all. False where one still hangs in a call to the source after two seconds: then the
  // process must end without it.
  bool stop();

 private:
  void hire_locked();
  void work();
  bool one_too_many();
  void retire();

  fuse_session* const session_;
  Gate& gate_;
  const unsigned parallel_;
  const Fd over_;

  std::mutex mutex_;
  std::condition_variable retired_;
  std::vector<pthread_t> threads_;
};

}  // namespace larder::slowshare
