// SPDX-License-Identifier: Apache-2.0
// What the parts of a Store share. store.h says what it does; each .cc beside this file does one
// part:
//
//   store.cc    opening and closing       fill.cc      pages on their way in
//   commit.cc   commits, checkpoints      read.cc      the warm read
//   tree.cc     objects                   session.cc   write sessions
//   names.cc    names                     eviction.cc  making room
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
#include <memory>
#include <string>
#include <vector>

#include "store/allocator.h"
#include "store/checkpoint.h"
#include "store/committer.h"
#include "store/index.h"
#include "store/journal.h"
#include "store/load.h"

namespace larder::store {

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
  SetUp<bool> start(const Found& found);
  bool is_open() const { return state.load(std::memory_order_acquire) == State::kOpen; }
  void gauges_locked() REQUIRES(mutex);

  // -- commit.cc
  std::uint64_t append_locked(const Record& record) REQUIRES(mutex);  // its number
  StepResult commit_step();
  Status sync();
  enum class Ending : std::uint8_t { kGoesOn, kIsClosed };
  Status write_checkpoint(Ending ending) EXCLUDES(mutex);
  void enter_bypass(Error error, std::string_view what);

  // -- eviction.cc
  // Takes pages out of the index and records it; their blocks wait.
  void drop_locked(Object& object, PageRange range) REQUIRES(mutex);
  void let_go_locked(const DeadList& dead, std::uint64_t number) REQUIRES(mutex);
  void evict_locked(std::uint64_t blocks) REQUIRES(mutex);
  void keep_room_locked(std::uint64_t wanted_blocks) REQUIRES(mutex);
  // Room for `bytes` more of records in a checkpoint. False: there is none, even without any pages.
  bool index_room_locked(std::uint64_t bytes) REQUIRES(mutex);

  // -- fill.cc
  void start_fill(Fill& fill);
  Status admit_locked(FillJob& job, std::uint64_t blocks) REQUIRES(mutex);
  void finish_fill(FillJob& job);
  Status judge_locked(const FillJob& job) REQUIRES(mutex);
  Status put_in_place_locked(FillJob& job) REQUIRES(mutex);
  void give_back(FillJob::Piece& piece, const FillJob& job);
  void revoke_fills_locked(Object& object, PageRange range) REQUIRES(mutex);

  // -- read.cc
  void quarantine(Object& object, const ExtentRef& extent) EXCLUDES(mutex);

  // -- tree.cc
  void retire_locked(Object& object) REQUIRES(mutex);
  void resize_locked(Object& object, ByteCount size) REQUIRES(mutex);

  // Constant after open.
  Device device;
  const Options options;
  IoEngine& engine;
  WorkQueue& machine;
  const Clock& clock;
  const Layout layout;
  const Uuid uuid;
  const std::uint64_t index_limit;  // bytes of records
  const std::uint64_t room_target;  // blocks that are kept free, or about to be

  // Own synchronisation.
  Counters counters;
  std::atomic<State> state{State::kOpen};
  std::atomic<bool> closing{false};
  std::atomic<std::uint64_t> durable{0};  // the last record that is
  Allocator allocator;
  Journal journal;
  Committer committer;

  // Whoever commits.
  Superblock superblock;

  mutable Mutex mutex{Rank::kStoreIndex};
  std::unique_ptr<Index> index PT_GUARDED_BY(mutex);
};

// The sum of a page: of its bytes, and of whose they are.
std::uint32_t page_sum(ObjectId object, PageIndex page, std::span<const std::byte> bytes);

}  // namespace larder::store
