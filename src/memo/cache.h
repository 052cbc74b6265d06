// SPDX-License-Identifier: Apache-2.0
// Cache: a memo of what is expensive to ask, results that are still being computed included.
//
//   auto ticket = links.get(key, {.waiter = [](const auto& answer) { ... }});
//   if (ticket) share.call(..., [..](Result<Link> link) { links.land(std::move(*ticket), link); });
//
// It never computes: get() answers from what it knows, joins what is being computed, or makes the
// caller the leader of a computation, which must land. A value is shared and constant; a null one
// says "there is none", which is known as well.
//
// Invariants, beside S1 to S4 and F1 to F6 of <larder/flight.h>:
//   M1 get() looks for a computation first, then at what is kept: one that began is the newer
//   M2 a value is kept exactly if its computation succeeded and no invalidation touched its key or
//   a
//      prefix of it since it began. Keeping it and leaving the table of flights are one step
//   M3 invalidate(prefix) removes what is kept below the prefix and bars what is being computed
//      there, in one step; the empty key is a prefix of all
//   M4 a hook runs once for each value that it was attached to: when that is invalidated, evicted,
//      replaced, or was not kept; before the waiters of a value that was not kept are told
//   M5 the weight of all that is kept is at most the capacity; the least recently found goes first
//   M6 with Verify, a find is no answer but a computation, and what it brings is compared with what
//      was kept; where they differ, the entry goes and `stale` is counted
//
// The capacity is the one given, times the factor of size_factor.h. Hits, misses and the rest are
// registered under the cache's name when it is made.
//
// Thread: any. Waiters and hooks run on the thread that calls, with no lock held.
#pragma once

#include <absl/container/btree_map.h>
#include <larder/stats.h>

#include <boost/intrusive/list.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "memo/cache_counters.h"
#include "memo/flights.h"
#include "memo/size_factor.h"

namespace larder::memo {

enum class Verify : std::uint8_t {
  kNo,
  kServe,   // who asked gets what was computed anew
  kRefuse,  // who asked gets kStale where it differs from what was kept
};

template <class Value>
class Cache {
 public:
  using Kept = std::shared_ptr<const Value>;  // null: there is none
  using Answer = Result<Kept>;
  using Waiter = Callback<const Answer&>;

  struct Options {
    std::string name;  // of the counters: "links" makes memo.links.hits
    std::size_t capacity =
        1024;  // in what `weigh` counts; 0: nothing is kept, computations are shared
    std::function<std::size_t(const Value&)> weigh = {};  // at least 1 counts; empty: 1 each
    std::function<bool(const Kept&)> keeps = {};          // empty: everything is worth keeping
    std::function<bool(const Value&, const Value&)> equal = {};  // for Verify
    std::function<void(const TreeKey&)> on_stale = {};           // a mismatch; no lock is held
  };

  // One question.
  struct Ask {
    Waiter waiter;
    // What is kept counts only if this says so (its age, for example); empty: it does. Called with
    // the lock held.
    std::function<bool(const Kept&)> accept = {};
    Hook hook = nullptr;
  };

  class Ticket {
   public:
    Ticket(Ticket&&) noexcept = default;
    Ticket& operator=(Ticket&&) noexcept = default;
    ~Ticket() {
      if (cache_ != nullptr) cache_->land(std::move(*this), fail(ErrorCode::kCancelled));
    }
    const TreeKey& key() const { return flight_.key(); }
    const SequenceGuard::Stamp& stamp() const { return flight_.stamp(); }

   private:
    friend class Cache;
    struct Forget {
      void operator()(Cache*) const {}
    };
    using FlightTicket = typename Flights<TreeKey, Kept>::Ticket;
    Ticket(Cache* cache, FlightTicket flight, std::optional<Kept> suspect)
        : cache_(cache), flight_(std::move(flight)), suspect_(std::move(suspect)) {}
    std::unique_ptr<Cache, Forget> cache_;
    FlightTicket flight_;
    std::optional<Kept> suspect_;  // M6: what was kept when this was asked
  };

  // `guard` outlives the cache; caches that share one are invalidated together by its number, but
  // each drops its own.
  Cache(SequenceGuard& guard, Options options)
      : guard_(guard),
        options_(std::move(options)),
        capacity_(scaled(options_.capacity)),
        flights_(guard) {}
  ~Cache() { clear(); }
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  void register_in(stats::Registry& registry) const {
    counters_.register_in(registry, "memo." + options_.name);
  }
  void set_verify(Verify verify) { verify_.store(verify); }

  // Answers the waiter before it returns, or later; a ticket makes the caller the leader.
  [[nodiscard]] std::optional<Ticket> get(const TreeKey& key, Ask ask) {
    Kept found;
    {
      const MutexLock lock(mutex_);
      if (!find_locked(key, ask, found)) return join_locked(key, std::move(ask));
    }
    std::move(ask.waiter)(Answer(std::move(found)));
    return std::nullopt;
  }

  // What is kept, where that will do: for those who have to make ready before they wait.
  std::optional<Kept> find(const TreeKey& key,
                           const std::function<bool(const Kept&)>& accept = {}) {
    Ask ask{.waiter = nullptr, .accept = accept};
    Kept found;
    const MutexLock lock(mutex_);
    if (!find_locked(key, ask, found)) return std::nullopt;
    return found;
  }

  // Many at once: the tickets of those that are neither kept nor being computed, for ONE question
  // to the share; each can be joined from now on. `waiter` is told all answers, in the order of
  // `keys`, when the last is there.
  using BulkWaiter = Callback<std::vector<Answer>>;
  [[nodiscard]] std::vector<Ticket> get_many(std::span<const TreeKey> keys, BulkWaiter waiter,
                                             const std::function<bool(const Kept&)>& accept = {}) {
    struct Gathering {
      std::vector<Answer> answers;
      std::atomic<std::size_t> missing;
      BulkWaiter waiter;
      void arrived() {
        if (missing.fetch_sub(1) == 1) std::move(waiter)(std::move(answers));
      }
    };
    auto gathering = std::make_shared<Gathering>();
    gathering->answers.resize(keys.size());
    gathering->missing.store(keys.size() + 1);  // one is ours, until all were looked for
    gathering->waiter = std::move(waiter);
    std::vector<Ticket> missing;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      auto ticket = get(keys[i], {.waiter =
                                      [gathering, i](const Answer& answer) {
                                        gathering->answers[i] = answer;
                                        gathering->arrived();
                                      },
                                  .accept = accept});
      if (ticket) missing.push_back(std::move(*ticket));
    }
    gathering->arrived();
    return missing;
  }

  // Keeps, if nothing came in between, and tells all who wait. False: it was not kept.
  bool land(Ticket ticket, Answer answer) {
    (void)ticket.cache_.release();
    Gone gone;
    const TreeKey key = ticket.key();
    const bool stale = answer && ticket.suspect_ && !same(*ticket.suspect_, *answer);
    bool kept = false;
    auto arrival = [&] {
      const MutexLock lock(mutex_);
      auto arrived = flights_.arrive(std::move(ticket.flight_));
      // M6: it was a find that turned out to be wrong.
      if (stale) remove_locked(key, gone);
      kept = answer && arrived.unchanged() && keep_locked(key, *answer, arrived.hooks(), gone);
      return arrived;
    }();
    if (stale) {
      counters_.stale.add();
      if (options_.on_stale) options_.on_stale(key);
      if (verify_.load() == Verify::kRefuse) answer = fail(ErrorCode::kStale);
    }
    run_hooks(gone);
    if (!kept) arrival.hooks().run();
    arrival.tell(std::as_const(answer));
    return kept;
  }

  // The answer to a question of many: a key that the share did not mention has none; an error is
  // that of all.
  void land_many(std::vector<Ticket> tickets, Result<absl::flat_hash_map<TreeKey, Kept>> answers) {
    for (Ticket& ticket : tickets) {
      if (!answers) {
        land(std::move(ticket), fail(answers.error()));
        continue;
      }
      const auto found = answers->find(ticket.key());
      land(std::move(ticket), found == answers->end() ? nullptr : found->second);
    }
  }

  // Puts in what is known without asking. What is being computed of it is not kept.
  void prefill(const TreeKey& key, Kept value, Hook hook = nullptr) {
    Gone gone;
    Hooks hooks;
    hooks.add(std::move(hook));
    bool kept = false;
    {
      const MutexLock lock(mutex_);
      guard_.invalidate(key);
      kept = keep_locked(key, std::move(value), hooks, gone);
    }
    run_hooks(gone);
    if (!kept) hooks.run();
  }

  void invalidate(const TreeKey& prefix) {
    Gone gone;
    {
      const MutexLock lock(mutex_);
      guard_.invalidate(prefix);
      for (auto at = kept_.lower_bound(prefix); at != kept_.end() && at->first.begins_with(prefix);)
        at = remove_locked(at, gone);
    }
    counters_.invalidated.add(gone.size());
    run_hooks(gone);
  }
  void clear() { invalidate(TreeKey()); }

  // For a computation that reads from other caches: attached there, it takes this key's entry along
  // when theirs goes.
  Hook invalidator(const TreeKey& key) {
    return make_hook([this, key] { invalidate(key); });
  }

  // What is kept, whatever its age. Counts as no use.
  std::optional<Kept> peek(const TreeKey& key) const {
    const MutexLock lock(mutex_);
    const auto at = kept_.find(key);
    if (at == kept_.end()) return std::nullopt;
    return at->second->value;
  }

  // Lets go of the least recently found until `weight` of it is gone, or all.
  void shed(std::size_t weight) {
    Gone gone;
    {
      const MutexLock lock(mutex_);
      const std::size_t goal = weight_ > weight ? weight_ - weight : 0;
      shrink_locked(goal, gone);
    }
    run_hooks(gone);
  }
  std::size_t weight() const {
    const MutexLock lock(mutex_);
    return weight_;
  }
  const CacheCounters& counters() const { return counters_; }

 private:
  struct Entry : boost::intrusive::list_base_hook<> {
    explicit Entry(const TreeKey& k) : key(k) {}
    const TreeKey key;
    Kept value;
    std::size_t weight = 0;
    Hooks hooks;
  };
  using Gone = std::vector<std::unique_ptr<Entry>>;  // to be told without the lock
  using Map = absl::btree_map<TreeKey, std::unique_ptr<Entry>>;

  bool find_locked(const TreeKey& key, Ask& ask, Kept& found) REQUIRES(mutex_) {
    if (verify_.load() != Verify::kNo || flights_.joinable(key)) return false;  // M6, M1
    const auto at = kept_.find(key);
    if (at == kept_.end() || (ask.accept && !ask.accept(at->second->value))) return false;
    Entry& entry = *at->second;
    counters_.hits.add();
    used_.splice(used_.end(), used_, used_.iterator_to(entry));
    entry.hooks.add(std::move(ask.hook));
    found = entry.value;
    return true;
  }

  std::optional<Ticket> join_locked(const TreeKey& key, Ask ask) REQUIRES(mutex_) {
    auto flight = flights_.join(key, std::move(ask.waiter), std::move(ask.hook));
    (flight ? counters_.misses : counters_.joined).add();
    if (!flight) return std::nullopt;
    std::optional<Kept> suspect;
    const auto at = kept_.find(key);
    if (verify_.load() != Verify::kNo && at != kept_.end() &&
        (!ask.accept || ask.accept(at->second->value)))
      suspect = at->second->value;
    return Ticket(this, std::move(*flight), std::move(suspect));
  }

  // Takes the hooks along if it keeps the value.
  bool keep_locked(const TreeKey& key, Kept value, Hooks& hooks, Gone& gone) REQUIRES(mutex_) {
    const std::size_t weight =
        value && options_.weigh ? std::max<std::size_t>(options_.weigh(*value), 1) : 1;
    if (weight > capacity_ || (options_.keeps && !options_.keeps(value))) return false;
    remove_locked(key, gone);
    shrink_locked(capacity_ - weight, gone);
    auto entry = std::make_unique<Entry>(key);
    entry->value = std::move(value);
    entry->weight = weight;
    entry->hooks = std::exchange(hooks, {});
    weight_ += weight;
    used_.push_back(*entry);
    kept_.emplace(key, std::move(entry));
    counters_.weight.set(weight_);
    counters_.entries.set(kept_.size());
    return true;
  }
  void shrink_locked(std::size_t goal, Gone& gone) REQUIRES(mutex_) {
    while (weight_ > goal) {
      counters_.evicted.add();
      remove_locked(used_.front().key, gone);
    }
  }
  void remove_locked(const TreeKey& key, Gone& gone) REQUIRES(mutex_) {
    if (const auto at = kept_.find(key); at != kept_.end()) remove_locked(at, gone);
  }
  typename Map::iterator remove_locked(typename Map::iterator at, Gone& gone) REQUIRES(mutex_) {
    Entry& entry = *at->second;
    weight_ -= entry.weight;
    used_.erase(used_.iterator_to(entry));
    gone.push_back(std::move(at->second));
    const auto next = kept_.erase(at);
    counters_.weight.set(weight_);
    counters_.entries.set(kept_.size());
    return next;
  }
  static void run_hooks(Gone& gone) {
    for (const auto& entry : gone) entry->hooks.run();
  }
  bool same(const Kept& a, const Kept& b) const {
    if (!a || !b) return a == b;
    return !options_.equal || options_.equal(*a, *b);
  }

  SequenceGuard& guard_;
  const Options options_;
  const std::size_t capacity_;
  mutable CacheCounters counters_;
  std::atomic<Verify> verify_{Verify::kNo};
  mutable Mutex mutex_{Rank::kMemo};
  Flights<TreeKey, Kept> flights_;
  Map kept_ GUARDED_BY(mutex_);
  boost::intrusive::list<Entry> used_ GUARDED_BY(mutex_);  // least recently found first
  std::size_t weight_ GUARDED_BY(mutex_) = 0;
};

}  // namespace larder::memo
