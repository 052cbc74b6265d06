// SPDX-License-Identifier: Apache-2.0
#include "bench/raw_ring.h"

#include <fmt/format.h>
#include <liburing.h>

#include <cstring>
#include <vector>

namespace larder::bench {

struct RawRing::Ring {
  io_uring ring{};
  std::vector<std::size_t> lengths;  // by tag
  ~Ring() { ::io_uring_queue_exit(&ring); }
};

RawRing::RawRing(std::unique_ptr<Ring> ring) : ring_(std::move(ring)) {}
RawRing::RawRing(RawRing&&) noexcept = default;
RawRing::~RawRing() = default;

SetUp<RawRing> RawRing::open(unsigned depth) {
  auto ring = std::make_unique<Ring>();
  const int result = ::io_uring_queue_init(depth, &ring->ring, 0);
  if (result < 0) {
    ring.release();
    return complain(ErrorCode::kNotSupported,
                    fmt::format("io_uring cannot be had here: {}", std::strerror(-result)),
                    -result);
  }
  ring->lengths.resize(depth);
  return RawRing(std::move(ring));
}

void RawRing::read(int fd, ByteOffset at, std::span<std::byte> into, std::uint64_t tag) {
  io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_->ring);
  check(sqe != nullptr, "no more are under way than the ring has entries");
  ::io_uring_prep_read(sqe, fd, into.data(), static_cast<unsigned>(into.size()), at.value());
  ring_->lengths.at(tag) = into.size();
  ::io_uring_sqe_set_data64(sqe, tag);
}

SetUp<std::uint64_t> RawRing::wait() {
  io_uring_cqe* cqe = nullptr;
  // What has come is taken first, so that one call submits all that follows from it.
  if (::io_uring_peek_cqe(&ring_->ring, &cqe) != 0) ::io_uring_submit_and_wait(&ring_->ring, 1);
  const int result = ::io_uring_wait_cqe(&ring_->ring, &cqe);
  if (result < 0) return complain(ErrorCode::kSystem, "the ring cannot be waited for", -result);
  const std::uint64_t tag = ::io_uring_cqe_get_data64(cqe);
  const int got = cqe->res;
  ::io_uring_cqe_seen(&ring_->ring, cqe);
  if (got < 0 || static_cast<std::size_t>(got) != ring_->lengths.at(tag))
    return complain(ErrorCode::kSystem, fmt::format("a raw read gave {}", got));
  return tag;
}

}  // namespace larder::bench
