// SPDX-License-Identifier: Apache-2.0
// The classic transport: threads that each block in read(2) of a clone of /dev/fuse of their own.
//
// A thread that reads a warm request answers it itself. What waits for the share leaves its thread
// with its buffer (classic_request.h), so a share that hangs takes no thread. Clones are made
// behind INIT, and an answer goes to the descriptor that brought the request: the kernel looks
// nowhere else.
//
// Of the threads as many read requests at once as there are processors (places.h); the others are
// for when those wait for the disk.
//
// Where requests come over rings one thread stays: FORGET and INTERRUPT always come this way.
#pragma once

#include <larder/fd.h>
#include <larder/result.h>
#include <larder/units.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "classic_request.h"

namespace larder::fuse {

class ClassicTransport {
 public:
  struct Options {
    fuse_session* session;
    int ended_fd;             // an eventfd that is written when the kernel ends the session
    std::size_t parked_most;  // requests that may wait at once
    bool wake_in_place;       // courtesy.h
  };
  // REQUIRES: the session is mounted.
  ClassicTransport(const Options& options, TransportStats& stats);
  ~ClassicTransport();  // REQUIRES: stop() was called if start() was

  // An INTERRUPT names its request by the kernel's number; what libfuse knows it by is asked here
  // (0: it has been answered). REQUIRES: before start().
  using TagOf = std::function<std::uint64_t(std::uint64_t unique)>;
  void find_tags_by(TagOf tag_of) { tag_of_ = std::move(tag_of); }
  // Starts as many threads more. REQUIRES: INIT has been answered. Errors: kSystem when not even
  // one descriptor can be had. Thread: any.
  Status start(unsigned threads);
  // Takes no more requests; those that are out may still be answered. Returns when the threads have
  // ended.
  void stop();
  std::size_t parked() const { return pool_.parked(); }

 private:
  void run(int device_fd);
  // One request. False when the session is over.
  bool serve_one(int device_fd);
  bool interrupts_nothing(std::span<std::byte> request) const;

  const Options options_;
  TransportStats& stats_;
  RequestPool pool_;
  Places places_;
  TagOf tag_of_;
  std::atomic<bool> stopping_{false};
  std::atomic<unsigned> running_{0};
  std::mutex starting_;
  std::vector<Fd> clones_;
  std::vector<std::thread> threads_;
};

// How many threads serve where nobody said: 2 a processor, 4 to 16.
unsigned default_threads();

}  // namespace larder::fuse
