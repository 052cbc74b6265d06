// SPDX-License-Identifier: Apache-2.0
// Opening, closing, and what a store says of itself.
#include <larder/store.h>

#include <fcntl.h>
#include <fmt/format.h>
#include <larder/log.h>

#include <algorithm>

#include "base/crc32c.h"
#include "base/random.h"
#include "store/store_impl.h"

namespace larder::store {
namespace {

constexpr std::uint64_t kGenerationLeap = 1000;  // past whatever a damaged superblock may have said

// Both superblocks of an empty store, the second written being the newer.
SetUp<Loaded> create_empty(IoEngine& engine, int fd, ByteCount size, std::uint64_t highest,
                           Seed seed, const Clock& clock) {
  // Not the uuid of what lay there before, even where the seed is the same.
  AlignedBuffer before(kJournalOffset);
  if (!engine.read_now(fd, ByteOffset{0}, before.span()))
    return complain(ErrorCode::kStoreIo, "the store cannot be read");
  Random random(fresh_if_zero(seed));
  Superblock superblock;
  for (std::uint8_t& byte : superblock.uuid) byte = static_cast<std::uint8_t>(random.below(256));
  const std::uint32_t sum = crc32c(before.span());
  for (std::size_t i = 0; i < sizeof sum; ++i)
    superblock.uuid[i] ^= static_cast<std::uint8_t>(sum >> (8 * i));
  superblock.layout = layout_for(size);
  superblock.written_wall_ns = clock.wall_ns();
  superblock.clean = true;
  AlignedBuffer block(sizeof(SuperblockDisk));
  for (const unsigned slot : {1u, 0u}) {
    superblock.slot = slot;
    superblock.generation = superblock.journal_generation = ++highest;
    const SuperblockDisk disk = encode(superblock);
    std::memcpy(block.data(), &disk, sizeof disk);
    Status status = write_and_wait(engine, fd, ByteOffset{kSuperblockOffset[slot]}, block.span());
    if (status) status = flush_and_wait(engine, fd);
    if (!status) {
      return complain(ErrorCode::kStoreIo,
                      "the store cannot be created: " + to_text(status.error()),
                      status.error().sys_errno);
    }
  }
  auto loaded = load(engine, fd, superblock);
  if (!loaded)
    return complain(ErrorCode::kStoreIo, "the store cannot be read back after it was created");
  return std::move(*loaded);
}

}  // namespace

// A small store keeps more: a commit's worth of fills has to fit.
Store::Impl::Marks marks_of(const Culling& culling, std::uint64_t blocks) {
  constexpr std::uint64_t kMiB = (1u << 20) / kBlockSize;
  const auto part = [blocks](unsigned percent, std::uint64_t least) {
    return std::max(blocks * percent / 100, std::min(least, blocks / 4));
  };
  return {part(culling.run, 2 * kMiB), part(culling.cull, kMiB * 3 / 2),
          blocks * culling.stop / 100};
}

namespace {

// Another open file of the same, so that its lock stays the first one's. -1 where the file system
// has no O_DIRECT.
int open_direct(int fd) {
  if (fd < 0) return -1;
  return ::open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
}

}  // namespace

Store::Impl::Impl(Device a_device, Options an_options, IoEngine& an_engine, WorkQueue& a_machine,
                  const Clock& a_clock, Loaded loaded)
    : device(std::move(a_device)),
      direct(open_direct(device.fd.get())),
      options(an_options),
      engine(an_engine),
      machine(a_machine),
      clock(a_clock),
      data(loaded.superblock.layout.data),
      uuid(loaded.superblock.uuid),
      allocator(loaded.superblock.layout.data_blocks),
      write_behind(engine, device.fd.get()),
      journal(engine, device.fd.get(), loaded.superblock.layout, uuid, loaded.cursor),
      committer(clock, options.commit_ns, [this](Access access) { return commit_step(access); }),
      layout(loaded.superblock.layout),
      superblock(loaded.superblock),
      index(std::move(loaded.index)),
      index_limit(checkpoint_limit(layout)),
      marks(marks_of(options.culling, layout.usable_blocks())) {
  counters.replayed_records.add(loaded.replayed);
  counters.discarded_records.add(loaded.discarded);
  counters.capacity_bytes.set(layout.capacity().value());
}

Store::Impl::~Impl() {
  check(counters.fill_in_flight_bytes.value() == 0, "no fill is in flight when a store goes");
}

// The blocks of all extents leave the free ones. Two extents that claim one block (no sound store
// has such) both go as far as they disagree.
SetUp<bool> Store::Impl::start(const Found& found, const std::vector<ObjectRef>& broken_sessions) {
  bool damaged = false;
  {
    const MutexLock lock(mutex);
    BlockSet used(layout.data_blocks);
    if (const BlockRun metadata = layout.reserved(); metadata.count != 0) used.add(metadata);
    struct Refused {
      Object* object;
      PageRange range;
    };
    std::vector<Refused> refused;
    for (std::size_t slot = 0; slot < index->slots(); ++slot) {
      Object* object = index->in_slot(slot);
      if (object == nullptr) continue;
      for (const Extent& extent : object->extents) {
        if (extent.zeros() || used.add({extent.block(), extent.pages()})) continue;
        refused.push_back({object, extent.range()});
      }
    }
    allocator.free_all_but(used);
    for (const Refused& one : refused) {
      DeadList dead;
      append_locked(DropRecord{one.object->id, one.range});
      index->drop(*one.object, one.range, dead);
      counters.discarded_records.add();
    }
    for (const ObjectRef& object : broken_sessions)
      append_locked(change_of(*object, Pages::kReset));
    index->forget_ids();
    age_all_locked();
    damaged = !refused.empty() || counters.discarded_records.value() != 0;
    gauges_locked();
  }
  // What was replayed may be in the system's memory only (kill -9); what follows must not overtake
  // it.
  Status status = flush_and_wait(engine, device.fd.get());
  counters.flushes.add();
  if (status && found.fell_back) superblock.generation = found.highest_generation + kGenerationLeap;
  if (status && (found.fell_back || damaged)) status = write_only_checkpoint(Ending::kGoesOn);
  if (!status) {
    return complain(ErrorCode::kStoreIo,
                    "the store cannot be written: " + larder::to_text(status.error()),
                    status.error().sys_errno);
  }
  return true;
}

void Store::Impl::gauges_locked() {
  const Index::Totals& totals = index->totals();
  counters.objects.set(totals.objects);
  counters.names.set(totals.names);
  counters.extents.set(totals.extents);
  counters.pinned_objects.set(index->pinned());
  const Allocator::Totals blocks = allocator.totals();
  counters.free_runs.set(blocks.runs);
  counters.largest_free_bytes.set(blocks.longest * kBlockSize);
  counters.fragmentation_percent.set(blocks.fragmentation_percent());
  if (const std::uint64_t memory = options.index_memory.value(); memory != 0) {
    const std::uint64_t index_bytes = index->memory_bytes();
    sum_limit.store(std::max(memory > index_bytes ? memory - index_bytes : 0, least_sums()));
    index->sums().set_limit(sum_limit.load());
  }
  counters.index_bytes.set(index->memory_bytes() + index->sums().bytes());
  counters.waiting_bytes.set(blocks.waiting * kBlockSize);
  counters.used_bytes.set((layout.usable_blocks() - blocks.free - blocks.waiting -
                           blocks.quarantined - blocks.withheld) *
                          kBlockSize);
}

SetUp<std::unique_ptr<Store>> Store::open(Device device, Options options, IoEngine& engine,
                                          WorkQueue& machine, const Clock& clock, Seed seed) {
  if (device.size < kSmallestStore) {
    return complain(ErrorCode::kInvalid, fmt::format("{}: a store has at least {} MiB", device.path,
                                                     kSmallestStore.value() >> 20));
  }
  if (!options.culling.makes_sense()) {
    return complain(
        ErrorCode::kInvalid,
        fmt::format("brun={},bcull={},bstop={}: these are percentages of the store that are free, "
                    "and bstop < bcull < brun < 100",
                    options.culling.run, options.culling.cull, options.culling.stop));
  }
  const int fd = device.fd.get();
  Found found = find_store(engine, fd, device.size);
  for (const std::string& note : found.notes) log(LogLevel::kWarn, "{}: {}", device.path, note);
  if (found.finding == Finding::kForeign) {
    return complain(
        ErrorCode::kStoreFormat,
        fmt::format("{}: this is not a store of larder; it is left as it is (remove it, or give "
                    "another path with store=)",
                    device.path));
  }
  if (!found.loaded) {
    auto created = create_empty(engine, fd, device.size, found.highest_generation + kGenerationLeap,
                                seed, clock);
    if (!created) return tl::make_unexpected(std::move(created).error());
    found.loaded = std::move(*created);
    found.fell_back = false;
  }
  const auto broken_sessions = std::move(found.loaded->broken_sessions);
  auto impl = std::make_unique<Impl>(std::move(device), options, engine, machine, clock,
                                     std::move(*found.loaded));
  auto started = impl->start(found, broken_sessions);
  if (!started) return tl::make_unexpected(std::move(started).error());
  if (options.expire_ns != 0 || options.min_free.value() != 0) impl->committer.wake_soon();
  if (options.commit_by == CommitBy::kThread) impl->committer.start();
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Store::~Store() { check(impl_->closing.load(), "a store is closed before it goes"); }

void Store::close() {
  if (impl_->closing.exchange(true)) return;
  impl_->committer.stop();
  impl_->committer.run_until(Urgency::kEager, [this] { return !impl_->is_open(); });
}

State Store::state() const { return impl_->state.load(); }
Counters& Store::counters() { return impl_->counters; }
std::string Store::uuid() const { return store::to_text(impl_->uuid); }
ByteCount Store::capacity() const { return ByteCount{impl_->counters.capacity_bytes.value()}; }
ByteCount Store::size() const {
  const MutexLock lock(impl_->mutex);
  return impl_->layout.size;
}
Status Store::sync(Urgency urgency) { return impl_->sync(urgency); }

std::string Store::to_text() const {
  const Counters& c = impl_->counters;
  std::string text = fmt::format("store: {}\nstate: {}\nuuid: {}\nsize: {} bytes\n",
                                 impl_->device.path, impl_->state_text(), uuid(), size().value());
  text += fmt::format("data: {} bytes, {} used, {} waiting to be freed\n", c.capacity_bytes.value(),
                      c.used_bytes.value(), c.waiting_bytes.value());
  text += fmt::format("free: {} runs, the longest of {} bytes, {} % in pieces below 1 MiB\n",
                      c.free_runs.value(), c.largest_free_bytes.value(),
                      c.fragmentation_percent.value());
  for (const BlockRun& run : impl_->allocator.runs().quarantined) {
    text += fmt::format("quarantined: {} bytes at {}\n", run.count * kBlockSize,
                        impl_->at(run.block).value());
  }
  text += fmt::format("objects: {}, {} names, {} extents\nengine: {}\n", c.objects.value(),
                      c.names.value(), c.extents.value(), impl_->engine.name());
  return text;
}

}  // namespace larder::store
