// SPDX-License-Identifier: Apache-2.0
// Commits and checkpoints.
//
// A commit: all records that wait, as an entry in the journal, then ONE flush. The pages that the
// records name were written before the records came to be, so the same flush covers them; should
// the device lose them all the same, their sums tell (a record whose data did not arrive is a
// miss).
//
// A checkpoint: the index as it stands, into the area that the last superblock does not use; flush;
// a superblock that names it, in the other slot; flush. Up to the second flush the old superblock
// leads to the old checkpoint and its journal, to which nothing is added meanwhile. Records that a
// checkpoint took up on the way are in no journal entry: hence the journal behind it has a
// generation of its own.
//
// Any failed write or flush here ends it: after a failed flush nobody knows what the device has,
// and trying again would say "good" of what is lost. The store goes to bypass until it is
// tried again (degraded.cc).
#include <algorithm>
#include <utility>

#include "store/store_impl.h"

namespace larder::store {

std::uint64_t Store::Impl::append_locked(const Record& record) {
  if (state.load() == State::kClosed) return 0;
  // The checkpoint that ends the bypass has it.
  if (!is_open()) return journal.skip();
  bool first = false;
  const std::uint64_t number = journal.append(record, first);
  if (first) committer.wake_soon();
  return number;
}

// All records that wait, into the journal; where it has no room for them, into a checkpoint.
Status Store::Impl::commit_records() {
  const Journal::Batch batch = journal.take();
  if (batch.bytes.empty()) return {};
  // They are in the index, from which the checkpoint is made.
  if (!journal.fits(batch)) return write_checkpoint(Ending::kGoesOn);
  const ByteCount before = journal.written();
  Status status = journal.write(batch);
  if (status) status = flush_and_wait(engine, device.fd.get());
  if (status) durable.store(batch.last);
  counters.commits.add();
  counters.flushes.add();
  counters.journal_bytes.add((journal.written() - before).value());
  if (status && journal.wants_checkpoint()) status = write_checkpoint(Ending::kGoesOn);
  return status;
}

StepResult Store::Impl::commit_step(Access access) {
  if (state.load() == State::kBypass) return return_step();
  if (!is_open()) return StepResult::kDone;
  if (closing.load()) {
    const Status status = write_checkpoint(Ending::kIsClosed);
    if (!status) enter_bypass(status.error(), "the last checkpoint");
    if (status) state.store(State::kClosed);
    return StepResult::kDone;
  }
  if (access == Access::kReadWrite) {
    if (const Status status = commit_records(); !status) {
      enter_bypass(status.error(), "a commit");
      return StepResult::kAgainLater;
    }
  }
  const bool none_waits = allocator.sweep(durable.load(), pins);
  const MutexLock lock(mutex);
  gauges_locked();
  return none_waits && !cull_locked() ? StepResult::kDone : StepResult::kAgainLater;
}

Status Store::Impl::write_checkpoint(Ending ending) {
  Superblock next = superblock;
  // Never one that was begun before: its chunks may be half there.
  tried_generation = std::max(tried_generation, superblock.generation) + 1;
  next.generation = tried_generation;
  next.slot = 1 - superblock.slot;
  next.clean = ending == Ending::kIsClosed;
  next.written_wall_ns = clock.wall_ns();
  std::uint64_t last = 0;
  std::unique_ptr<Checkpoint> image;
  {
    const MutexLock lock(mutex);
    extent_room_locked(0);
    image = std::make_unique<Checkpoint>(layout, *index);
    next.next_object = index->next_id();
    last = journal.take().last;
  }
  next.checkpoint_chunks = image->chunks();
  next.first_sequence = journal.cursor().sequence;
  next.journal_position = journal.cursor().position;
  if (image->bytes() > layout.checkpoint_bytes()) return fail(ErrorCode::kStoreFull);
  TRY_OK(image->write(engine, device.fd.get(), uuid, next.generation, next.slot));
  TRY_OK(flush_and_wait(engine, device.fd.get()));
  const SuperblockDisk disk = encode(next);
  AlignedBuffer block(sizeof disk);
  std::memcpy(block.data(), &disk, sizeof disk);
  TRY_OK(write_and_wait(engine, device.fd.get(), ByteOffset{kSuperblockOffset[next.slot]},
                        block.span()));
  TRY_OK(flush_and_wait(engine, device.fd.get()));
  superblock = next;
  journal.restart(next.generation);
  durable.store(last);
  counters.checkpoints.add();
  counters.checkpoint_bytes.add(image->bytes().value());
  counters.flushes.add(2);
  return {};
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
  allocator.sweep(durable.load(), pins);
  return {};
}

}  // namespace larder::store
