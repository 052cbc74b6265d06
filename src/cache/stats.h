// SPDX-License-Identifier: Apache-2.0
// What the cache floor counts. Each counter stands where the path that it counts is; `stats` (the
// kernel's layout, stats.cc) and the registry render the same ones. Thread: any; relaxed.
#pragma once

#include <larder/cookie.h>
#include <larder/stats.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include <larder/backend.h>

namespace larder::cache {

// member, unit, what is counted
#define LARDER_CACHE_COUNTERS(X)                                                               \
  X(cookies_index, kCount, "index cookies acquired")                                           \
  X(cookies_data, kCount, "data cookies acquired")                                             \
  X(cookies_live, kGauge, "cookies that are not relinquished")                                 \
  X(objects_allocated, kCount, "objects made for cookies")                                     \
  X(objects_refused, kCount, "objects not made because their parent is going or gone")         \
  X(objects_available, kCount, "objects that became available")                                \
  X(objects_dead, kCount, "objects that died")                                                 \
  X(objects_live, kGauge, "objects that are not dead")                                         \
  X(check_none, kCount, "look-ups of objects whose netfs has no check of the version")         \
  X(check_okay, kCount, "stored versions found right")                                         \
  X(check_update, kCount, "stored versions found right but in need of new aux data")           \
  X(check_obsolete, kCount, "stored versions found obsolete and deleted")                      \
  X(acquires, kCount, "calls to acquire a cookie")                                             \
  X(acquires_null, kCount, "acquires below no parent")                                         \
  X(acquires_no_cache, kCount, "data cookies acquired while there was no cache")               \
  X(acquires_ok, kCount, "acquires that gave a cookie")                                        \
  X(acquires_no_object, kCount, "data cookies acquired that got no object")                    \
  X(duplicates, kCount, "acquires refused because the key was in use")                         \
  X(lookups, kCount, "look-ups of objects in the store")                                       \
  X(lookups_negative, kCount, "look-ups that found nothing")                                   \
  X(lookups_positive, kCount, "look-ups that found a usable object")                           \
  X(lookups_created, kCount, "objects created in the store")                                   \
  X(lookups_waited, kCount, "look-ups put off because a dying object held the key")            \
  X(lookups_failed, kCount, "look-ups and creations that the store refused")                   \
  X(invalidates, kCount, "calls to invalidate")                                                \
  X(invalidates_run, kCount, "invalidations done by the state machine")                        \
  X(updates, kCount, "calls to update")                                                        \
  X(updates_null, kCount, "updates of no cookie")                                              \
  X(updates_run, kCount, "updates written by the state machine")                               \
  X(relinquishes, kCount, "calls to relinquish")                                               \
  X(relinquishes_null, kCount, "relinquishes of no cookie")                                    \
  X(relinquishes_waited, kCount, "relinquishes that waited for a check of the version to end") \
  X(relinquishes_retired, kCount, "relinquishes that delete what is cached")                   \
  X(renames, kCount, "calls to rename")                                                        \
  X(renames_run, kCount, "renames done in the store")                                          \
  X(renames_failed, kCount, "renames that could not be done: the object was retired instead")  \
  X(ops_pending, kGauge, "operations that wait on their objects")                              \
  X(ops_posted, kCount, "operations handed to a queue")                                        \
  X(ops_completed, kCount, "operations completed")                                             \
  X(events_no_space, kCount, "objects refused for lack of space")                              \
  X(events_stale, kCount, "objects deleted because they were obsolete")                        \
  X(events_retired, kCount, "objects deleted because they were retired")                       \
  X(events_culled, kCount, "objects culled")                                                   \
  X(now_looking_up, kGauge, "calls inside the store to find or create")                        \
  X(now_invalidating, kGauge, "calls inside the store to invalidate")                          \
  X(now_updating, kGauge, "calls inside the store to update")                                  \
  X(now_dropping, kGauge, "calls inside the store to retire or let go")                        \
  X(cookies_special, kCount, "special cookies acquired")                                       \
  X(ops_aborted, kCount, "operations that found their object broken")                          \
  X(ops_over_limit, kCount, "operations refused because too many wait")                        \
  X(enables, kCount, "cookies enabled")                                                        \
  X(disables, kCount, "cookies disabled")                                                      \
  X(rebinds, kCount, "cookies that were given an object again after a pause")                  \
  X(consistency_checks, kCount, "calls to check the consistency of a cookie")                  \
  X(objects_closed, kCount, "idle objects closed to make room for others")                     \
  X(allocs_refused, kCount, "reservations of pages where nothing can be cached")               \
  X(allocs_waiting, kCount, "reservations of pages before the look-up had ended")              \
  X(allocs, kCount, "calls to reserve pages without reading them")                             \
  X(stores_again, kCount, "writes of pages of which one was waiting to be stored")             \
  X(releases_clear, kCount, "releases of pages of which none was waiting to be stored")        \
  X(releases_busy, kCount, "releases refused because a page was being stored")                 \
  X(releases_cancelled, kCount, "writes taken back because their pages were released")         \
  X(objects_swept, kCount, "objects looked at to choose the idle ones that are closed")        \
  X(stores_beyond, kCount, "writes refused because they reach beyond the end of their file")

inline constexpr std::size_t kOperationKinds = 6;

// Of the operations of one kind.
struct KindCounters {
  stats::Counter submitted, refused, waited_look_up, waited_behind, started, no_data, taken_back,
      cancelled;
};

struct Counters {
#define X(member, unit, text) stats::Counter member;
  LARDER_CACHE_COUNTERS(X)
#undef X
  std::array<KindCounters, kOperationKinds> kinds;

  KindCounters& of(OperationKind kind) { return kinds[static_cast<std::size_t>(kind)]; }
  const KindCounters& of(OperationKind kind) const { return kinds[static_cast<std::size_t>(kind)]; }
  std::uint64_t sum(stats::Counter KindCounters::*member) const;

  // As "cache.lookups", and per kind as "cache.read_submitted".
  void register_in(stats::Registry& registry);
};

// Counts up while a call into the store runs.
class During {
 public:
  explicit During(stats::Counter& gauge) : gauge_(gauge) { gauge_.add(); }
  ~During() { gauge_.sub(); }
  During(const During&) = delete;
  During& operator=(const During&) = delete;

 private:
  stats::Counter& gauge_;
};

// The kernel's `stats`, 4.19 layout.
std::string stats_text(const Counters& counters, Backend::Pages pages);

// The kernel's `histogram` with HZ = 250: durations in steps of 4 ms, those of a second and more in
// the last.
class JiffyHistogram {
 public:
  static constexpr std::size_t kHz = 250;
  void record(Nanoseconds duration_ns);
  std::uint64_t at(std::size_t jiffy) const { return rows_[jiffy].load(std::memory_order_relaxed); }

 private:
  std::array<std::atomic<std::uint32_t>, kHz> rows_{};
};

struct Histograms {
  JiffyHistogram object_instantiate;  // look-up began to available
  JiffyHistogram operation_runs;      // one run of a posted operation
  JiffyHistogram object_runs;         // one run of an object's machine
  JiffyHistogram retrieval_delays;    // a read's wait for look-up
  JiffyHistogram retrievals;          // a read from submit to complete
  stats::Histogram fills;             // a fill, the same; in nanoseconds, and not of `histogram`
};

std::string histogram_text(const Histograms& histograms);

}  // namespace larder::cache
