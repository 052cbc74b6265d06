// SPDX-License-Identifier: Apache-2.0
// The classic transport: threads that each block in read(2) of a clone of /dev/fuse of their own.
//
// A thread that reads a warm request answers it itself. What waits for the share leaves its thread
// with its buffer (request.h), so a share that hangs takes no thread. Clones are made behind INIT,
// and an answer goes to the descriptor that brought the request: the kernel looks nowhere else.
#pragma once

#include <larder/fd.h>
#include <larder/result.h>

#include "request.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace larder::fuse {

class ClassicTransport {
 public:
  // REQUIRES: `session` is mounted. `ended_fd`: an eventfd that is written when the kernel ends the
  // session.
  ClassicTransport(fuse_session* session, unsigned threads, int ended_fd);
  ~ClassicTransport();  // REQUIRES: stop() was called if start() was

  // Reads and answers INIT, on this thread. Errors: kSystem.
  Status serve_init();
  // Starts the threads. Errors: kSystem when not even one clone can be had.
  Status start();
  // Takes no more requests; those that are out may still be answered. Returns when the threads have
  // ended.
  void stop();
  // Behind stop(): until all that is out has been answered. False: not within that time.
  bool wait_until_answered(Nanoseconds at_most_ns);

 private:
  void run(int device_fd);
  // One request. False when the session is over.
  bool serve_one(int device_fd);

  fuse_session* const session_;
  const unsigned thread_count_;
  const int ended_fd_;
  RequestPool pool_;
  std::atomic<bool> stopping_{false};
  std::atomic<unsigned> running_{0};
  std::vector<Fd> clones_;
  std::vector<std::thread> threads_;
};

// How many threads serve where nobody said: 2 a processor, 4 to 16.
unsigned default_threads();

}  // namespace larder::fuse
