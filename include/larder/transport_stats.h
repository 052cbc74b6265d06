// SPDX-License-Identifier: Apache-2.0
// TransportStats: what fuse/ counts: operations, how long they took, and how long it took to send
// their answers. The mount owns it.
//
// Times are taken of every eighth request only: reading the clock costs as much as some of what is
// timed.
#pragma once

#include <larder/clock.h>
#include <larder/stats.h>

#include <array>
#include <cstdint>

namespace larder {

// True for every eighth request of a thread. `count`: of the thread, and of the place that asks.
inline bool is_timed(unsigned& count) { return (++count & 7) == 0; }

struct TransportStats {
  static constexpr std::size_t kOpcodes = 64;

  stats::Counter ring_entries;  // gauge
  stats::Counter io_errors;     // answered with EIO
  stats::Counter copied_bytes, refused, stale_answers, handed_over, nudges, nudges_lost;
  stats::Counter standing_back;  // gauge
  stats::Counter kept_waiting;
  // By FUSE opcode; those above share the first.
  std::array<stats::Counter, kOpcodes> operations;
  std::array<stats::Histogram, kOpcodes> operation_ns;
  stats::Histogram queue_ns, reply_ns;

  static std::size_t slot_of(std::uint32_t opcode) { return opcode < kOpcodes ? opcode : 0; }
  void register_in(stats::Registry& registry);
};

}  // namespace larder
