// SPDX-License-Identifier: Apache-2.0
// ParkedRead: a read that left its thread, and what it waits for.
//
// Owned by exactly one place at a time: the code that works on it, an operation that waits on the
// object, or the flights that it joined (the last to land gets it).
#pragma once

#include <larder/cookie.h>
#include <larder/reply.h>
#include <larder/store.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "memo/range_flights.h"
#include "vfs/handle.h"
#include "vfs/store_waits.h"

namespace larder {

class Vfs;

struct ParkedRead : memo::Flight::Waiter {
  ParkedRead(Vfs& v, Handle& h, ByteOffset wanted_offset, ByteCount wanted_count,
             Nanoseconds began_ns, Reply r)
      : Waiter{&ParkedRead::landed},
        vfs(v),
        holds(&h),
        handle(h),
        asked_offset(wanted_offset),
        asked_count(wanted_count),
        began_mono_ns(began_ns),
        reply(std::move(r)) {}

  Inode& inode() const { return *handle.inode; }

  void begin_attempt(ByteOffset at, ByteCount clipped, std::uint64_t version) {
    offset = at;
    count = clipped;
    pages = pages_touching(at, clipped);
    generation = version;
    flights.clear();
    aside_ranges.clear();
    outstanding.store(1);
    ++attempts;
  }

  // Where `range` of the file lies in the payload, which begins with the first page of the read.
  std::span<std::byte> payload_of(PageRange range) {
    return reply.payload().subspan(to_bytes(range.first - pages.first).value(),
                                   to_bytes(range.count).value());
  }

  // Copies what flights brought, and ends the read where they show the file to end. True when that
  // was all.
  bool copy_from_flights() {
    std::uint64_t covered = 0;
    for (const memo::FlightRef& flight : flights) {
      const PageRange range = intersect(flight->range, pages);
      const std::uint64_t from = to_bytes(range.first - flight->range.first).value();
      // Zeros behind the last byte too: the file may have grown since by a write further on.
      const std::uint64_t size = to_bytes(range.count).value();
      std::memcpy(payload_of(range).data(), flight->bytes->data() + from, size);
      copied_bytes += size;
      covered += range.count.value();
      if (flight->ends) end_at(to_bytes(flight->range.first).value() + flight->valid.value());
    }
    return covered == pages.count.value();
  }

  void end_at(std::uint64_t end) {
    const std::uint64_t left = end > offset.value() ? end - offset.value() : 0;
    count = ByteCount{std::min(count.value(), left)};
  }

  // The runs of this read's pages that no flight covers; flights are in order and do not overlap.
  std::vector<PageRange> not_in_flights() const {
    std::vector<PageRange> runs;
    PageIndex at = pages.first;
    for (const memo::FlightRef& flight : flights) {
      const PageRange range = intersect(flight->range, pages);
      if (at < range.first) runs.push_back({at, range.first - at});
      at = range.end();
    }
    if (at < pages.end()) runs.push_back({at, pages.end() - at});
    return runs;
  }

  // A flight that this read joined has landed; the last one carries on.
  static void landed(memo::Flight::Waiter& waiter);

  // The operation that this read waits in, knowing its way back.
  struct Waiting : cache::Operation, StoreWaits::Wait {
    Waiting(ParkedRead& r, void (Vfs::*step)(std::unique_ptr<ParkedRead>, cache::Operation*))
        : read(r), then(step) {
      kind = cache::OperationKind::kRead;
      operation = this;
    }
    ParkedRead& read;
    void (Vfs::*then)(std::unique_ptr<ParkedRead>, cache::Operation*);
  };

  static void turn_came(Waiting& waiting, StoreWaits::Turn turn);

  // One of several reads of the store that this read waits for.
  struct FromDisk : store::StoreRead {
    explicit FromDisk(ParkedRead& r) : whose(r) {}
    ParkedRead& whose;
  };

  Vfs& vfs;
  const HandleRef holds;  // the kernel releases it behind the answer, which may be EINTR
  Handle& handle;
  const ByteOffset asked_offset;
  const ByteCount asked_count;
  const Nanoseconds began_mono_ns;
  Reply reply;

  // This attempt: clipped to the file as it is now.
  ByteOffset offset;
  ByteCount count;
  PageRange pages{};
  std::uint64_t generation = 0;
  unsigned attempts = 0;
  std::vector<memo::FlightRef> flights;  // joined, in order
  // Flights that have not landed, or reads of the store; and the hold of who begins them.
  std::atomic<std::size_t> outstanding{1};
  std::vector<std::unique_ptr<FromDisk>> from_disk;
  std::atomic<bool> is_short{false};  // one of these did not bring all
  bool past_store = false;            // its turn there did not come
  std::optional<Waiting> operation;
  std::uint64_t copied_bytes = 0;
  // verify: what the store holds of `pages`, and of which of them.
  std::unique_ptr<AlignedBuffer> aside;
  std::vector<PageRange> aside_ranges;
  std::uint64_t aside_change = 0;  // our own last change of it then
};

}  // namespace larder
