// SPDX-License-Identifier: Apache-2.0
#include "classic_request.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "protocol.h"

namespace larder::fuse {
Reading& reading() {
  thread_local Reading here;
  return here;
}

ClassicRequest::ClassicRequest(RequestPool& pool) : pool_(pool), memory_(kMemory) {}

std::span<std::byte> ClassicRequest::payload() { return memory_.span().subspan(kHeadRoom); }

bool ClassicRequest::park() {
  if (parked_) return true;
  if (pool_.parked_.load() >= pool_.limit_) return false;
  pool_.parked_.fetch_add(1);
  parked_ = true;
  return true;
}

bool ClassicRequest::may_wait_here() { return reading().place.leave_to_another(); }

// Back to the thread that reads, if this is it and it has none; else to the pool.
void ClassicRequest::recycle() {
  std::unique_ptr<ClassicRequest> self(this);
  if (std::exchange(parked_, false)) pool_.parked_.fetch_sub(1);
  Reading& here = reading();
  if (here.reads && !here.request)
    here.request = std::move(self);
  else
    pool_.give_back(std::move(self));
}

void RequestPool::hand_to_libfuse(fuse_session* session, std::unique_ptr<ClassicRequest>& request,
                                  int device_fd, std::size_t length) {
  ClassicRequest* const raw = request.get();
  raw->device_fd_ = device_fd;
  InHeader head{};
  std::memcpy(&head, raw->raw().data(), std::min(length, sizeof head));
  raw->count(stats_, head.opcode);
  head.opcode = Request::opcode_for_libfuse(head.opcode);
  std::memcpy(raw->raw().data(), &head, std::min(length, sizeof head));
  // The Reply's from the moment that it is taken: it comes back here by recycle(). So nothing of
  // ours may own it while libfuse has it.
  fuse_buf buffer{};
  buffer.mem = raw->raw().data();
  buffer.size = length;
  request.release();
  current() = raw;
  fuse_session_process_buf(session, &buffer);
  // Not taken: libfuse answered it itself, or it needs no answer.
  if (std::exchange(current(), nullptr) != nullptr) request.reset(raw);
}

std::unique_ptr<ClassicRequest> RequestPool::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      std::unique_ptr<ClassicRequest> request = std::move(free_.back());
      free_.pop_back();
      return request;
    }
  }
  return std::make_unique<ClassicRequest>(*this);
}

void RequestPool::give_back(std::unique_ptr<ClassicRequest> request) {
  const std::lock_guard lock(mutex_);
  // A few stay: their memory has been touched. The rest goes back to the system.
  if (free_.size() < kKeptFree) free_.push_back(std::move(request));
}

}  // namespace larder::fuse
