// SPDX-License-Identifier: Apache-2.0
// RingEntry: one request at a time of the kernel's FUSE over io_uring, in buffers that stay.
//
// Layout: one page, then the payload, page-aligned. The kernel writes its 288 bytes to the start of
// the page and the rest of the request to the payload. In front of the payload, at the end of the
// page, the request's head is rebuilt, so that libfuse finds the request in one piece without a
// copy of what is large. The answer is taken from the payload too: a warm read is read there.
//
//   E1 an entry is the kernel's (idle), or its request's (busy), or its Reply's (taken); whose it
//      is touches it. It is the kernel's again from commit() on, and no sooner: commit() comes
//      behind the Reply's last use of it
//   E2 only the ring's owner submits; an answer of another thread is posted to it
//   E3 libfuse is told a tag in the place of the request's own number. It says which entry, and
//      which of its requests: an answer that comes twice, or too late, is seen and passed over
//   E4 names lie in the payload, where the answer goes: they are gone once the request is answered
#pragma once

#include <larder/buffer.h>
#include <larder/reactor.h>

#include <atomic>
#include <cstdint>

#include "protocol.h"
#include "request.h"

namespace larder::fuse {

class RingQueue;

// Where an entry is, and which of its requests is meant.
struct RingTag {
  static constexpr std::uint64_t kBit = std::uint64_t{1} << 62;  // no number of the kernel's has it
  static bool is_tag(std::uint64_t unique) { return (unique & kBit) != 0; }
  static std::uint64_t make(std::uint32_t generation, std::uint16_t queue, std::uint16_t index) {
    return kBit | std::uint64_t{generation & 0x3fffffff} << 32 | std::uint64_t{queue} << 16 | index;
  }
  static std::uint16_t queue(std::uint64_t tag) { return static_cast<std::uint16_t>(tag >> 16); }
  static std::uint16_t index(std::uint64_t tag) { return static_cast<std::uint16_t>(tag); }
};

class RingEntry final : public Request {
 public:
  RingEntry(RingQueue& queue, std::uint16_t index, std::size_t payload_bytes);

  // What one takes, untouched pages included.
  static std::size_t memory_bytes(std::size_t payload_bytes) {
    return payload_bytes + 2 * kPageSize;
  }

  // The owner's: gives the entry to the kernel for the first time.
  void enter();
  // libfuse's answer to the request `tag`, in pieces, the first of which is the header. False: the
  // tag's request has been answered. Thread: the one that answers.
  bool answer(std::uint64_t tag, const iovec* parts, int count);
  // The tag of the request that the kernel calls `unique`; 0: another. Thread: any.
  std::uint64_t tag_of(std::uint64_t unique) const;

  std::span<std::byte> payload() override { return memory_.span().subspan(kPageSize); }
  bool park() override;
  void recycle() override;

 private:
  // The ways in which a thread comes to an entry: a command has completed; an answer of another
  // thread is to be committed; a request has been handed over.
  struct Command : Completion {
    explicit Command(RingEntry& e) : entry(e) {}
    RingEntry& entry;
  };
  struct Answered : Work {
    explicit Answered(RingEntry& e) : entry(e) {}
    RingEntry& entry;
  };

  int device_fd() const override { return -1; }
  void handed_out(const Entry& entry) override;
  RingHeader& header() { return *reinterpret_cast<RingHeader*>(memory_.data()); }
  void submit(std::uint32_t operation);
  void completed(int result);
  void serve();
  std::size_t read_bytes();
  void hand_to_libfuse();
  void give_back();
  void write_head(std::int32_t error, std::size_t payload_bytes);
  void commit();

  RingQueue& queue_;
  const std::uint16_t index_;
  AlignedBuffer memory_;
  const std::array<iovec, 2> parts_;
  Command command_{*this};
  Answered answered_work_{*this};
  Answered handed_over_work_{*this};  // to a thread of the crew
  std::size_t operation_bytes_ = 0;
  std::uint32_t operation_ = kRegister;  // of the command that is out
  std::uint32_t generation_ = 0;
  std::uint64_t commit_id_ = 0;
  bool parked_ = false;
  std::atomic<bool> answered_{false};
  std::atomic<std::uint64_t> unique_{0};  // the kernel's; 0 while the entry is idle
  std::atomic<std::uint64_t> tag_{0};
};

}  // namespace larder::fuse
