// SPDX-License-Identifier: Apache-2.0
#include "io/detached_ring.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace larder {
namespace {

constexpr unsigned kNoMmap = 1u << 14;
// Where the headers of old have a reserved word, of both kinds of offsets.
constexpr std::size_t kUserAddress = 32;
// More than the rings' own heads take, with room for rounding.
constexpr std::size_t kRingHeads = 8192;

// Memory of ours, unmapped unless it is kept.
struct Mapping {
  explicit Mapping(std::size_t length)
      : bytes(length),
        address(
            ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {}
  ~Mapping() {
    if (valid()) ::munmap(address, bytes);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  bool valid() const { return address != MAP_FAILED; }
  void keep() { address = MAP_FAILED; }

  std::size_t bytes;
  void* address;
};

template <class Offsets>
void set_address(Offsets& offsets, const void* address) {
  static_assert(sizeof(Offsets) == kUserAddress + 8);
  std::memcpy(reinterpret_cast<std::byte*>(&offsets) + kUserAddress, &address, sizeof address);
}

template <class T>
T* at(const Mapping& mapping, unsigned offset) {
  return reinterpret_cast<T*>(static_cast<std::byte*>(mapping.address) + offset);
}

}  // namespace

int open_detached_ring(unsigned entries, io_uring& ring, io_uring_params& params) {
  const std::size_t slots = std::bit_ceil(entries);
  const std::size_t entry_bytes =
      sizeof(io_uring_sqe) * ((params.flags & IORING_SETUP_SQE128) != 0 ? 2 : 1);
  const std::size_t completions =
      std::bit_ceil((params.flags & IORING_SETUP_CQSIZE) != 0 ? params.cq_entries : 2 * entries);
  Mapping submissions(slots * entry_bytes);
  Mapping rings(kRingHeads + completions * sizeof(io_uring_cqe) + slots * sizeof(unsigned));
  if (!submissions.valid() || !rings.valid()) return -ENOMEM;
  params.flags |= kNoMmap;
  set_address(params.sq_off, submissions.address);
  set_address(params.cq_off, rings.address);
  const auto fd = static_cast<int>(::syscall(__NR_io_uring_setup, entries, &params));
  if (fd < 0) return -errno;

  ring = io_uring{};
  ring.ring_fd = ring.enter_ring_fd = fd;
  ring.flags = params.flags;
  ring.features = params.features;
  io_uring_sq& sq = ring.sq;
  sq.khead = at<unsigned>(rings, params.sq_off.head);
  sq.ktail = at<unsigned>(rings, params.sq_off.tail);
  sq.kring_mask = at<unsigned>(rings, params.sq_off.ring_mask);
  sq.kring_entries = at<unsigned>(rings, params.sq_off.ring_entries);
  sq.kflags = at<unsigned>(rings, params.sq_off.flags);
  sq.kdropped = at<unsigned>(rings, params.sq_off.dropped);
  sq.array = at<unsigned>(rings, params.sq_off.array);
  sq.sqes = static_cast<io_uring_sqe*>(submissions.address);
  sq.ring_mask = *sq.kring_mask;
  sq.ring_entries = *sq.kring_entries;
  sq.ring_ptr = rings.address;
  sq.ring_sz = rings.bytes;
  for (unsigned slot = 0; slot < sq.ring_entries; ++slot) sq.array[slot] = slot;
  io_uring_cq& cq = ring.cq;
  cq.khead = at<unsigned>(rings, params.cq_off.head);
  cq.ktail = at<unsigned>(rings, params.cq_off.tail);
  cq.kring_mask = at<unsigned>(rings, params.cq_off.ring_mask);
  cq.kring_entries = at<unsigned>(rings, params.cq_off.ring_entries);
  cq.koverflow = at<unsigned>(rings, params.cq_off.overflow);
  cq.cqes = at<io_uring_cqe>(rings, params.cq_off.cqes);
  if (params.cq_off.flags != 0) cq.kflags = at<unsigned>(rings, params.cq_off.flags);
  cq.ring_mask = *cq.kring_mask;
  cq.ring_entries = *cq.kring_entries;
  cq.ring_ptr = sq.ring_ptr;
  cq.ring_sz = sq.ring_sz;
  // io_uring_queue_exit unmaps what it finds in the ring.
  submissions.keep();
  rings.keep();
  return 0;
}

}  // namespace larder
