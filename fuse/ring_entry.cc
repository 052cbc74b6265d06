// SPDX-License-Identifier: Apache-2.0
#include "ring_entry.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "ring_queue.h"

namespace larder::fuse {
namespace {

// From here on a read is worth a thread of its own, where others wait: a copy and sums of that much
// take some 20 us, waking another thread 6.
constexpr std::size_t kLargeRead = 64 << 10;
constexpr std::size_t kReadSizeOffset = 16;  // in fuse_read_in

bool names_regular_file(std::uint32_t opcode) {
  return opcode == kOpenOpcode || opcode == kReadOpcode || opcode == kWriteOpcode ||
         opcode == kFlushOpcode || opcode == kReleaseOpcode;
}

iovec part(std::span<std::byte> bytes) { return {bytes.data(), bytes.size()}; }

}  // namespace

RingEntry::RingEntry(RingQueue& queue, std::uint16_t index, std::size_t payload_bytes)
    : queue_(queue),
      index_(index),
      memory_(memory_bytes(payload_bytes)),
      parts_{part(memory_.span().first(sizeof(RingHeader))), part(payload())} {
  command_.done = [](Completion& self, int result) {
    static_cast<Command&>(self).entry.completed(result);
  };
  handed_over_work_.run = [](Work& self) { static_cast<Answered&>(self).entry.hand_to_libfuse(); };
  answered_work_.run = [](Work& self) { static_cast<Answered&>(self).entry.commit(); };
}

void RingEntry::enter() { submit(kRegister); }

void RingEntry::submit(std::uint32_t operation) {
  operation_ = operation;
  RingCommandBody body{};
  body.commit_id = operation == kRegister ? 0 : commit_id_;
  body.queue = queue_.id();
  RingCommand command;
  command.fd = queue_.device_fd();
  command.operation = operation;
  if (operation == kRegister) command.parts = parts_;
  std::memcpy(command.body.data(), &body, sizeof body);
  queue_.now_idle();
  queue_.reactor().command(command, command_);
}

void RingEntry::completed(int result) {
  queue_.now_busy();
  if (result == 0) return serve();
  // Not yet, or disturbed: the same again.
  if (result == -EAGAIN || result == -EINTR) return submit(operation_);
  // Unmounted, aborted, or refused: the entry is gone, and so is what was in it.
  queue_.entry_gone(operation_ == kRegister, -result);
}

void RingEntry::serve() {
  InHeader in{};
  std::memcpy(&in, header().in_out.data(), sizeof in);
  const std::size_t payload_bytes = header().payload_bytes;
  commit_id_ = header().commit_id;
  answered_.store(false, std::memory_order_relaxed);
  unique_.store(in.unique, std::memory_order_relaxed);
  tag_.store(RingTag::make(++generation_, queue_.id(), index_), std::memory_order_release);
  // The kernel's word is checked once, here.
  const bool sound = payload_bytes <= payload().size() && in.length >= sizeof in + payload_bytes &&
                     in.length - sizeof in - payload_bytes <= header().operation.size();
  if (!sound || queue_.refuses()) {
    write_head(sound ? -ENOTCONN : -EIO, 0);
    return commit();
  }
  if (in.opcode == kNotifyReplyOpcode) {  // a nudge of the queue's
    write_head(0, 0);
    return commit();
  }
  const Nanoseconds came_ns = queue_.came_ns();
  count(queue_.stats(), in.opcode);
  waited_since(came_ns);
  operation_bytes_ = in.length - sizeof in - payload_bytes;
  // Work that takes long would hold up what came with it; alone it is done soonest here.
  if (in.opcode == kReadOpcode && queue_.others_wait() && read_bytes() >= kLargeRead &&
      queue_.hand_over(handed_over_work_))
    return;
  hand_to_libfuse();
}

std::size_t RingEntry::read_bytes() {
  std::uint32_t bytes = 0;
  std::memcpy(&bytes, header().operation.data() + kReadSizeOffset, sizeof bytes);
  return bytes;
}

void RingEntry::hand_to_libfuse() {
  InHeader tagged{};
  std::memcpy(&tagged, header().in_out.data(), sizeof tagged);
  std::byte* const at = payload().data() - operation_bytes_ - sizeof tagged;
  tagged.unique = tag_.load(std::memory_order_relaxed);
  tagged.opcode = opcode_for_libfuse(tagged.opcode);
  std::memcpy(at, &tagged, sizeof tagged);
  std::memcpy(at + sizeof tagged, header().operation.data(), operation_bytes_);
  fuse_buf buffer{};
  buffer.mem = at;
  buffer.size = tagged.length;
  current() = this;
  fuse_session_process_buf(queue_.session(), &buffer);
  if (std::exchange(current(), nullptr) == nullptr) return;  // the Reply's: it may be gone by now
  // Not taken: libfuse answered it itself, or it needs no answer. The entry needs one all the same.
  if (!answered_.load(std::memory_order_relaxed)) write_head(0, 0);
  give_back();
}

bool RingEntry::answer(std::uint64_t tag, const iovec* parts, int count) {
  if (tag_.load(std::memory_order_acquire) != tag ||
      answered_.exchange(true, std::memory_order_relaxed))
    return false;
  OutHeader head{};
  std::memcpy(&head, parts[0].iov_base, sizeof head);
  const std::span<std::byte> into = payload();
  std::size_t at = 0;
  for (const iovec& piece : std::span(parts + 1, static_cast<std::size_t>(count) - 1)) {
    if (piece.iov_len > into.size() - at) {
      write_head(-EIO, 0);
      return true;
    }
    // What was read into its place is there already. Pieces may lie in the payload, elsewhere.
    if (piece.iov_base != into.data() + at) {
      std::memmove(into.data() + at, piece.iov_base, piece.iov_len);
      queue_.stats().copied_bytes.add(piece.iov_len);
    }
    at += piece.iov_len;
  }
  write_head(head.error, at);
  return true;
}

void RingEntry::write_head(std::int32_t error, std::size_t payload_bytes) {
  const OutHeader head{static_cast<std::uint32_t>(sizeof(OutHeader) + payload_bytes), error,
                       unique_.load(std::memory_order_relaxed)};
  std::memcpy(header().in_out.data(), &head, sizeof head);
  header().payload_bytes = static_cast<std::uint32_t>(payload_bytes);
}

std::uint64_t RingEntry::tag_of(std::uint64_t unique) const {
  const std::uint64_t tag = tag_.load(std::memory_order_acquire);
  return tag != 0 && unique_.load(std::memory_order_relaxed) == unique ? tag : 0;
}

bool RingEntry::park() {
  if (parked_) return true;
  InHeader in{};
  std::memcpy(&in, header().in_out.data(), sizeof in);
  if (names_regular_file(in.opcode)) queue_.known_files().note(in.node);
  if (!queue_.may_park()) return false;
  parked_ = true;
  return true;
}

void RingEntry::handed_out(const Entry& entry) {
  if (S_ISREG(entry.attributes.mode)) queue_.known_files().note(entry.node.value());
}

// Behind the Reply's last use: to the kernel, on the ring's own thread.
void RingEntry::recycle() {
  if (std::exchange(parked_, false)) queue_.unpark();
  give_back();
}

void RingEntry::give_back() {
  if (queue_.is_owner()) return commit();
  queue_.reactor().post(answered_work_);
}

void RingEntry::commit() {
  tag_.store(0, std::memory_order_relaxed);
  unique_.store(0, std::memory_order_relaxed);
  submit(kCommitAndFetch);
}

}  // namespace larder::fuse
