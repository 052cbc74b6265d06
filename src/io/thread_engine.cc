// SPDX-License-Identifier: Apache-2.0
#include "io/thread_engine.h"

#include <sys/uio.h>

#include <algorithm>
#include <array>

#include "io/ring_read.h"

namespace larder {
namespace {

constexpr std::size_t kMostParts = 64;  // of one call

}  // namespace

ThreadEngine::ThreadEngine(const ThreadEngineOptions& options)
    : options_(options),
      most_together_(std::min<std::size_t>(options.max_transfer_bytes, 1u << 20)),
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
  Lane* lane = nullptr;
  {
    const MutexLock lock(mutex_);
    const bool is_write = request.kind == IoRequest::Kind::kWrite;
    (is_write ? writes_ : requests_).push(request);
    if (!is_write || !writing_) lane = static_cast<Lane*>(idle_.pop());
    if (is_write && lane != nullptr) lane->writes = writing_ = true;
  }
  // Not under the lock, which has the rank of the pool's own. The lane is this thread's alone now,
  // and the engine does not end before it has run.
  if (lane != nullptr) pool_.post(*lane);
}

void ThreadEngine::run_lane(Lane& lane) {
  for (;;) {
    Fifo<IoRequest> requests = next_for(lane);
    IoRequest* request = requests.front();
    if (request == nullptr) return;
    if (request->kind == IoRequest::Kind::kWrite) {
      write(requests);
    } else {
      request->done(*request, carry_out(*request));
    }
  }
}

Fifo<IoRequest> ThreadEngine::next_for(Lane& lane) {
  Fifo<IoRequest> next;
  const MutexLock lock(mutex_);
  // Others first. The lane that was woken for this one finds it gone and writes on.
  if (lane.writes && (writes_.empty() || !requests_.empty())) lane.writes = writing_ = false;
  if (IoRequest* request = requests_.pop(); request != nullptr) {
    next.push(*request);
  } else if (!writes_.empty() && (lane.writes || !writing_)) {
    lane.writes = writing_ = true;
    take_adjacent_writes_locked(next);
  } else {
    idle_.push(lane);
  }
  return next;
}

void ThreadEngine::take_adjacent_writes_locked(Fifo<IoRequest>& into) {
  std::size_t bytes = 0, count = 0;
  const IoRequest* before = nullptr;
  while (const IoRequest* next = writes_.front()) {
    const bool adjacent =
        before == nullptr ||
        (next->fd == before->fd && next->offset == before->offset + ByteCount{before->length});
    bytes += next->length;
    if (!adjacent || ++count > kMostParts || (before != nullptr && bytes > most_together_)) return;
    before = next;
    into.push(*writes_.pop());
  }
}

void ThreadEngine::write(Fifo<IoRequest> requests) const {
  std::array<iovec, kMostParts> parts;
  std::size_t count = 0, bytes = 0;
  const IoRequest& first = *requests.front();
  for (const IoRequest* one = &first; one != nullptr; one = one->next) {
    parts[count++] = {one->data, one->length};
    bytes += one->length;
  }
  const bool together =
      count > 1 && write_together(first.fd, first.offset, {parts.data(), count}, bytes);
  while (IoRequest* request = requests.pop())
    request->done(*request, together ? Status{} : carry_out(*request));
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
    case IoRequest::Kind::kWriteback:
      start_writeback(request.fd);
      return {};
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
