// SPDX-License-Identifier: Apache-2.0
#include "memo/flights.h"

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "memo/run_seed.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::memo;
using namespace larder::test;

namespace {

using Names = Flights<TreeKey, int>;
const TreeKey kKey = TreeKey::of(7u, "names");
const Error kGone{ErrorCode::kShareAway, 0};

// A waiter that keeps what it was told.
auto into(std::vector<Result<int>>& told) {
  return [&told](const Result<int>& result) { told.push_back(result); };
}

}  // namespace

TEST_CASE("the first caller leads, the others join, and all are told in the order of joining") {
  SequenceGuard guard;
  Names flights(guard);
  std::vector<int> order;
  const auto waiter = [&order](int who) {
    return [&order, who](const Result<int>& result) { order.push_back(who * 100 + *result); };
  };
  auto ticket = flights.join(kKey, waiter(1));
  REQUIRE(ticket);
  CHECK(ticket->key() == kKey);
  CHECK_FALSE(flights.join(kKey, waiter(2)));
  CHECK_FALSE(flights.join(kKey, waiter(3)));
  CHECK(order.empty());
  CHECK(flights.land(std::move(*ticket), 5));
  CHECK(order == std::vector<int>{105, 205, 305});
  CHECK(flights.counts().begun == 1);
  CHECK(flights.counts().joined == 2);
  CHECK(flights.counts().in_flight == 0);
}

TEST_CASE("other keys fly on their own") {
  SequenceGuard guard;
  Names flights(guard);
  std::vector<Result<int>> a, b;
  auto first = flights.join(TreeKey::of(1u), into(a));
  auto second = flights.join(TreeKey::of(2u), into(b));
  REQUIRE((first && second));
  flights.land(std::move(*second), 2);
  CHECK(a.empty());
  flights.land(std::move(*first), 1);
  CHECK(a.at(0).value() == 1);
  CHECK(b.at(0).value() == 2);
}

TEST_CASE("a failure is told to all and kept by none") {
  SequenceGuard guard;
  Names flights(guard);
  std::vector<Result<int>> told;
  auto ticket = flights.join(kKey, into(told));
  CHECK_FALSE(flights.join(kKey, into(told)));
  flights.land(std::move(*ticket), fail(kGone));
  REQUIRE(told.size() == 2);
  CHECK(told[0].error() == kGone);
  CHECK(told[1].error() == kGone);
  auto next = flights.join(kKey, into(told));
  REQUIRE(next);
  flights.land(std::move(*next), 1);
  CHECK(told.back().value() == 1);
}

TEST_CASE(
    "a caller behind an invalidation leads a flight of its own, and the older one lands for its "
    "own") {
  SequenceGuard guard;
  Names flights(guard);
  std::vector<Result<int>> old_told, new_told;
  auto old_ticket = flights.join(kKey, into(old_told));
  guard.invalidate(TreeKey::of(7u));  // a prefix
  auto new_ticket = flights.join(kKey, into(new_told));
  REQUIRE(new_ticket);
  CHECK_FALSE(flights.join(kKey, into(new_told)));
  CHECK(flights.counts().passed_by == 1);

  // The old one lands first: the new one stays joinable.
  CHECK_FALSE(flights.land(std::move(*old_ticket), 1));
  CHECK(old_told.size() == 1);
  CHECK(new_told.empty());
  CHECK_FALSE(flights.join(kKey, into(new_told)));
  CHECK(flights.land(std::move(*new_ticket), 2));
  REQUIRE(new_told.size() == 3);
  for (const Result<int>& result : new_told) CHECK(result.value() == 2);
}

TEST_CASE("an invalidation of another key, or of one below, lets callers join") {
  SequenceGuard guard;
  Names flights(guard);
  std::vector<Result<int>> told;
  auto ticket = flights.join(kKey, into(told));
  guard.invalidate(TreeKey::of(7u, "names", "a.txt"));
  guard.invalidate(TreeKey::of(7u, "data"));
  CHECK_FALSE(flights.join(kKey, into(told)));
  CHECK(flights.land(std::move(*ticket), 1));
  CHECK(told.size() == 2);
}

TEST_CASE("a ticket that is dropped lands as cancelled") {
  SequenceGuard guard;
  Names flights(guard);
  std::vector<Result<int>> told;
  {
    auto ticket = flights.join(kKey, into(told));
    Names::Ticket moved(std::move(*ticket));
    CHECK_FALSE(flights.join(kKey, into(told)));
    ticket.reset();
    CHECK(told.empty());
  }
  REQUIRE(told.size() == 2);
  CHECK(told[1].error() == Error{ErrorCode::kCancelled});
  CHECK(flights.counts().in_flight == 0);
}

TEST_CASE("a waiter may join again, and end the table when it is the last") {
  SequenceGuard guard;
  auto flights = std::make_unique<Names>(guard);
  std::vector<Result<int>> told;
  std::optional<Names::Ticket> again;
  auto ticket = flights->join(kKey, [&](const Result<int>&) {
    again = flights->join(kKey, [&](const Result<int>& result) {
      told.push_back(result);
      flights.reset();
    });
  });
  flights->land(std::move(*ticket), 1);
  REQUIRE(again);
  flights->land(std::move(*again), 2);
  CHECK(told.at(0).value() == 2);
  CHECK(flights == nullptr);
}

namespace file_keys {
struct FileKey {
  std::uint64_t id;
  friend bool operator==(const FileKey&, const FileKey&) = default;
  template <class H>
  friend H AbslHashValue(H hash, const FileKey& key) {
    return H::combine(std::move(hash), key.id);
  }
};
TreeKey tree_key(const FileKey& key) { return TreeKey::of("files", key.id); }
}  // namespace file_keys

TEST_CASE("a key of another type says where in the guard's tree it stands") {
  SequenceGuard guard;
  Flights<file_keys::FileKey, std::string> flights(guard);
  std::vector<std::string> told;
  const auto waiter = [&told](const Result<std::string>& text) { told.push_back(*text); };
  auto old_ticket = flights.join({1}, waiter);
  auto other_ticket = flights.join({2}, waiter);
  guard.invalidate(TreeKey::of("files", 1u));
  auto new_ticket = flights.join({1}, waiter);
  REQUIRE((old_ticket && other_ticket && new_ticket));
  CHECK_FALSE(flights.land(std::move(*old_ticket), "old"));
  CHECK(flights.land(std::move(*other_ticket), "other"));
  CHECK(flights.land(std::move(*new_ticket), "new"));
  CHECK(told == std::vector<std::string>{"old", "other", "new"});
}

namespace {

// The naive model: lists of who waits for what.
struct ModelFlight {
  TreeKey key;
  std::vector<int> callers;
  bool reached = false;  // by an invalidation
  bool in_table = true;  // the latest of its key
};

struct Told {
  int times = 0;
  Result<int> result = fail(ErrorCode::kSystem);
};

class Model {
 public:
  explicit Model(Seed seed) : random_(seed), flights_(guard_) {}

  void step() {
    const std::uint64_t choice = random_.below(10);
    if (choice < 5) {
      join(TreeKey::of(random_.below(2), "names", random_.below(3)));
    } else if (choice < 7) {
      const std::uint64_t what = random_.below(8);
      invalidate(what == 0   ? TreeKey()
                 : what < 3  ? TreeKey::of(random_.below(2))
                 : what == 3 ? TreeKey::of(random_.below(2), "data")
                             : TreeKey::of(random_.below(2), "names", random_.below(3)));
    } else if (!open_.empty()) {
      land(static_cast<std::size_t>(random_.below(open_.size())));
    }
  }

  void finish() {
    while (!open_.empty()) land(0);
    for (const Told& told : told_) REQUIRE(told.times == 1);
    REQUIRE(guard_.nodes() == 0);
    REQUIRE(flights_.counts().in_flight == 0);
  }

  std::uint64_t unkept = 0, kept = 0, joined = 0;

 private:
  void join(const TreeKey& key) {
    const int caller = static_cast<int>(told_.size());
    told_.emplace_back();
    auto ticket = flights_.join(key, [this, caller](const Result<int>& result) {
      Told& told = told_[static_cast<std::size_t>(caller)];
      ++told.times;
      told.result = result;
      order_.push_back(caller);
    });
    for (auto& [flight, its_ticket] : open_) {
      if (flight.key != key || !flight.in_table) continue;
      if (!flight.reached) {
        REQUIRE_FALSE(ticket);
        flight.callers.push_back(caller);
        ++joined;
        return;
      }
      flight.in_table = false;
    }
    REQUIRE(ticket);
    open_.emplace_back(ModelFlight{key, {caller}}, std::move(*ticket));
  }

  void invalidate(const TreeKey& prefix) {
    guard_.invalidate(prefix);
    for (auto& [flight, ticket] : open_) {
      flight.reached = flight.reached || flight.key.begins_with(prefix);
    }
  }

  void land(std::size_t which) {
    auto at = open_.begin() + static_cast<std::ptrdiff_t>(which);
    const ModelFlight flight = std::move(at->first);
    Names::Ticket ticket = std::move(at->second);
    open_.erase(at);
    order_.clear();
    Result<int> expected = fail(kGone);
    const std::uint64_t how = random_.below(8);
    if (how == 0) {
      expected = fail(ErrorCode::kCancelled);
      const Names::Ticket dropped = std::move(ticket);
    } else {
      if (how > 1) expected = ++value_;
      REQUIRE(flights_.land(std::move(ticket), expected) == !flight.reached);
      ++(flight.reached ? unkept : kept);
    }
    REQUIRE(order_ == flight.callers);
    for (const int caller : flight.callers) {
      const Told& told = told_[static_cast<std::size_t>(caller)];
      REQUIRE(told.times == 1);
      REQUIRE(told.result.has_value() == expected.has_value());
      if (expected) {
        REQUIRE(*told.result == *expected);
      } else {
        REQUIRE(told.result.error() == expected.error());
      }
    }
  }

  Random random_;
  SequenceGuard guard_;
  Names flights_;
  std::vector<std::pair<ModelFlight, Names::Ticket>> open_;
  std::deque<Told> told_;
  std::vector<int> order_;
  int value_ = 0;
};

}  // namespace

TEST_CASE("flights agree with lists of who waits for what") {
  const Seed seed = seed_of_run();
  INFO("LARDER_SEED=" << seed.value);
  Model model(seed);
  for (int step = 0; step < 20000; ++step) model.step();
  model.finish();
  CHECK(model.kept > 100);
  CHECK(model.unkept > 100);
  CHECK(model.joined > 100);
}
