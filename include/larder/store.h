// SPDX-License-Identifier: Apache-2.0
// Store: the single backing file. Floor 4: keeps objects, names and pages; knows no cookie and no
// share.
//
// It is a cache of a share, so it may forget anything at any time and must never return a byte that
// was not put there: each page has a CRC32C in its extent's record, checked on every read. A fault
// of any kind makes a miss.
//
// Invariants (src/store/store_check.cc checks them; tests cite the numbers):
//   1. Every block of the data area is in exactly one of: free, waiting to be freed (or quarantined
//      until the store is opened anew), one extent, one fill in flight.
//   2. A block is overwritten only while it is in no extent that any durable record names.
//   3. A freed block becomes free only when the record that dropped it is durable and no reader or
//      I/O in flight uses it.
//   4. Extents of one object do not overlap; every page of an extent has a sum.
//   5. Replaying any prefix of the journal behind the checkpoint gives a store in which 1 to 4
//      hold, and in which each object's pages belong to the version that its aux data names.
//   6. The file never grows beyond the size it was given, by st_size or by st_blocks.
//   7. While a write session is open on an object, the durable record of its pages is that of
//      before, or that its mark made them obsolete; never what was written in the session.
//
// Thread: every call from any thread, except where it says otherwise.
#pragma once

#include <larder/clock.h>
#include <larder/device.h>
#include <larder/io_engine.h>
#include <larder/records.h>
#include <larder/result.h>
#include <larder/stats.h>
#include <larder/units.h>
#include <larder/work_queue.h>

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace larder::store {

class Store;

// An object of the store, in memory; opaque above this floor. Held by ObjectRef, it stays valid
// after retire(): then it has no pages and takes none.
class Object;
void intrusive_ptr_add_ref(Object* object);
void intrusive_ptr_release(Object* object);
using ObjectRef = boost::intrusive_ptr<Object>;

// Who commits: a thread of the store's own, or whoever calls sync() (simulations: no threads at
// all).
enum class CommitBy : std::uint8_t { kThread, kSync };

// When pages go, in percent of the data area that is free, as FS-Cache has it: below `cull` what is
// oldest goes until `run` are free; below `stop` nothing new is taken.
struct Culling {
  unsigned run = 10, cull = 7, stop = 3;
  bool makes_sense() const { return stop < cull && cull < run && run < 100; }
};

// Whether a commit waits for its interval to pass, or goes at once and takes along who waits.
enum class Urgency : std::uint8_t { kLazy, kEager };

// kIgnored: for measuring what the check costs.
enum class Sums : std::uint8_t { kChecked, kIgnored };

struct Options {
  Nanoseconds commit_ns = 500 * kMillisecond;  // commit=: what is older than this survives kill -9
  Culling culling = {};
  // A read that is with the device for longer makes new reads go past the store; 0: never.
  Nanoseconds deadline_ns = 10 * kSecond;
  // Memory of the index; where it needs more, what is oldest goes. 0: no bound of its own.
  ByteCount index_memory{0};
  // Bytes of fills in flight; above, a fill is dropped and counted.
  ByteCount fill_limit{64u << 20};
  CommitBy commit_by = CommitBy::kThread;
  // Bytes of a checkpoint that are written before the next commit has its turn.
  ByteCount checkpoint_step{8u << 20};
  Sums sums = Sums::kChecked;
  // What was not used for that long is gone: a read misses it at once, and it is purged soon. 0:
  // never.
  Nanoseconds expire_ns = 0;
  // What the disk below keeps free: where others fill it, what goes next is evicted and given back,
  // and nothing is filled that would take from it. 0: no bound.
  ByteCount min_free{0};
};

enum class State : std::uint8_t {
  kOpen,
  // A write or flush failed: nothing is read or written, every call is a miss. It is tried again,
  // and open where that went well.
  kBypass,
  kClosed,
};

struct Counters {
  stats::Counter reads, read_bytes, misses, sum_errors, sum_reads, read_errors;
  stats::Counter fills, fill_bytes, fills_dropped_full, fills_dropped_stale, fill_errors,
      fill_in_flight_bytes;
  stats::Counter zero_pages, evicted_extents, evicted_bytes, evicted_names, quarantined_bytes;
  stats::Counter commits, flushes, journal_bytes, checkpoints, checkpoint_bytes, replayed_records,
      discarded_records;
  stats::Counter objects, names, extents;  // gauges
  stats::Counter bypasses, returns, no_room, hangs;
  stats::Counter resizes, moved_bytes;
  stats::Counter expired_extents, expired_bytes, given_back_bytes, fills_dropped_disk;
  stats::Counter disk_free_bytes, pinned_objects;                                    // gauges
  stats::Counter capacity_bytes, used_bytes, waiting_bytes;                          // gauges
  stats::Counter index_bytes, free_runs, largest_free_bytes, fragmentation_percent;  // gauges
  void register_in(stats::Registry& registry);
};

// One read from the device that a plan asks for: `pages` pages from `at` in the file into `into`.
struct ReadSegment {
  ByteOffset at;
  std::span<std::byte> into;
};

// What serves a run of pages: reads to be done by whoever has the ring or the thread, then
// verified. No allocation: a plan that is full covers less, and the caller plans again behind it.
class ReadPlan {
 public:
  static constexpr std::size_t kMaxSegments = 24;
  static constexpr std::size_t kMaxPages = 320;  // that are not zeros: 1 MiB at any alignment
  ReadPlan() = default;
  ~ReadPlan();  // REQUIRES: finish_read() was called if covered() is not 0
  ReadPlan(const ReadPlan&) = delete;
  ReadPlan& operator=(const ReadPlan&) = delete;

  // How many pages from the first asked are served; 0: a miss.
  PageCount covered() const { return covered_; }
  std::span<const ReadSegment> segments() const { return {segments_.data(), count_}; }

 private:
  friend class Store;
  std::array<ReadSegment, kMaxSegments> segments_;
  std::array<std::uint32_t, kMaxSegments> pins_;
  std::array<std::uint64_t, kMaxSegments> blocks_;
  std::array<PageIndex, kMaxSegments> first_pages_;
  // As they were when the pages were pinned, one behind the other. Not set before it is needed.
  std::array<std::uint32_t, kMaxPages> sums_;
  std::size_t count_ = 0;
  PageCount covered_{};
  Object* object_ = nullptr;  // a reference is held from plan to finish
};

struct ColdRun;  // src/store/store_impl.h

// A read that waits for the device without a thread. Owned by the caller until `done`.
struct StoreRead {
  ObjectRef object;
  PageRange range{};
  std::span<std::byte> into;  // page-aligned; holds the range
  ReadMode mode = ReadMode::kBuffered;
  // Called once, on the thread that started the read where that has a ring, else on an engine's;
  // must not block. `served` pages from the first were read and verified; fewer than asked: a miss.
  void (*done)(StoreRead& self, PageCount served) = nullptr;

  // The store's.
  struct Part : IoRequest {
    StoreRead* read = nullptr;
  };
  Store* store = nullptr;
  ReadPlan plan;
  std::array<Part, ReadPlan::kMaxSegments> parts;
  std::atomic<std::size_t> outstanding{0};
  std::atomic<int> sys_errno{0};
  PageCount got{};
  unsigned sum_loads = 0;
};

// A run of fetched pages on its way into the store. Owned by the caller until `done`.
//
// Until `done`, reads see what was there before: who overwrites pages drops them first. A drop,
// truncate, or later fill of any of the same pages revokes a fill in flight (kStale). What a fill
// could not put in place is not cached afterwards, whatever was there before. Outside a session
// only pages of the object's present size are kept: where `file_size` is another one, none from the
// first byte on that either lacks.
struct Fill {
  ObjectRef object;
  // Of the object, when the bytes were known to be its current version.
  std::uint64_t generation = 0;
  PageIndex first{};
  std::span<const std::byte> data;  // whole pages, page-aligned; a tail page is padded with zeros
  ByteCount file_size{};            // at which a tail page is valid
  // Called once, on an engine's or the machine's thread; must not block. kStale: the generation has
  // passed; kStoreFull: no room or too many bytes in flight; kStoreIo. After success the pages are
  // readable at once and durable behind the next commit.
  void (*done)(Fill& self, Status status) = nullptr;

  void* internal = nullptr;  // the store's
};

class Store {
 public:
  // Opens what lies on `device`, creating a store where there is none (all zero, or an older
  // format). Time does not grow with the size of the data. Blocks; for set-up.
  static SetUp<std::unique_ptr<Store>> open(Device device, Options options, IoEngine& engine,
                                            WorkQueue& machine, const Clock& clock, Seed seed);
  ~Store();  // REQUIRES: close() was called, no fill is in flight, no plan unfinished

  // Commits, writes a checkpoint and stops the committer. Later calls are misses, and so is what
  // fills in flight were about to add. Blocks.
  void close();

  State state() const;
  Counters& counters();
  std::string uuid() const;
  ByteCount capacity() const;  // of the data area
  ByteCount size() const;      // that it was given
  // One line per fact, for `status`.
  std::string to_text() const;

  // Evicts, what goes next first, until `wanted` is free, or all is gone. Returns how much is free
  // now, a commit later at the latest. Blocks; never on a request thread.
  ByteCount make_room(ByteCount wanted);
  // Lets go of what has expired now, instead of soon. Returns how much that was. Blocks.
  ByteCount purge();
  // Lets go of all pages, names and values, pinned ones too; objects stay. Returns, when the reads
  // of before have let go of their blocks, how much that was. Blocks; never on a request thread.
  ByteCount clear();
  // Gives it another size, while all goes on. What lies behind a new end moves to free room in
  // front of it; where there is too little of that, what goes next is evicted first. Returns a line
  // that says what became of it. Errors: kInvalid (too small, or larger than its device), kStoreIo;
  // each with its line, and the store as it was. A crash leaves it with the one size or the other.
  // Blocks; never on a request thread.
  SetUp<std::string> resize(ByteCount size);
  // Makes everything of before this call durable. Lazy: with the next commit that comes about,
  // after `commit_ns` at the latest. Blocks; never on a request thread.
  Status sync(Urgency urgency = Urgency::kEager);

  // -- objects ----------------------------------------------------------------------------------
  ObjectRef root();
  // Errors: kNotFound, kStoreIo (bypass).
  Result<ObjectRef> find(const ObjectRef& parent, std::span<const std::byte> key);
  // Errors: kInvalid (length of key or aux), kStale (parent retired, or the key exists),
  // kStoreFull, kStoreIo.
  Result<ObjectRef> create(const ObjectRef& parent, ObjectType type, std::span<const std::byte> key,
                           std::span<const std::byte> aux, ByteCount size);
  ObjectRecord record(const ObjectRef& object) const;
  // New aux data and size; the pages stay, but for those beyond the size and for a tail page that
  // was filled at another. For a version that differs by our own doing only.
  void update(const ObjectRef& object, std::span<const std::byte> aux, ByteCount size);
  // New aux data and size; all pages go, the generation grows: one record. Fills of before are
  // refused. Ends a write session: there is nothing left that it could be about.
  void invalidate(const ObjectRef& object, std::span<const std::byte> aux, ByteCount size);
  // It and all below it are gone. REQUIRES: not the root.
  void retire(const ObjectRef& object);
  // To another place; what lay there is retired. Errors: kStale (object or parent retired),
  // kInvalid (key length; it would lie below itself, or replace what it lies below), kStoreIo.
  Status rename(const ObjectRef& object, const ObjectRef& new_parent,
                std::span<const std::byte> new_key);

  // Its pages are not evicted, and do not expire, for as long as others can go; across restarts.
  enum class Pinning : std::uint8_t { kFree, kPinned };
  void set_pinning(const ObjectRef& object, Pinning pinning);
  Pinning pinning(const ObjectRef& object) const;

  // -- scan -------------------------------------------------------------------------------------
  struct Scanned {
    ObjectRef object;
    PageRange range;
    ByteOffset at;  // in the file
  };
  // All runs of pages that lie in blocks, of the objects that `wanted` takes (null: of all), as
  // they are at one moment, in the order of the file, as a disk likes it. Ends when `visit` says
  // false. Both are called without a lock; what is told may have gone meanwhile.
  void scan(const std::function<bool(const ObjectRef&)>& wanted,
            const std::function<bool(const Scanned&)>& visit);

  // -- values: one for each object, opaque here --------------------------------------------------
  // Like names they are metadata: evicted apart from pages, and gone with their object. An empty
  // value takes it away; one that is too long is not kept, and neither is what was there before.
  void put_value(const ObjectRef& object, const StoredValue& value);
  std::optional<StoredValue> find_value(const ObjectRef& object) const;

  // -- names of directory objects: 1 to 255 bytes -----------------------------------------------
  void put_name(const ObjectRef& directory, std::string_view name, const NameRecord& record);
  void remove_name(const ObjectRef& directory, std::string_view name);
  void move_name(const ObjectRef& from, std::string_view name, const ObjectRef& to,
                 std::string_view new_name);
  std::optional<NameRecord> find_name(const ObjectRef& directory, std::string_view name) const;
  void for_each_name(const ObjectRef& directory,
                     const std::function<void(std::string_view, const NameRecord&)>& visit) const;

  // -- pages of data objects --------------------------------------------------------------------
  std::uint64_t generation(
      const ObjectRef& object) const;  // of its content in this run; never goes back
  PageCount cached_pages(const ObjectRef& object) const;
  // The runs within `range` that are not cached, in order.
  std::vector<PageRange> missing(const ObjectRef& object, PageRange range) const;

  // The warm read in three steps: plan, the caller's I/O, finish. `into` is page-aligned and holds
  // the range. Zero pages are written by plan itself. No allocation; no waiting, except for sums
  // that have left memory: who must not wait uses read_at_once() and start_read().
  void plan_read(const ObjectRef& object, PageRange range, std::span<std::byte> into,
                 ReadPlan& plan);
  // Checks every page and lets the extents go. Any error means that none of the pages may be used:
  // kStoreSum (quarantined, will be refetched), kStoreIo (when `io` was an error).
  Status finish_read(ReadPlan& plan, Status io);
  // The three steps on this thread with IoEngine::read_now. How many pages from the first were read
  // and verified; 0 is a miss.
  PageCount read_now(const ObjectRef& object, PageRange range, std::span<std::byte> into,
                     ReadMode wanted = ReadMode::kBuffered);
  // The same as far as it goes without waiting for the device.
  struct AtOnce {
    PageCount served{};       // from the first; all of them are read and verified
    bool would_wait = false;  // there is more, at the device
  };
  AtOnce read_at_once(const ObjectRef& object, PageRange range, std::span<std::byte> into,
                      ReadMode wanted);
  // Is start_read() no hand-off from here, and waiting out of place? (IoEngine's word for it.)
  bool reads_on_this_ring() const;
  // The rest: several extents are several reads at once.
  void start_read(StoreRead& read);

  void fill(Fill& fill);
  // These pages are no longer cached.
  void drop(const ObjectRef& object, PageRange range);
  // The file is now `size` bytes long: pages beyond go, and the page in which it ends.
  void truncate(const ObjectRef& object, ByteCount size);

  // -- write sessions ----------------------------------------------------------------------------
  // From here on, changes of this object's pages enter no record; a session mark does, lazily.
  void begin_session(const ObjectRef& object);
  // Records identity and pages as they are now: one commit makes both durable.
  void end_session(const ObjectRef& object, std::span<const std::byte> aux, ByteCount size);

  struct Impl;  // src/store/store_impl.h; the check reads it

 private:
  friend std::vector<std::string> check_store(Store& store);
  void drop_plan(ReadPlan& plan);
  void go_on(StoreRead& read);
  void load_sums(StoreRead& read, const ColdRun& cold);
  void part_done(StoreRead& read);
  friend void read_all_pages(Store& store,
                             const std::function<bool(ByteCount, ByteCount)>& progress);
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace larder::store
