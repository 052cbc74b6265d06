// SPDX-License-Identifier: Apache-2.0
// RangeFlights: which pages of one file are being fetched, so that many readers cause one fetch.
//
// A flight is one fetch of a run of pages of one version. It is *joined* by every reader whose
// pages it covers, lands once (with bytes or an error), and stays joinable with its bytes until
// they are in the store (or are known not to get there): so a page is at every moment in flight, in
// the store, or nobody's.
//
// Invariants:
//   1. Joinable flights do not overlap.
//   2. A flight that raced with a change of its pages (`taint`) answers who waits and fills
//      nothing; nobody joins it behind the change.
//   3. Each waiter of a flight is told once, by whoever landed it, outside the lock.
//
// Not thread-safe: guarded by the lock of the file it belongs to. Flights themselves are shared;
// what land() wrote is constant behind it.
#pragma once

#include <larder/buffer.h>
#include <larder/result.h>
#include <larder/units.h>

#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <memory>
#include <vector>

namespace larder::memo {

class Flight : public boost::intrusive_ref_counter<Flight> {
 public:
  // Waits for flights; embedded in a parked request.
  struct Waiter {
    void (*landed)(Waiter& self) = nullptr;  // called once for each flight joined; no lock held
  };

  Flight(PageRange pages, std::uint64_t content_version) : range(pages), version(content_version) {}

  const PageRange range;
  const std::uint64_t version;  // of the content when the flight began

  // Guarded by the file's lock.
  bool keep = true;  // its pages may go to the store
  bool joinable = true;
  bool landed = false;
  std::vector<Waiter*> waiters;

  // Constant once landed.
  std::shared_ptr<const AlignedBuffer> bytes;  // from range.first on; null after an error
  ByteCount valid{};                           // how many of them; zeros behind
  bool ends = false;                           // so does the file, sooner than was thought
  Error error;                                 // when bytes is null
};
using FlightRef = boost::intrusive_ptr<Flight>;

class RangeFlights {
 public:
  // Finds what covers `range` among the joinable flights of `version`: those go to `joined`, the
  // runs of pages that none covers to `gaps`, in order.
  void cover(PageRange range, std::uint64_t version, std::vector<FlightRef>& joined,
             std::vector<PageRange>& gaps) const;

  // REQUIRES: no joinable flight overlaps `range`.
  FlightRef begin(PageRange range, std::uint64_t version);

  // The pages of `range` change: flights over it fill nothing and are joined by nobody.
  void taint(PageRange range);
  // All of them.
  void taint_all();

  // Hands over who waits. The flight stays until remove().
  std::vector<Flight::Waiter*> land(Flight& flight, std::shared_ptr<const AlignedBuffer> bytes,
                                    ByteCount valid);
  std::vector<Flight::Waiter*> fail(Flight& flight, Error error);

  void remove(const Flight& flight);

  bool empty() const { return flights_.empty(); }
  std::size_t size() const { return flights_.size(); }

 private:
  std::vector<FlightRef> flights_;  // few: bounded by read-ahead and readers
};

}  // namespace larder::memo
