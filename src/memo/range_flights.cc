// SPDX-License-Identifier: Apache-2.0
#include "memo/range_flights.h"

#include <algorithm>
#include <utility>

namespace larder::memo {

void RangeFlights::cover(PageRange range, std::uint64_t version, std::vector<FlightRef>& joined,
                         std::vector<PageRange>& gaps) const {
  const std::size_t first_joined = joined.size();
  for (const FlightRef& flight : flights_) {
    if (flight->joinable && flight->version == version && !intersect(flight->range, range).empty())
      joined.push_back(flight);
  }
  std::sort(joined.begin() + static_cast<std::ptrdiff_t>(first_joined), joined.end(),
            [](const FlightRef& a, const FlightRef& b) { return a->range.first < b->range.first; });
  PageIndex at = range.first;
  for (std::size_t i = first_joined; i < joined.size(); ++i) {
    const PageRange covered = intersect(joined[i]->range, range);
    if (at < covered.first) gaps.push_back({at, covered.first - at});
    at = covered.end();
  }
  if (at < range.end()) gaps.push_back({at, range.end() - at});
}

FlightRef RangeFlights::begin(PageRange range, std::uint64_t version) {
  FlightRef flight(new Flight(range, version));
  flights_.push_back(flight);
  return flight;
}

void RangeFlights::taint(PageRange range) {
  for (const FlightRef& flight : flights_) {
    if (intersect(flight->range, range).empty()) continue;
    flight->keep = false;
    flight->joinable = false;
  }
}

void RangeFlights::taint_all() {
  for (const FlightRef& flight : flights_) {
    flight->keep = false;
    flight->joinable = false;
  }
}

std::vector<Flight::Waiter*> RangeFlights::land(Flight& flight,
                                                std::shared_ptr<const AlignedBuffer> bytes,
                                                ByteCount valid) {
  check(!flight.landed, "a flight lands once");
  flight.landed = true;
  flight.bytes = std::move(bytes);
  flight.valid = valid;
  return std::exchange(flight.waiters, {});
}

std::vector<Flight::Waiter*> RangeFlights::fail(Flight& flight, Error error) {
  check(!flight.landed, "a flight lands once");
  flight.landed = true;
  flight.joinable = false;  // a failure is not kept: who comes next tries again
  flight.error = error;
  return std::exchange(flight.waiters, {});
}

void RangeFlights::remove(const Flight& flight) {
  std::erase_if(flights_, [&](const FlightRef& f) { return f.get() == &flight; });
}

}  // namespace larder::memo
