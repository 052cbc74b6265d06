// SPDX-License-Identifier: Apache-2.0
#include "io/thread_engine.h"

#include "io/ring_read.h"

namespace larder {

ThreadEngine::ThreadEngine(const ThreadEngineOptions& options)
    : options_(options),
      lanes_(options.threads),
      pool_({.name = "io", .threads = options.threads}) {
  const MutexLock lock(mutex_);
  for (Lane& lane : lanes_) {
    lane.engine = this;
    lane.run = [](Work& self) {
      Lane& my_lane = static_cast<Lane&>(self);
      my_lane.engine->run_lane(my_lane);
    };
    idle_.push(lane);
  }
}

ThreadEngine::~ThreadEngine() { pool_.stop(); }

void ThreadEngine::submit(IoRequest& request) {
  check(request.done != nullptr, "a request has someone to tell");
  request.moved = 0;
  if (request.kind == IoRequest::Kind::kRead && reads_on_this_ring())
    return read_on_this_ring(request);
  Work* lane = nullptr;
  {
    const MutexLock lock(mutex_);
    requests_.push(request);
    lane = idle_.pop();
  }
  // Not under the lock, which has the rank of the pool's own. The lane is this thread's alone now,
  // and the engine does not end before it has run.
  if (lane != nullptr) pool_.post(*lane);
}

void ThreadEngine::run_lane(Lane& lane) {
  for (;;) {
    IoRequest* request = nullptr;
    {
      const MutexLock lock(mutex_);
      request = requests_.pop();
      if (request == nullptr) {
        idle_.push(lane);
        return;
      }
    }
    request->done(*request, carry_out(*request));
  }
}

Status ThreadEngine::carry_out(const IoRequest& request) const {
  switch (request.kind) {
    case IoRequest::Kind::kRead:
      return read_all(request.fd, request.offset, {request.data, request.length},
                      options_.max_transfer_bytes, request.mode);
    case IoRequest::Kind::kWrite:
      return write_all(request.fd, request.offset, {request.data, request.length},
                       options_.max_transfer_bytes);
    case IoRequest::Kind::kFlush:
      return flush_data(request.fd);
  }
  check(false, "a request is of a known kind");
  return {};
}

Status ThreadEngine::read_now(int fd, ByteOffset offset, std::span<std::byte> into, ReadMode mode) {
  return read_all(fd, offset, into, kMaxTransfer, mode);
}

Result<bool> ThreadEngine::read_at_once(int fd, ByteOffset offset, std::span<std::byte> into,
                                        ReadMode mode) {
  return read_cached(fd, offset, into, mode);
}

}  // namespace larder
