// SPDX-License-Identifier: Apache-2.0
// Expiry: what was not used for as long as `expire=` says goes.
//
// An extent remembers the tick in which it was last used: of the wall clock, of a 32nd of the time,
// modulo 512, in bits that it has to spare. So it goes at most a 32nd late. A read of one that has
// expired is a miss at once; a pass over all extents, a stretch behind each commit, one in each
// tick, lets go of them.
//
// The ticks are in the checkpoint, with their length in the superblock. At opening the time that
// has passed since is added; where the length is another, or the journal has brought an extent,
// nobody knows, and it counts as used at this moment. What was used since a checkpoint that a crash
// leaves behind may go that much too early. What is pinned does not expire.
#include <algorithm>

#include "store/store_impl.h"

namespace larder::store {
namespace {

constexpr unsigned kTicks = 32;                   // in which an extent expires
constexpr unsigned kFuture = Extent::kAges - 64;  // an age from here on: the clock was set back
constexpr std::size_t kAtOnce = 1024;             // slots of a stretch

Nanoseconds tick_length(const Options& options) {
  return options.expire_ns == 0 ? 0 : std::max<Nanoseconds>(options.expire_ns / kTicks, 1);
}

unsigned age_of(unsigned tick, unsigned now) {
  const unsigned age = (now - tick) % Extent::kAges;
  return age >= kFuture ? 0 : age;
}

}  // namespace

unsigned Store::Impl::tick_now() const {
  const Nanoseconds length = tick_length(options);
  if (length == 0) return 0;
  return static_cast<unsigned>(static_cast<std::uint64_t>(clock.wall_ns() / length) %
                               Extent::kAges);
}

bool Store::Impl::expired(const Extent& extent, unsigned now) const {
  return age_of(extent.tick(), now) > kTicks;
}

void Store::Impl::age_all_locked() {
  const Nanoseconds length = tick_length(options);
  const bool known = length != 0 && superblock.use_tick_ns == length;
  const Nanoseconds written_ns = superblock.written_wall_ns, now_wall_ns = clock.wall_ns();
  superblock.use_tick_ns = length;
  const unsigned now = tick_now();
  index->set_tick(now);
  purged_tick = now;
  if (length == 0) return;
  const auto ticks_of = [&](Nanoseconds at) { return static_cast<std::uint64_t>(at / length); };
  const std::uint64_t then = ticks_of(written_ns);
  const std::uint64_t passed = now_wall_ns > written_ns ? ticks_of(now_wall_ns) - then : 0;
  index->for_each_extent([&](Object&, const Extent& extent) {
    const unsigned before = static_cast<unsigned>(then % Extent::kAges);
    const unsigned raw = (before - extent.tick()) % Extent::kAges;
    std::uint64_t age = 0;
    if (known && raw < kFuture) age = std::min<std::uint64_t>(raw + passed, 2 * kTicks);
    extent.set_tick(static_cast<unsigned>((now - age) % Extent::kAges));
  });
  purging = true;
  purge_at = 0;
}

bool Store::Impl::purge_some_locked() {
  if (options.expire_ns == 0) return false;
  const unsigned now = tick_now();
  index->set_tick(now);
  if (!purging && now == purged_tick) return false;
  if (!purging) {
    purge_at = 0;
    purged_tick = now;  // one that takes longer than a tick is followed by another
  }
  purging = true;
  const std::size_t end = std::min(purge_at + kAtOnce, index->slots());
  std::vector<PageRange> gone;
  for (; purge_at < end; ++purge_at) {
    Object* object = index->in_slot(purge_at);
    if (object == nullptr || object->pinned || object->in_session) continue;
    gone.clear();
    for (const Extent& extent : object->extents) {
      if (expired(extent, now)) gone.push_back(extent.range());
    }
    for (const PageRange& range : gone) {
      counters.expired_extents.add();
      counters.expired_bytes.add(to_bytes(range.count).value());
      drop_locked(*object, range);
    }
  }
  purging = purge_at < index->slots();
  return purging;
}

ByteCount Store::purge() {
  Impl& store = *impl_;
  const std::uint64_t before = store.counters.expired_bytes.value();
  {
    const MutexLock lock(store.mutex);
    store.purging = store.options.expire_ns != 0;
    store.purge_at = 0;
  }
  for (bool more = true; more;) {
    const MutexLock lock(store.mutex);
    more = store.takes_changes() && store.purge_some_locked();
  }
  static_cast<void>(sync());
  return ByteCount{store.counters.expired_bytes.value() - before};
}

}  // namespace larder::store
