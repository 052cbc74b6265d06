// SPDX-License-Identifier: Apache-2.0
// Commits and checkpoints.
//
// A commit: all records that wait, as an entry in the journal, then ONE flush. The pages that the
// records name were written before the records came to be, so the same flush covers them; should
// the device lose them all the same, their sums tell (a record whose data did not arrive is a
// miss).
//
// A checkpoint: the index as it stands at one moment, a stretch with each step (checkpoint.h), into
// the area that the last superblock does not use, while commits go on; flush; a superblock that
// names it, in the other slot; flush. Up to the second flush the old superblock leads to the old
// checkpoint and its journal. The journal just goes on: the superblock names the entry that follows
// the moment. No block becomes free meanwhile: what the image says of it has to stay true until its
// sums are written.
//
// One that takes up records that are in no journal entry (they did not fit, or the store was
// bypassed, or is closed) is made in one go, and the journal behind it is begun anew, with a
// generation of its own.
//
// Any failed write or flush here ends it: after a failed flush nobody knows what the device has,
// and trying again would say "good" of what is lost. The store goes to bypass until it is
// tried again (degraded.cc).
#include <larder/log.h>

#include <algorithm>
#include <utility>

#include "store/invariants.h"
#include "store/store_impl.h"

namespace larder::store {
namespace {

constexpr std::uint64_t kAllBytes = ~std::uint64_t{0} / 2;

}  // namespace

std::uint64_t Store::Impl::append_locked(const Record& record) {
  if (state.load() == State::kClosed) return 0;
  // The checkpoint that ends the bypass will have it, or else the commit behind that.
  if (!is_open() && !returning) return journal.skip();
  bool first = false;
  const std::uint64_t number = journal.append(record, first);
  if (first) committer.wake_soon();
  return number;
}

Status Store::Impl::commit_batch(const Journal::Batch& batch) {
  if (batch.bytes.empty()) return {};
  const ByteCount before = journal.written();
  Status status = journal.write(batch);
  if (status) status = flush_and_wait(engine, device.fd.get());
  if (status) durable.store(batch.last);
  counters.commits.add();
  counters.flushes.add();
  counters.journal_bytes.add((journal.written() - before).value());
  return status;
}

// All records that wait, into the journal; where it has no room for them, into a checkpoint.
Status Store::Impl::commit_records() {
  const Journal::Batch batch = journal.take();
  if (batch.bytes.empty()) return {};
  // They are in the index, from which the checkpoint is made.
  if (!journal.fits(batch)) return write_checkpoint(Ending::kGoesOn);
  TRY_OK(commit_batch(batch));
  return checkpoint || !wants_checkpoint() ? Status{} : begin_checkpoint();
}

bool Store::Impl::wants_checkpoint() {
  const std::uint64_t most = sum_limit.load();
  return journal.wants_checkpoint() || (most != 0 && index->sums().dirty_bytes() > most / 2);
}

StepResult Store::Impl::commit_step(Access access) {
  serve_resize();
  if (state.load() == State::kBypass) return return_step();
  if (!is_open()) return StepResult::kDone;
  if (closing.load()) {
    const Status status = write_only_checkpoint(Ending::kIsClosed);
    if (!status) enter_bypass(status.error(), "the last checkpoint");
    if (status) state.store(State::kClosed);
    return StepResult::kDone;
  }
  Status status;
  if (access == Access::kReadWrite) status = commit_records();
  if (status && checkpoint) status = go_on_with_checkpoint(options.checkpoint_step.value());
  if (!status) {
    abandon_checkpoint();
    enter_bypass(status.error(), "a commit");
    return StepResult::kAgainLater;
  }
  if (checkpoint) committer.wake_now();
  const bool none_waits = sweep();
  const bool relieving = relieve_disk();
  const MutexLock lock(mutex);
  const bool purges = purge_some_locked();
  gauges_locked();
  // Time passes for what expires, and others fill the disk, also while nothing happens here.
  const bool watches = options.expire_ns != 0 || options.min_free.value() != 0;
  const bool culls = cull_locked();
  const bool more = !none_waits || relieving || purges || watches || culls || checkpoint != nullptr;
  return more ? StepResult::kAgainLater : StepResult::kDone;
}

// What the durable records let go. False: something still waits.
bool Store::Impl::sweep() {
  // In this order: what became durable under a checkpoint waits for it.
  const std::uint64_t up_to = durable.load();
  return !checkpointing.load() && allocator.sweep(up_to, pins);
}

// The image of this moment, with all that waits in the journal before it.
Status Store::Impl::begin_checkpoint() {
  Journal::Batch batch = start_image(Ending::kGoesOn, layout);
  if (!journal.fits(batch)) return write_checkpoint(Ending::kGoesOn);
  TRY_OK(commit_batch(batch));
  const JournalCursor& cursor = journal.cursor();
  next_superblock.first_sequence = cursor.sequence;
  next_superblock.journal_position = cursor.position;
  next_superblock.journal_generation = cursor.generation;
  next_superblock.journal_previous = cursor.previous;
  used_before_image = cursor.used;
  return {};
}

void Store::Impl::stop_where_broken_locked() {
  Lines lines;
  const bool in_flight = counters.fill_in_flight_bytes.value() != 0;
  check_blocks(allocator, *index, layout, in_flight ? Fills::kInFlight : Fills::kNone, lines);
  check_index(*index, lines);
  for (const std::string& line : lines)
    log(LogLevel::kError, "store {}: invariant {}", device.path, line);
  check(lines.empty(), "a store keeps its invariants");
}

Journal::Batch Store::Impl::start_image(Ending ending, const Layout& place) {
  abandon_checkpoint();
  Superblock& next = next_superblock;
  next = superblock;
  // Never one that was begun before: its chunks may be half there.
  tried_generation = std::max(tried_generation, superblock.generation) + 1;
  next.generation = tried_generation;
  next.slot = 1 - superblock.slot;
  next.layout = place;
  next.clean = ending == Ending::kIsClosed;
  next.written_wall_ns = clock.wall_ns();
  const MutexLock lock(mutex);
  if (kChecked && ending == Ending::kIsClosed) stop_where_broken_locked();
  extent_room_locked(0);
  checkpointing.store(true);
  checkpoint = std::make_unique<Checkpoint>(
      engine, place, Checkpoint::Where{device.fd.get(), uuid, next.generation, next.slot}, *index,
      place.sums == layout.sums ? Checkpoint::Sums::kChanged : Checkpoint::Sums::kAllMove);
  next.next_object = index->next_id();
  return journal.take();
}

Status Store::Impl::go_on_with_checkpoint(std::uint64_t budget) {
  TRY_OK(checkpoint->step(mutex, budget));
  if (!checkpoint->done()) return {};
  TRY_OK(write_superblock());
  journal.forget(used_before_image);
  return {};
}

// Everything in one go, and the journal begun anew behind it.
Status Store::Impl::write_checkpoint(Ending ending, const Layout& place) {
  const bool moves = place.journal != layout.journal;
  const std::uint64_t last = start_image(ending, place).last;
  Status status = checkpoint->step(mutex, kAllBytes);
  next_superblock.first_sequence = journal.cursor().sequence;
  next_superblock.journal_position = moves ? 0 : journal.cursor().position;
  next_superblock.journal_generation = next_superblock.generation;
  next_superblock.journal_previous = 0;
  if (status) status = write_superblock();
  if (!status) {
    abandon_checkpoint();
    return status;
  }
  if (moves)
    journal.move(place, next_superblock.generation);
  else
    journal.restart(next_superblock.generation);
  durable.store(last);
  return {};
}

Status Store::Impl::write_only_checkpoint(Ending ending) {
  Status status = write_checkpoint(ending);
  if (!status && index->sums().unread()) status = write_checkpoint(ending);
  return status;
}

// The checkpoint counts from here on.
Status Store::Impl::write_superblock() {
  TRY_OK(flush_and_wait(engine, device.fd.get()));
  next_superblock.checkpoint_chunks = checkpoint->chunks();
  const SuperblockDisk disk = encode(next_superblock);
  AlignedBuffer block(sizeof disk);
  std::memcpy(block.data(), &disk, sizeof disk);
  TRY_OK(write_and_wait(engine, device.fd.get(),
                        ByteOffset{kSuperblockOffset[next_superblock.slot]}, block.span()));
  TRY_OK(flush_and_wait(engine, device.fd.get()));
  superblock = next_superblock;
  counters.checkpoints.add();
  counters.checkpoint_bytes.add(checkpoint->bytes().value());
  counters.flushes.add(2);
  const MutexLock lock(mutex);
  checkpoint->settle();
  checkpoint.reset();
  checkpointing.store(false);
  return {};
}

void Store::Impl::abandon_checkpoint() {
  if (!checkpoint) return;
  const MutexLock lock(mutex);
  checkpoint->abandon();
  checkpoint.reset();
  checkpointing.store(false);
}

Status Store::Impl::sync(Urgency urgency) {
  if (return_is_due()) {
    bool tried = false;
    committer.run_until(urgency, [&] { return std::exchange(tried, true) || !return_is_due(); });
  }
  const std::uint64_t target = journal.appended();
  committer.run_until(urgency, [&] { return !is_open() || durable.load() >= target; });
  if (durable.load() < target) return fail(ErrorCode::kStoreIo);
  if (!is_open()) return state.load() == State::kClosed ? Status{} : fail(ErrorCode::kStoreIo);
  sweep();
  return {};
}

}  // namespace larder::store
