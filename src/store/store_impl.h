// SPDX-License-Identifier: Apache-2.0
// What the parts of a Store share. store.h says what it does; each .cc beside this file does one
// part:
//
//   store.cc    opening and closing       fill.cc      pages on their way in
//   commit.cc   commits, checkpoints      read.cc      the warm read
//   tree.cc     objects                   session.cc   write sessions
//   names.cc    names                     eviction.cc  making room
//   resize.cc   growing and shrinking     expiry.cc    what was not used for long
//   giveback.cc the disk below keeps room
//
// One lock, `mutex`, orders all changes: whoever holds it changes the index and appends the record
// of the change, so the journal's order is the order of the changes, and a checkpoint that is made
// under it is the state behind one certain record. Warm reads do not take it: they take their
// object's own lock, pin what they read and let go. No lock is held over I/O.
//
// How a block comes and goes: free -> fill in flight -> extent -> waiting -> free. It enters an
// extent when its write has been answered; it waits from the moment that the index lets it go until
// the record of that is durable and nobody reads it any more.
#pragma once

#include <larder/store.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "store/allocator.h"
#include "store/checkpoint.h"
#include "store/committer.h"
#include "store/index.h"
#include "store/journal.h"
#include "store/load.h"
#include "store/write_behind.h"

namespace larder::store {

// Blocks that a read found whose sums are not in memory; pinned until these have been read.
struct ColdRun {
  BlockRun run{};
  Pins::Pin pin = Pins::kNone;
  bool empty() const { return run.count == 0; }
};

// A fill from fill() to its `done`.
struct FillJob : FillInFlight, Work {
  struct Piece : IoRequest {
    FillJob* job = nullptr;
    PageRange range;
    std::uint64_t block = kNoBlock;
    std::unique_ptr<std::uint32_t[]> sums;
  };

  Store::Impl* store = nullptr;
  Fill* fill = nullptr;
  std::vector<Piece> pieces;
  std::uint64_t zero_pages = 0;
  bool listed = false;               // in its object's list of fills
  Status early;                      // why it did not even start
  std::atomic<std::size_t> left{0};  // requests
  std::atomic<int> sys_errno{0};     // of a request that failed
};

struct Store::Impl {
  Impl(Device a_device, Options an_options, IoEngine& an_engine, WorkQueue& a_machine,
       const Clock& a_clock, Loaded loaded);
  ~Impl();

  // -- store.cc
  SetUp<bool> start(const Found& found, const std::vector<ObjectRef>& broken_sessions);
  bool is_open() const { return state.load(std::memory_order_acquire) == State::kOpen; }
  // Changes of objects and names are made while the store is bypassed too: it may come back.
  bool takes_changes() const { return state.load(std::memory_order_acquire) != State::kClosed; }
  void gauges_locked() REQUIRES(mutex);

  // -- commit.cc
  std::uint64_t append_locked(const Record& record) REQUIRES(mutex);  // its number
  StepResult commit_step(Access access);
  Status commit_records();
  Status commit_batch(const Journal::Batch& batch);
  bool sweep();
  bool wants_checkpoint();
  Status sync(Urgency urgency);
  enum class Ending : std::uint8_t { kGoesOn, kIsClosed };
  // What was waiting. The image goes where `place` says.
  Journal::Batch start_image(Ending ending, const Layout& place) EXCLUDES(mutex);
  Status begin_checkpoint() EXCLUDES(mutex);
  Status go_on_with_checkpoint(std::uint64_t budget) EXCLUDES(mutex);
  Status write_checkpoint(Ending ending) EXCLUDES(mutex) {
    return write_checkpoint(ending, layout);
  }
  Status write_checkpoint(Ending ending, const Layout& place) EXCLUDES(mutex);
  // For where there is no later try: what sums cannot be read are given up at once.
  Status write_only_checkpoint(Ending ending) EXCLUDES(mutex);
  Status write_superblock() EXCLUDES(mutex);
  void abandon_checkpoint() EXCLUDES(mutex);
  void stop_where_broken_locked() REQUIRES(mutex);  // for debug builds

  // -- degraded.cc
  void enter_bypass(Error error, std::string_view what);
  bool return_is_due() const;
  StepResult return_step();
  void read_was_good();
  void pages_failed(Object& object, const ReadPlan& plan) EXCLUDES(mutex);
  void read_failed(Error error);
  void fill_ended(int sys_errno);
  bool takes_fills();
  bool hangs();
  std::string state_text();

  // -- eviction.cc
  // Takes pages out of the index and records it; their blocks wait.
  void drop_locked(Object& object, PageRange range) REQUIRES(mutex);
  void let_go_locked(const DeadList& dead, std::uint64_t number) REQUIRES(mutex);
  // Evicts until `blocks` have gone, or a few hundred extents.
  std::uint64_t evict_locked(std::uint64_t blocks) REQUIRES(mutex);
  bool evict_one_locked() REQUIRES(mutex);
  // Culls where it is time to. False: there is no room for so many, or less than bstop would stay.
  bool keep_room_locked(std::uint64_t wanted_blocks) REQUIRES(mutex);
  // Goes on with what keep_room_locked() left. True: there is more to do.
  bool cull_locked() REQUIRES(mutex);
  // Room for `bytes` more of a kind of records in a checkpoint, made by evicting what is of the
  // same kind. False: there is none.
  bool object_room_locked(std::uint64_t bytes) REQUIRES(mutex);
  bool extent_room_locked(std::uint64_t bytes) REQUIRES(mutex);
  std::uint64_t least_sums() const;
  bool name_room_locked(std::uint64_t bytes, const Object& whose) REQUIRES(mutex);
  void forget_folder_locked(Object& object) REQUIRES(mutex);

  // -- fill.cc
  void start_fill(Fill& fill);
  Status admit_locked(FillJob& job, std::uint64_t blocks) REQUIRES(mutex);
  void finish_fill(FillJob& job);
  Status judge_locked(const FillJob& job) REQUIRES(mutex);
  Status put_in_place_locked(FillJob& job) REQUIRES(mutex);
  void put_extent_locked(Object& object, const NewExtent& extent) REQUIRES(mutex);
  void give_back(FillJob::Piece& piece, const FillJob& job);
  void revoke_fills_locked(Object& object, PageRange range) REQUIRES(mutex);

  // -- read.cc
  // What of `range` the extents cover, pinned. No waiting, no lock but the object's. Where the
  // first pages are there and their sums not in memory, nothing is covered, and these are returned.
  ColdRun cover(Object& object, PageRange range, std::span<std::byte> into, ReadPlan& plan);
  // The same, as a read of the store's. No waiting.
  ColdRun plan(Object& object, PageRange range, std::span<std::byte> into, ReadPlan& plan);
  // The extent that has this page in this block, if it still has.
  void quarantine(Object& object, PageIndex page, std::uint64_t block, std::string_view why)
      EXCLUDES(mutex);

  // -- resize.cc
  SetUp<std::string> resize(ByteCount size) EXCLUDES(mutex);
  SetUp<bool> make_fit(const Layout& next) EXCLUDES(mutex);
  SetUp<bool> holds_all(const Layout& next) EXCLUDES(mutex);
  // For who waits until reads and fills of before have let go of their blocks: so many steps, with
  // a rest between them. False: the store is not in use any more.
  static constexpr unsigned kStepsMost = 3000;
  static constexpr std::chrono::milliseconds kRest{10};
  bool step_and_sweep() EXCLUDES(mutex);
  void rest() const;
  bool empty_withheld() EXCLUDES(mutex);
  void serve_resize() EXCLUDES(mutex);
  struct Resize;
  Status switch_layout(Resize& wanted) EXCLUDES(mutex);

  // -- expiry.cc
  // Of the wall clock; 0 where nothing expires.
  unsigned tick_now() const;
  bool expired(const Extent& extent, unsigned now) const;
  void age_all_locked() REQUIRES(mutex);  // at opening
  // A stretch of a pass over all extents, where one is due. True: there is more to do.
  bool purge_some_locked() REQUIRES(mutex);

  // -- giveback.cc
  // Whether the disk below has room for a fill, those in flight counted.
  bool disk_has_room();
  // Where it has not enough: evicts, and gives free blocks back. True: there is more to do.
  bool relieve_disk() EXCLUDES(mutex);
  void give_free_back();

  // -- session.cc
  void record_session_locked(Object& object) REQUIRES(mutex);
  // Drops what it would have to read the sums of.
  std::vector<std::uint32_t> session_sums_locked(Object& object) REQUIRES(mutex);

  // -- tree.cc
  void retire_locked(Object& object) REQUIRES(mutex);
  void resize_locked(Object& object, ByteCount size) REQUIRES(mutex);

  // Without O_DIRECT where the file system has none.
  ReadMode possible(ReadMode mode) const {
    return mode == ReadMode::kDirect && !direct.valid() ? ReadMode::kDropBehind : mode;
  }
  // The descriptor for reads of a possible mode.
  int read_fd(ReadMode mode) const {
    return mode == ReadMode::kDirect ? direct.get() : device.fd.get();
  }

  // A block's place in the file never changes.
  ByteOffset at(std::uint64_t block) const { return data + ByteCount{block * kBlockSize}; }

  // Constant after open, but for the device's size, which is under the index's lock.
  Device device;
  Fd direct;  // the same file, opened with O_DIRECT
  const Options options;
  IoEngine& engine;
  WorkQueue& machine;
  const Clock& clock;
  const ByteOffset data;  // where block 0 lies
  const Uuid uuid;
  struct Marks {
    std::uint64_t run = 0, cull = 0, stop = 0;  // blocks
  };

  // Own synchronisation.
  Counters counters;
  std::atomic<State> state{State::kOpen};
  std::atomic<bool> closing{false};
  std::atomic<bool> checkpointing{false};  // no block becomes free
  std::atomic<bool> resizing{false};
  std::atomic<bool> disk_is_short{false};   // less is free below than min_free
  std::atomic<std::uint64_t> sum_limit{0};  // bytes of sums in memory; 0: no bound
  std::atomic<std::uint64_t> durable{0};    // the last record that is
  // Of the clock's steady time, as the housekeeping last saw it: when a read began.
  std::atomic<Nanoseconds> now_ns{0};
  // See degraded.cc; all on the steady clock.
  std::atomic<Nanoseconds> pause_ns{0}, retry_ns{0}, back_at_ns{0};  // of the bypass
  std::atomic<Nanoseconds> no_room_pause_ns{0}, no_room_ns{0};       // no fills until then
  std::atomic<Nanoseconds> next_look_ns{0};
  std::atomic<bool> hung{false};
  std::atomic<unsigned> reads_failed{0}, fills_failed{0};  // in a row
  Pins pins;
  Allocator allocator;
  WriteBehind write_behind;
  Journal journal;
  Committer committer;

  // Whoever commits; changed under the index's lock too.
  Layout layout;

  // Whoever commits.
  Nanoseconds next_disk_look_ns = 0;
  Superblock superblock;
  std::unique_ptr<Checkpoint> checkpoint;  // under way
  Superblock next_superblock;              // its own
  std::uint64_t used_before_image = 0;     // of the ring
  std::uint64_t tried_generation = 0;      // of the last checkpoint that was begun

  mutable Mutex mutex{Rank::kStoreIndex};
  // Extents and sums are read under their object's lock too.
  std::unique_ptr<Index> index;
  bool culling GUARDED_BY(mutex) = false;
  // The checkpoint that ends the bypass is under way: what changes behind its moment is recorded.
  bool returning GUARDED_BY(mutex) = false;
  std::uint64_t index_limit GUARDED_BY(mutex);  // bytes of records
  Marks marks GUARDED_BY(mutex);                // see Culling
  // The pass of expiry that is under way: the next slot; and the tick of the last one begun.
  std::size_t purge_at GUARDED_BY(mutex) = 0;
  bool purging GUARDED_BY(mutex) = false;
  unsigned purged_tick GUARDED_BY(mutex) = 0;
  // That whoever commits is asked for.
  struct Resize {
    Layout next;
    Status status;
    bool switched = false;  // a superblock with this layout counts, whatever `status` says
    bool done = false;
  };
  Resize* wanted_resize GUARDED_BY(mutex) = nullptr;
};

// The percentages of a data area of so many blocks.
Store::Impl::Marks marks_of(const Culling& culling, std::uint64_t blocks);

// The sum of a page: of its bytes, and of whose they are.
std::uint32_t page_sum(ObjectId object, PageIndex page, std::span<const std::byte> bytes);

}  // namespace larder::store
