// SPDX-License-Identifier: Apache-2.0
// Request: one buffer that a request is read into and its answer built in, for the classic
// transport.
//
// Layout: [0, 4096) the request, when it is short; a WRITE's payload follows it, up to the end. The
// answer's payload begins at 4096, page-aligned, so that a warm read goes from the store straight
// to where the kernel takes it. (A READ's request is 80 bytes, so the two never meet.)
//
// A Request is read into by one thread. When its handler answers at once, the thread uses it again;
// when the reply is parked, it travels with the Reply, and the thread takes another from the pool.
// Either way it is back only behind the answer.
#pragma once

#include <larder/buffer.h>
#include <larder/reply.h>

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 314
#endif
#include <fuse_lowlevel.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

namespace larder::fuse {

inline constexpr std::size_t kMaxWrite = 1 << 20;
inline constexpr std::size_t kMaxRead = 1 << 20;

class RequestPool;

class Request final : public ReplySlot {
 public:
  explicit Request(RequestPool& pool);

  // What read(2) of the device fills: a request with the largest payload fits.
  std::span<std::byte> raw() { return memory_.span(); }
  // Before the handler runs: whom to answer, and on which descriptor.
  void begin(int device_fd) { device_fd_ = device_fd; }
  // The Reply that libfuse's `request` is owed. REQUIRES: called once between begin() and the
  // answer.
  Reply take(fuse_req_t request);

  std::span<std::byte> payload() override;
  bool park() override;
  void error(Error error) override;
  void ok() override;
  void entry(const Entry& entry) override;
  void attributes(std::uint64_t inode, const Attributes& attributes, Nanoseconds ttl_ns) override;
  void opened(const OpenReply& open) override;
  void created(const Entry& entry, const OpenReply& open) override;
  void data(std::size_t skip, ByteCount count) override;
  void written(ByteCount count) override;
  void position(ByteOffset offset) override;
  void link(std::string_view target) override;
  void xattr_size(ByteCount size) override;
  void stat_fs(const struct statvfs& figures) override;
  bool add_dirent(std::size_t& used, std::size_t limit, std::string_view name, std::uint64_t inode,
                  std::uint32_t mode, std::uint64_t next) override;
  bool add_dirent_plus(std::size_t& used, std::size_t limit, std::string_view name,
                       const Entry& entry, std::uint64_t next) override;
  void recycle() override;

 private:
  friend class RequestPool;
  template <class Answer>
  void answer(Answer answer);

  RequestPool& pool_;
  AlignedBuffer memory_;
  fuse_req_t request_ = nullptr;
  int device_fd_ = -1;
  bool parked_ = false;
};

// Requests that nobody uses. Thread: any.
class RequestPool {
 public:
  // At most `limit` are parked at once; above, park() refuses.
  explicit RequestPool(std::size_t limit) : limit_(limit) {}

  std::unique_ptr<Request> take();
  void give_back(std::unique_ptr<Request> request);
  std::size_t parked() const { return parked_.load(); }

 private:
  friend class Request;
  static constexpr std::size_t kKeptFree = 32;
  const std::size_t limit_;
  std::atomic<std::size_t> parked_{0};
  std::mutex mutex_;
  std::vector<std::unique_ptr<Request>> free_;
};

// The request that this thread works on; null once it has been parked, and on threads that read
// none.
struct Current {
  bool reads = false;
  std::unique_ptr<Request> request;
};
Current& current();

// The descriptor that an answer of this thread goes to; -1: the session's own (notifications).
int& answer_fd();

}  // namespace larder::fuse
