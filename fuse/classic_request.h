// SPDX-License-Identifier: Apache-2.0
// ClassicRequest: one buffer that a request is read into and its answer built in.
//
// Layout: [0, 4096) the request, when it is short; a WRITE's payload follows it, up to the end. The
// answer's payload begins at 4096, page-aligned, so that a warm read goes from the store straight
// to where the kernel takes it. (A READ's request is 80 bytes, so the two never meet.)
//
// It is read into by one thread. When its handler answers at once, the thread uses it again; when
// the reply is parked, it travels with the Reply, and the thread takes another from the pool.
// Either way it is back only behind the answer.
#pragma once

#include <larder/buffer.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "places.h"
#include "request.h"

namespace larder::fuse {

class RequestPool;

class ClassicRequest final : public Request {
 public:
  // Of one. FUSE_WRITE carries 40 bytes of header and 40 of arguments in front of its data; a read
  // of the largest size may touch a page more, since it need not begin on one.
  static constexpr std::size_t kHeadRoom = 4096;
  static constexpr std::size_t kMemory = kHeadRoom + std::max(kMaxWrite, kMaxRead) + kPageSize;

  explicit ClassicRequest(RequestPool& pool);

  // What read(2) of the device fills: a request with the largest payload fits.
  std::span<std::byte> raw() { return memory_.span(); }

  std::span<std::byte> payload() override;
  bool park() override;
  bool may_wait_here() override;
  void recycle() override;

 private:
  friend class RequestPool;
  int device_fd() const override { return device_fd_; }

  RequestPool& pool_;
  AlignedBuffer memory_;
  int device_fd_ = -1;
  bool parked_ = false;
};

// Requests that nobody uses. Thread: any.
class RequestPool {
 public:
  // At most `limit` are parked at once; above, park() refuses.
  RequestPool(std::size_t limit, TransportStats& stats) : limit_(limit), stats_(stats) {}

  // `device_fd`: brought the request, and takes its answer.
  void hand_to_libfuse(fuse_session* session, std::unique_ptr<ClassicRequest>& request,
                       int device_fd, std::size_t length);
  std::unique_ptr<ClassicRequest> take();
  void give_back(std::unique_ptr<ClassicRequest> request);
  std::size_t parked() const { return parked_.load(); }

 private:
  friend class ClassicRequest;
  static constexpr std::size_t kKeptFree = 32;
  const std::size_t limit_;
  TransportStats& stats_;
  std::atomic<std::size_t> parked_{0};
  std::mutex mutex_;
  std::vector<std::unique_ptr<ClassicRequest>> free_;
};

// A thread that reads requests.
struct Reading {
  bool reads = false;
  // What it reads into; null while that travels with a Reply.
  std::unique_ptr<ClassicRequest> request;
  Places::Held place;
};
Reading& reading();

}  // namespace larder::fuse
