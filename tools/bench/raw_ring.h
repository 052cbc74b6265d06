// SPDX-License-Identifier: Apache-2.0
// RawRing: io_uring with nothing around it: what reads through the store's engine are compared
// with.
// Thread: one.
#pragma once

#include <larder/result.h>
#include <larder/units.h>

#include <memory>
#include <span>

namespace larder::bench {

class RawRing {
 public:
  static SetUp<RawRing> open(unsigned depth);
  RawRing(RawRing&&) noexcept;
  ~RawRing();

  // Prepares a read; `tag` comes back with it. REQUIRES: fewer than `depth` are under way.
  void read(int fd, ByteOffset at, std::span<std::byte> into, std::uint64_t tag);
  // Starts what is prepared and waits for one. Complaint: it failed, or was short.
  SetUp<std::uint64_t> wait();

 private:
  struct Ring;
  explicit RawRing(std::unique_ptr<Ring> ring);
  std::unique_ptr<Ring> ring_;
};

}  // namespace larder::bench
