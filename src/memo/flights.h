// SPDX-License-Identifier: Apache-2.0
// Flights: one computation per key, however many callers. Its invariants are F1 to F6 of
// <larder/flight.h>.
//
//   if (auto ticket = flights.join(key, [](const Result<Names>& names) { ... })) {
//     // the leader: asks the share, and on whatever thread the answer comes:
//     guard.keep_if_unchanged(ticket->stamp(), [&] { put names in their place });
//     flights.land(std::move(*ticket), std::move(names));
//   }
//
// A key has a place in the guard's tree: TreeKey tree_key(const Key&), found beside the type of the
// key. The flight belongs to its ticket; the table only points to those that may be joined (F1).
#pragma once

#include <absl/container/flat_hash_map.h>
#include <larder/flight.h>
#include <larder/result.h>
#include <larder/work_queue.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "memo/hooks.h"

namespace larder::memo {

inline const TreeKey& tree_key(const TreeKey& key) { return key; }

struct FlightCounts {
  std::uint64_t begun = 0;
  std::uint64_t joined = 0;     // callers that found a flight
  std::uint64_t passed_by = 0;  // flights that could not be joined any more, for an invalidation
  std::uint64_t in_flight = 0;  // now
};

template <class Key, class Value>
class Flights {
  struct Flight {
    Key key;
    SequenceGuard::Stamp stamp;
    // While it is in the table: the table's.
    std::vector<Callback<const Result<Value>&>> waiters;
    Hooks hooks;
  };

 public:
  using Waiter = Callback<const Result<Value>&>;

  // The leader's promise to land. Moved from, it promises nothing.
  class Ticket {
   public:
    Ticket(Ticket&&) noexcept = default;
    Ticket& operator=(Ticket&& other) noexcept {
      std::swap(flights_, other.flights_);
      std::swap(flight_, other.flight_);
      return *this;
    }
    ~Ticket() {
      if (flight_ != nullptr) flights_->land(std::move(*this), fail(ErrorCode::kCancelled));
    }
    const Key& key() const { return flight_->key; }
    const SequenceGuard::Stamp& stamp() const { return flight_->stamp; }

   private:
    friend class Flights;
    Ticket(Flights* flights, std::unique_ptr<Flight> flight)
        : flights_(flights), flight_(std::move(flight)) {}
    Flights* flights_;
    std::unique_ptr<Flight> flight_;
  };

  // `guard` outlives the flights.
  explicit Flights(SequenceGuard& guard) : guard_(guard) {}
  ~Flights() { check(counts().in_flight == 0, "all flights land before their table ends"); }
  Flights(const Flights&) = delete;
  Flights& operator=(const Flights&) = delete;

  // `waiter` is told the result of the flight. Returns a ticket where the caller leads, and must
  // land, a flight of its own; nothing where there was one to join.
  [[nodiscard]] std::optional<Ticket> join(const Key& key, Waiter waiter, Hook hook = nullptr) {
    const MutexLock lock(mutex_);
    Flight*& joinable = joinable_[key];
    if (joinable != nullptr && guard_.unchanged(joinable->stamp)) {
      joinable->waiters.push_back(std::move(waiter));
      joinable->hooks.add(std::move(hook));
      ++counts_.joined;
      return std::nullopt;
    }
    if (joinable != nullptr) ++counts_.passed_by;
    auto flight = std::make_unique<Flight>(Flight{key, guard_.begin(tree_key(key)), {}, {}});
    flight->waiters.push_back(std::move(waiter));
    flight->hooks.add(std::move(hook));
    joinable = flight.get();
    ++counts_.begun;
    ++counts_.in_flight;
    return Ticket(this, std::move(flight));
  }

  // A flight that nobody can join any more, and whose waiters have not been told.
  class Arrival {
   public:
    bool unchanged() const { return unchanged_; }  // no invalidation has touched its key
    Hooks& hooks() { return flight_->hooks; }
    // The table may end in or after the last waiter's call. No lock is held.
    void tell(const Result<Value>& result) {
      for (Waiter& waiter : flight_->waiters) std::move(waiter)(result);
    }

   private:
    friend class Flights;
    std::unique_ptr<Flight> flight_;
    bool unchanged_ = false;
  };

  // The first half of land(), for those who keep something in between.
  [[nodiscard]] Arrival arrive(Ticket ticket) {
    Arrival arrival;
    arrival.flight_ = std::move(ticket.flight_);
    check(arrival.flight_ != nullptr && ticket.flights_ == this,
          "a flight lands once, where it began");
    const MutexLock lock(mutex_);
    const auto at = joinable_.find(arrival.flight_->key);
    if (at != joinable_.end() && at->second == arrival.flight_.get()) joinable_.erase(at);
    // From here on nobody else knows the flight.
    arrival.unchanged_ = guard_.unchanged(arrival.flight_->stamp);
    arrival.flight_->stamp.reset();
    --counts_.in_flight;
    return arrival;
  }

  // Tells all who joined. False: an invalidation has touched the key since the flight began.
  // The hooks run if so, or if it failed, before the waiters are told.
  bool land(Ticket ticket, Result<Value> result) {
    Arrival arrival = arrive(std::move(ticket));
    if (!arrival.unchanged() || !result) arrival.hooks().run();
    arrival.tell(std::as_const(result));
    return arrival.unchanged();
  }

  // There is one that a caller would join now.
  bool joinable(const Key& key) const {
    const MutexLock lock(mutex_);
    const auto at = joinable_.find(key);
    return at != joinable_.end() && guard_.unchanged(at->second->stamp);
  }

  FlightCounts counts() const {
    const MutexLock lock(mutex_);
    return counts_;
  }

 private:
  SequenceGuard& guard_;
  mutable Mutex mutex_{Rank::kFlight};
  absl::flat_hash_map<Key, Flight*> joinable_ GUARDED_BY(mutex_);
  FlightCounts counts_ GUARDED_BY(mutex_);
};

}  // namespace larder::memo
