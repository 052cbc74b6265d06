// SPDX-License-Identifier: Apache-2.0
// Request: what a request of the kernel is answered with, made by libfuse. The transports derive
// their buffers from it: ClassicRequest, RingEntry.
#pragma once

#include <larder/reply.h>
#include <larder/transport_stats.h>

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 314
#endif
#include <fuse_lowlevel.h>

namespace larder::fuse {

inline constexpr std::size_t kMaxWrite = 1 << 20;
inline constexpr std::size_t kMaxRead = 1 << 20;

class Request : public ReplySlot {
 public:
  // The Reply that libfuse's `request` is owed. REQUIRES: called at most once for each request, on
  // the thread that hands it to libfuse.
  Reply take(fuse_req_t request);
  // A request has come, of this opcode: it is counted, and every eighth is timed.
  void count(TransportStats& stats, std::uint32_t opcode);
  // What libfuse is to take a request of this opcode for. It does not know STATX, which begins as
  // GETATTR does: attributes() answers that in its own form.
  static std::uint32_t opcode_for_libfuse(std::uint32_t opcode);
  // Where it is timed: it had come by then, and waited for others. 0: for none.
  void waited_since(Nanoseconds since_ns);

  void error(Error error) override;
  void ok() override;
  void entry(const Entry& entry) override;
  void attributes(std::uint64_t inode, const Attributes& attributes, Nanoseconds ttl_ns) override;
  void opened(const OpenReply& open) override;
  void created(const Entry& entry, const OpenReply& open) override;
  void data(std::size_t skip, ByteCount count) override;
  void written(ByteCount count) override;
  void position(ByteOffset offset) override;
  void lock(const LockRange& range) override;
  CredentialsRef caller() override;
  bool interrupted() override { return fuse_req_interrupted(request_) != 0; }
  void listen(Listener* listener) override;
  std::uint32_t asker() override;
  void link(std::string_view target) override;
  void xattr_size(ByteCount size) override;
  void stat_fs(const struct statvfs& figures) override;
  bool add_dirent(std::size_t& used, std::size_t limit, std::string_view name, std::uint64_t inode,
                  std::uint32_t mode, std::uint64_t next) override;
  bool add_dirent_plus(std::size_t& used, std::size_t limit, std::string_view name,
                       const Entry& entry, std::uint64_t next) override;

 protected:
  // Whom libfuse's answer goes to, as it writes it (transport.cc).
  virtual int device_fd() const = 0;
  // The kernel is about to learn of this one.
  virtual void handed_out(const Entry&) {}

 private:
  template <class Answer>
  void answer(Answer answer);

  fuse_req_t request_ = nullptr;
  CredentialsRef caller_;  // of this request, once it was asked for
  TransportStats* stats_ = nullptr;
  std::size_t operation_ = 0;
  Nanoseconds began_ns_ = 0;  // 0: not timed
  bool is_statx_ = false;
};

// The request that this thread is handing to libfuse; null on threads that hand none, and once it
// was taken.
Request*& current();

// What this thread's answer to an open names, for whom libfuse has no place (transport.cc).
BackingId& answer_backing();

// The descriptor that an answer of this thread goes to; -1: the session's own (notifications).
int& answer_fd();

}  // namespace larder::fuse
