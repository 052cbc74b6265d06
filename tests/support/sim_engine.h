// SPDX-License-Identifier: Apache-2.0
// SimEngine: a device in memory, with a stated fault model.
//
// What it promises, as a disk does: a write that was answered is seen by every later read, and is
// on the medium once a flush begun after its answer was answered. What it does not: until then,
// each 512-byte sector of each write is on the medium or not, whatever the others are, in any
// order.
//
// A crash picks a fate for each unflushed write: applied, lost, or torn (each sector alone). A
// moment() keeps what a crash at that point may leave, to be looked at as often as one likes.
//
// Faults, counted over writes and flushes (`operations`), over writes, or over reads:
//   EIO, ENOSPC  fail_operation(n, e)  the n-th from now fails with errno e, and has had no effect
//                stop_at(n)            from the n-th on all fail with EIO: the power is gone
//                fail_read(n, e)       the n-th read from now fails
//   short        short_write(n, p, e)  the n-th write from now ends after `p` sectors, with errno e
//                short_read(n, p)      the n-th read from now has its first `p` sectors, then EIO
//                bad_area(at, bytes)   all reads that touch it fail with EIO; of 0 bytes: none does
//   misdirected  misdirect(n, by)      the n-th write from now lands `by` bytes off, answered as
//                                      good; off the device it lands nowhere
//   delayed      hold_writes(from)     writes at or above `from` wait for release_one(),
//                                      release_any() (in any order) or release_all()
//                delay_reads(n, who)   of the reads that must not wait each n-th would, and reads
//                                      that are submitted wait as those writes do
//
// Everything else is answered inside submit(), so a whole store runs on one thread. What is not in
// the model: a device that forgets what it has flushed, and one that changes bytes by itself (for
// that, tests change an image: flip_bit()).
// Thread: one at a time.
#pragma once

#include <larder/io_engine.h>

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"

namespace larder::test {

// Blocks are shared between copies until they are written, so an image costs little to keep.
class SimImage {
 public:
  explicit SimImage(ByteCount size);

  ByteCount size() const { return ByteCount{blocks_.size() * kBlockSize}; }
  void read(ByteOffset at, std::span<std::byte> into) const;
  void write(ByteOffset at, std::span<const std::byte> data);
  void flip_bit(ByteOffset at, unsigned bit);

 private:
  using Block = std::array<std::byte, kBlockSize>;
  std::vector<std::shared_ptr<const Block>> blocks_;  // null: zeros
};

// A write that was answered and not flushed.
struct SimWrite {
  ByteOffset at;
  std::vector<std::byte> data;
};

// What a device is at one point of time: what surely survives, and what may.
struct SimMoment {
  std::shared_ptr<const SimImage> medium;
  std::vector<std::shared_ptr<const SimWrite>> unflushed;

  // What a machine finds after the power came back.
  SimImage crash(Random& random) const;
};

class SimEngine final : public IoEngine {
 public:
  explicit SimEngine(SimImage image);
  explicit SimEngine(ByteCount size) : SimEngine(SimImage(size)) {}

  void submit(IoRequest& request) override;
  Status read_now(int fd, ByteOffset offset, std::span<std::byte> into,
                  ReadMode mode = ReadMode::kBuffered) override;
  Result<bool> read_at_once(int fd, ByteOffset offset, std::span<std::byte> into,
                            ReadMode mode) override;
  bool reads_on_this_ring() const override { return reader_ == Reader::kRing; }
  std::string name() const override { return "simulated"; }

  SimImage crash(Random& random) const { return moment().crash(random); }
  SimMoment moment() const { return {medium_, unflushed_}; }
  // Called behind each write and flush that had an effect; not on behalf of reads.
  std::function<void()> on_operation;
  // Called in front of each read, with where it begins.
  std::function<void(ByteOffset)> before_read;
  // What a process finds that was started after this one was killed.
  const SimImage& image() const { return seen_; }
  SimImage& image() { return seen_; }

  std::uint64_t operations() const { return operations_; }
  std::uint64_t reads() const { return reads_; }
  std::uint64_t flushes() const { return flushes_; }
  // Of the writes so far, in order.
  struct Written {
    ByteOffset at;
    std::size_t length;
  };
  const std::vector<Written>& written() const { return log_; }

  void fail_operation(std::uint64_t n, int sys_errno);
  void stop_at(std::uint64_t n);
  void fail_read(std::uint64_t n, int sys_errno);
  void short_read(std::uint64_t n, std::size_t sectors);
  void bad_area(ByteOffset at, ByteCount bytes) { bad_area_ = {at, bytes}; }
  void short_write(std::uint64_t n, std::size_t sectors, int sys_errno);
  void misdirect(std::uint64_t n, std::int64_t by);
  void hold_writes(ByteOffset from) { hold_from_ = from; }
  enum class Reader : std::uint8_t { kThread, kRing };  // may it wait?
  void delay_reads(std::uint64_t every, Reader reader) {
    delay_every_ = every;
    reader_ = reader;
  }
  bool release_one() { return release(0); }
  bool release_any(Random& random) { return release(random.below(held_.size() + 1)); }
  void release_all();
  std::size_t held() const { return held_.size(); }

 private:
  struct Fault {
    std::uint64_t at = 0;
    int sys_errno = 0;
    std::size_t sectors = 0;  // that are moved all the same
  };
  int fault_of_operation();
  void perform(IoRequest& request);
  void perform_read(IoRequest& request);
  void flush();
  void write(ByteOffset at, std::span<const std::byte> data);
  bool release(std::size_t which);

  std::shared_ptr<const SimImage> medium_;  // what surely survives
  SimImage seen_;                           // what reads see
  std::vector<std::shared_ptr<const SimWrite>> unflushed_;
  std::vector<Written> log_;
  std::deque<IoRequest*> held_;
  std::optional<ByteOffset> hold_from_;
  std::uint64_t delay_every_ = 0;  // 0: never
  Reader reader_ = Reader::kThread;
  std::optional<Fault> operation_fault_, write_fault_, read_fault_;
  std::optional<std::uint64_t> stop_at_;
  struct Area {
    ByteOffset at{};
    ByteCount bytes{};
  };
  Area bad_area_;
  std::uint64_t misdirect_at_ = 0;
  std::int64_t misdirect_by_ = 0;
  std::uint64_t operations_ = 0, reads_ = 0, writes_ = 0, flushes_ = 0, at_once_ = 0;
};

}  // namespace larder::test
