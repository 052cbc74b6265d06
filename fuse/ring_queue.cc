// SPDX-License-Identifier: Apache-2.0
#include "ring_queue.h"

#include <cerrno>
#include <utility>

namespace larder::fuse {
namespace {

constexpr int kIdleLeast = 2;

}  // namespace

RingQueue::RingQueue(RingCommons& commons, Reactor& reactor, std::uint16_t id, std::size_t& live)
    : commons_(commons),
      reactor_(reactor),
      id_(id),
      live_(live),
      entries_(std::make_unique<std::atomic<RingEntry*>[]>(kEntriesMax)) {
  growth_.run = [](Work& self) {
    auto& growth = static_cast<Growth&>(self);
    growth.posted.store(false);
    growth.queue.make_room();
  };
  nudge_.run = [](Work& self) { static_cast<Nudge&>(self).queue.nudge(); };
}

void RingQueue::start(unsigned depth) {
  depth_ = depth;
  while (size() < depth && add_entry()) {
  }
}

bool RingQueue::add_entry() {
  const std::size_t index = size();
  if (index == kEntriesMax || refuses()) return false;
  if (commons_.entries_left.fetch_sub(1) <= 0) {
    commons_.entries_left.fetch_add(1);
    return false;
  }
  owned_.push_back(std::make_unique<RingEntry>(*this, static_cast<std::uint16_t>(index),
                                               commons_.payload_bytes));
  entries_[index].store(owned_.back().get(), std::memory_order_release);
  size_.store(index + 1, std::memory_order_release);
  ++live_;
  commons_.stats.ring_entries.add();
  owned_.back()->enter();
  return true;
}

void RingQueue::make_room() {
  while (idle_.load(std::memory_order_relaxed) < kIdleLeast && add_entry()) {
  }
}

bool RingQueue::may_park() {
  const bool here = is_owner();
  if (here)
    make_room();
  else if (idle_.load(std::memory_order_relaxed) < kIdleLeast && !growth_.posted.exchange(true))
    reactor_.post(growth_);
  const bool may_grow = !here && commons_.entries_left.load() > 0;
  if (idle_.load(std::memory_order_relaxed) <= 0 && !may_grow) {
    commons_.stats.refused.add();
    return false;
  }
  commons_.parked.fetch_add(1);
  parked_.fetch_add(1);
  if (is_starved()) nudge_again();
  return true;
}

void RingQueue::unpark() {
  commons_.parked.fetch_sub(1);
  parked_.fetch_sub(1);
}

void RingQueue::nudge_again() {
  if (!nudge_.posted.exchange(true)) reactor_.post(nudge_);
}

// A turn later than it was asked for: the kernel must have the new entries, or the nudge itself
// would queue behind the others.
void RingQueue::nudge() {
  if (!std::exchange(nudge_.entries_are_in, true)) {
    make_room();
    return reactor_.post(nudge_);
  }
  nudge_.entries_are_in = false;
  nudge_.posted.store(false);
  if (!commons_.nudge || refuses() || !is_starved()) return;
  (commons_.nudge(id_) ? commons_.stats.nudges : commons_.stats.nudges_lost).add();
}

void RingQueue::entry_gone(bool at_first, int sys_errno) {
  --live_;
  commons_.stats.ring_entries.sub();
  const bool ended = sys_errno == ENOTCONN || sys_errno == ECONNABORTED || sys_errno == ECANCELED;
  if (at_first && !ended && commons_.on_refused) commons_.on_refused(sys_errno);
}

}  // namespace larder::fuse
