// SPDX-License-Identifier: Apache-2.0
// What a store does while its device does not do what it should, and how it comes back.
//
//   bypass      a write or flush of metadata failed, or eight reads or fills in a row: nothing is
//               read or written, every call is a miss. What happens to objects and names meanwhile
//               happens in memory, so that nothing old comes back. After a back-off a whole
//               checkpoint is written, while what changes is recorded for the commit that follows;
//               where it is taken and flushed, the store is open again. Pages that the device lost
//               on the way do not match their sums.
//   no room     the file system below has no room for a fill: fills are dropped until a back-off
//               has passed; reads go on
//   hung        a read has been with the device for longer than store_deadline: new reads are
//               misses and fills are dropped until it comes back. It keeps its own buffer.
//
// All of them are left without anybody's help, and are seen in the statistics.
#include <fmt/format.h>
#include <larder/log.h>

#include <algorithm>
#include <cerrno>

#include "store/store_impl.h"

namespace larder::store {
namespace {

constexpr unsigned kFailuresInARow = 8;
constexpr Nanoseconds kFirstPause = kSecond;
constexpr Nanoseconds kLongestPause = 300 * kSecond;
constexpr Nanoseconds kLongestNoRoom = 60 * kSecond;
constexpr int kLooks = 8;  // at the reads in flight, for each deadline

}  // namespace

void Store::Impl::enter_bypass(Error error, std::string_view what) {
  State open = State::kOpen;
  if (!state.compare_exchange_strong(open, State::kBypass)) return;
  const Nanoseconds now = clock.mono_ns();
  // Who fails again soon after he came back waits longer.
  const Nanoseconds before = pause_ns.load();
  const bool again = before != 0 && now < back_at_ns.load() + 2 * before;
  pause_ns.store(again ? std::min(before * 2, kLongestPause) : kFirstPause);
  retry_ns.store(now + pause_ns.load());
  counters.bypasses.add();
  log(LogLevel::kError, "store {}: {} failed ({}); it is bypassed, and tried again in {} s",
      device.path, what, larder::to_text(error), pause_ns.load() / kSecond);
  committer.wake_soon();
}

bool Store::Impl::return_is_due() const {
  return state.load() == State::kBypass && !closing.load() && clock.mono_ns() >= retry_ns.load();
}

// A step of the committer.
StepResult Store::Impl::return_step() {
  if (closing.load()) return StepResult::kDone;
  if (!return_is_due()) return StepResult::kAgainLater;
  {
    const MutexLock lock(mutex);
    returning = true;
  }
  const Status status = write_checkpoint(Ending::kGoesOn);
  if (!status) {
    pause_ns.store(std::min(pause_ns.load() * 2, kLongestPause));
    retry_ns.store(clock.mono_ns() + pause_ns.load());
    const MutexLock lock(mutex);
    returning = false;
    static_cast<void>(journal.take());  // the next image has it
    return StepResult::kAgainLater;
  }
  {
    const MutexLock lock(mutex);
    returning = false;
    reads_failed.store(0);
    fills_failed.store(0);
    back_at_ns.store(clock.mono_ns());
    state.store(State::kOpen);
  }
  counters.returns.add();
  if (!journal.idle()) committer.wake_soon();
  sweep();
  log(LogLevel::kWarn, "store {}: it is in use again", device.path);
  return StepResult::kDone;
}

void Store::Impl::read_was_good() {
  if (reads_failed.load(std::memory_order_relaxed) != 0) reads_failed.store(0);
}

// What could not be read is not asked for again: it is fetched anew, into other blocks.
void Store::Impl::pages_failed(Object& object, const ReadPlan& plan) {
  for (std::size_t i = 0; i < plan.count_; ++i) {
    quarantine(object, plan.first_pages_[i], plan.blocks_[i], "could not be read");
  }
}

// Of pages, or of sums: those may come back, and so may the pages.
void Store::Impl::read_failed(Error error) {
  counters.read_errors.add();
  if (reads_failed.fetch_add(1) + 1 >= kFailuresInARow)
    enter_bypass(error, "one read after another");
}

void Store::Impl::fill_ended(int sys_errno) {
  if (sys_errno == 0) {
    fills_failed.store(0);
    no_room_ns.store(0);
    return;
  }
  if (sys_errno == ENOSPC || sys_errno == EDQUOT) {
    const Nanoseconds pause =
        std::clamp<Nanoseconds>(no_room_pause_ns.load() * 2, kFirstPause, kLongestNoRoom);
    no_room_pause_ns.store(pause);
    no_room_ns.store(clock.mono_ns() + pause);
    counters.no_room.add();
    return;
  }
  if (fills_failed.fetch_add(1) + 1 >= kFailuresInARow)
    enter_bypass(Error{ErrorCode::kStoreIo, sys_errno}, "one write after another");
}

bool Store::Impl::takes_fills() {
  const Nanoseconds until = no_room_ns.load(std::memory_order_relaxed);
  if (until != 0 && clock.mono_ns() < until) return false;
  return !hangs();
}

// Looks at the reads in flight now and then; whoever asks in between hears what was seen last.
bool Store::Impl::hangs() {
  if (options.deadline_ns == 0) return false;
  const Nanoseconds now = clock.mono_ns();
  now_ns.store(now, std::memory_order_relaxed);
  Nanoseconds due = next_look_ns.load(std::memory_order_relaxed);
  if (now < due || !next_look_ns.compare_exchange_strong(due, now + options.deadline_ns / kLooks))
    return hung.load(std::memory_order_relaxed);
  const Nanoseconds oldest = pins.oldest_ns();
  const bool stuck = oldest != 0 && now - oldest > options.deadline_ns;
  if (hung.exchange(stuck) != stuck) {
    if (stuck) counters.hangs.add();
    log(LogLevel::kWarn, "store {}: {}", device.path,
        stuck ? "a read has not come back within store_deadline; new reads go past the store"
              : "reads come back again; the store is in use");
  }
  return stuck;
}

std::string Store::Impl::state_text() {
  const bool stuck = hangs();  // looks itself: where everybody waits, nobody else does
  const Nanoseconds now = clock.mono_ns();
  switch (state.load()) {
    case State::kBypass:
      return fmt::format("bypass: reads or writes failed, nothing is cached; tried again in {} s",
                         std::max<Nanoseconds>(retry_ns.load() - now, 0) / kSecond);
    case State::kClosed:
      return "closed";
    case State::kOpen:
      break;
  }
  if (stuck) return "hung: a read does not come back from the device, new ones go past it";
  if (no_room_ns.load() > now) {
    return fmt::format("no room on the file system below: fills are tried again in {} s",
                       (no_room_ns.load() - now) / kSecond);
  }
  return "open";
}

}  // namespace larder::store
