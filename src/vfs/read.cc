// SPDX-License-Identifier: Apache-2.0
// Reads.
//
// Warm: a MYTHREAD operation on the file's object, one read of the store into the buffer that the
// kernel takes the reply from, the check of the sums, the answer. On the thread that the request
// came on: no hand-off, no copy, no allocation, no call to the share.
//
// Everything else is *parked*: the reply moves into a ParkedRead, which waits for look-up of the
// object or for flights (fetch.cc), then is assembled from flights (the only copy) and store, and
// answered.
//
// Invariants:
//   1. A reply holds bytes of one generation, and that is the current one when it is sent. When it
//      has passed, the read runs again; after kAttemptsMax it is answered straight from the share.
//   2. A failure of the cache is never the reader's: it makes a flight.
#include <larder/log.h>
#include <larder/store.h>

#include <larder/transport_stats.h>

#include <algorithm>
#include <cstring>

#include "vfs/parked_read.h"
#include "vfs/vfs.h"

namespace larder {
namespace {

constexpr unsigned kAttemptsMax = 3;

}  // namespace

Vfs::Span Vfs::span_of(Inode& inode, ByteOffset offset, ByteCount count) {
  MutexLock lock(inode.mutex);
  Span span;
  span.generation = inode.generation.load();
  const std::uint64_t size = inode.attributes.size;
  span.offset = offset;
  span.count =
      ByteCount{offset.value() >= size ? 0 : std::min(count.value(), size - offset.value())};
  span.pages = pages_touching(span.offset, span.count);
  span.from_store = !inode.session.covers(span.pages);
  span.in_session = inode.session.open();
  return span;
}

// REQUIRES: `operation` is in progress. How many pages from the first were served.
PageCount Vfs::read_store(const cache::Operation& operation, PageRange pages,
                          std::span<std::byte> into) const {
  trace(Part::kPage, Moment::kEnter, "read(operation {:x}, page {}, {} pages)", operation.id,
        pages.first.value(), pages.count.value());
  const PageCount served = cache::FsCache::store_of(operation).read_now(
      cache::FsCache::data_of(operation), pages, into, read_mode());
  trace(Part::kPage, Moment::kLeave, "read(operation {:x}) = {} pages", operation.id,
        served.value());
  return served;
}

void Vfs::read(NodeId node, HandleId id, ByteOffset offset, ByteCount count, Reply reply) {
  if (parts_.control.owns(node)) return parts_.control.read(id, offset, count, std::move(reply));
  const Nanoseconds began = parts_.clock.mono_ns();
  counters_.reads.add();
  Handle& handle = handle_of(id);
  Inode& inode = *handle.inode;
  if (asks_at_read(inode)) {
    if (!park_question(reply)) return;
    return ask_then_read(
        std::make_unique<ParkedRead>(*this, handle, offset, count, began, std::move(reply)));
  }
  const Span span = span_of(inode, offset, count);
  if (span.count.value() == 0) return reply.data(ByteCount{0});
  if (span.from_store && !options_.verify) {
    cache::Operation operation;  // from the stack: one that would have to wait is not taken
    operation.kind = cache::OperationKind::kRead;
    if (parts_.cache.submit(inode.cookie_now(), operation) == cache::Submitted::kNow) {
      thread_local unsigned counted = 0;
      const Nanoseconds looked_up = is_timed(counted) ? parts_.clock.mono_ns() : 0;
      store::Store::AtOnce found;
      if (is_its(span, inode, operation)) found = read_store_at_once(operation, span.pages, reply);
      parts_.cache.complete(operation);
      if (looked_up != 0) time_read(handle, span, began, looked_up);
      if (found.served == span.pages.count && span.generation == inode.generation.load())
        return answer_warm(inode, span, began, reply);
      if (found.would_wait)
        return read_from_disk(handle, span, offset, count, began, std::move(reply));
    }
  }
  park_read(handle, offset, count, began, std::move(reply));
}

// In a session the store may hold pages of before it, in another object.
bool Vfs::is_its(const Span& span, const Inode& inode, const cache::Operation& operation) {
  return !span.in_session ||
         inode.session_object.load() == cache::FsCache::object_number(operation);
}

// What needs no waiting, and the rest too where the thread may wait.
store::Store::AtOnce Vfs::read_store_at_once(const cache::Operation& operation, PageRange pages,
                                             Reply& reply) const {
  store::Store& store = cache::FsCache::store_of(operation);
  const auto& object = cache::FsCache::data_of(operation);
  const std::span<std::byte> into = reply.payload();
  store::Store::AtOnce found = store.read_at_once(object, pages, into, read_mode());
  if (!found.would_wait || store.reads_on_this_ring() || !reply.may_wait_here()) return found;
  const PageRange rest{pages.first + found.served, pages.count - found.served};
  const auto behind = into.subspan(to_bytes(found.served).value());
  return {found.served + store.read_now(object, rest, behind, disk_read_mode())};
}

// How what the system's page cache may have is read. What the kernel keeps itself need not be in
// memory twice.
ReadMode Vfs::read_mode() const {
  switch (options_.store_reads) {
    case StoreReads::kAuto:
      return options_.direct_io ? ReadMode::kBuffered : ReadMode::kDropBehind;
    case StoreReads::kBuffered:
      return ReadMode::kBuffered;
    case StoreReads::kDropBehind:
      return ReadMode::kDropBehind;
    case StoreReads::kDirect:
      return ReadMode::kDirect;
  }
  return ReadMode::kBuffered;
}

// How what is not in the page cache is read. Past it is the shorter way, but nothing stays of it.
ReadMode Vfs::disk_read_mode() const {
  const bool kernel_keeps = !options_.direct_io;
  return options_.store_reads == StoreReads::kAuto && kernel_keeps ? ReadMode::kDirect
                                                                   : read_mode();
}

void Vfs::time_read(Handle& handle, const Span& span, Nanoseconds began_ns,
                    Nanoseconds looked_up_ns) {
  counters_.stage_lookup_ns.record(static_cast<std::uint64_t>(looked_up_ns - began_ns));
  counters_.stage_store_ns.record(
      static_cast<std::uint64_t>(parts_.clock.mono_ns() - looked_up_ns));
  Inode& inode = *handle.inode;
  busy_.count(&inode, span.count.value(),
              [&] { return names_.path_of(inode).value_or("(removed)"); });
}

void Vfs::answer_warm(Inode& inode, const Span& span, Nanoseconds began_ns, Reply& reply) {
  counters_.warm_reads.add();
  inode.warm_reads.fetch_add(1, std::memory_order_relaxed);
  counters_.warm_bytes.add(span.count.value());
  counters_.read_bytes.add(span.count.value());
  counters_.warm_read_ns.record(static_cast<std::uint64_t>(parts_.clock.mono_ns() - began_ns));
  reply.data(span.offset.value() % kPageSize, span.count);
}

void Vfs::park_read(Handle& handle, ByteOffset offset, ByteCount count, Nanoseconds began_ns,
                    Reply reply) {
  if (!park_question(reply)) return;
  resume_read(
      std::make_unique<ParkedRead>(*this, handle, offset, count, began_ns, std::move(reply)));
}

// In a session, what another object holds may be of before it.
bool Vfs::is_of_session(Inode& inode, const cache::Operation& operation) const {
  MutexLock lock(inode.mutex);
  return !inode.session.open() ||
         inode.session_object.load() == cache::FsCache::object_number(operation);
}

// -- parked

// Where each read is checked: first the version, then the bytes.
void Vfs::ask_then_read(std::unique_ptr<ParkedRead> read) {
  const InodeRef inode = read->handle.inode;
  Result<Target> target = target_of(*inode);
  if (!target) return read->reply.error(target.error());
  const Asked asked = ask();
  const CredentialsRef as = read->handle.as;
  parts_.share.call<Attributes>(
      CallKind::kNames, {.as = as},
      [target = std::move(*target)](Netfs& netfs) { return target.stat(netfs); },
      [this, inode, asked, read = std::move(read)](const Result<Attributes>& result) mutable {
        if (!result) return read->reply.error(result.error());
        if (!still_is(*inode, *result)) return read->reply.error({ErrorCode::kShareStale});
        validate(*inode, *result, asked);
        resume_read(std::move(read));
      });
}

// From the start: what is the version, and can the store be asked?
void Vfs::resume_read(std::unique_ptr<ParkedRead> read) {
  Inode& inode = read->inode();
  read->reply.may_leave();  // what came so far is not what it will be answered with
  const Span span = span_of(inode, read->asked_offset, read->asked_count);
  read->begin_attempt(span.offset, span.count, span.generation);
  if (span.count.value() == 0) return read->reply.data(ByteCount{0});
  if (read->attempts > kAttemptsMax) return read_uncached(std::move(read));
  if (!span.from_store || read->past_store) return fetch_missing(std::move(read), nullptr);

  with_store(std::move(read), &Vfs::fetch_missing);
}

// Goes on with `then` in a read operation on the object, now or when the object lets it; with a
// null operation where the store cannot be asked, or its turn does not come.
void Vfs::with_store(std::unique_ptr<ParkedRead> read, ReadStep then) {
  ParkedRead& parked = *read.release();  // the operation's, until run() or cancelled()
  ParkedRead::Waiting& waiting = parked.operation.emplace(parked, then);
  waiting.run = [](cache::Operation& operation) {
    ParkedRead::turn_came(static_cast<ParkedRead::Waiting&>(operation), StoreWaits::Turn::kCame);
  };
  waiting.cancelled = [](cache::Operation& operation) {
    ParkedRead::turn_came(static_cast<ParkedRead::Waiting&>(operation), StoreWaits::Turn::kNever);
  };
  waiting.go_on = [](StoreWaits::Wait& wait, StoreWaits::Turn turn) {
    auto& self = static_cast<ParkedRead::Waiting&>(wait);
    cache::Operation* const operation = turn == StoreWaits::Turn::kCame ? &self : nullptr;
    if (turn == StoreWaits::Turn::kTooLate) self.read.past_store = true;
    (self.read.vfs.*self.then)(std::unique_ptr<ParkedRead>(&self.read), operation);
  };
  store_waits_.add(waiting);
  switch (parts_.cache.submit(parked.inode().cookie_now(), waiting)) {
    case cache::Submitted::kNow:
      return ParkedRead::turn_came(waiting, StoreWaits::Turn::kCame);
    case cache::Submitted::kLater:
      return;
    case cache::Submitted::kNever:
      return ParkedRead::turn_came(waiting, StoreWaits::Turn::kNever);
  }
}

void ParkedRead::turn_came(Waiting& waiting, StoreWaits::Turn turn) {
  if (waiting.read.vfs.store_waits_.came(waiting, turn)) waiting.go_on(waiting, turn);
}

// Joins or starts flights for what the store does not hold. `operation`: in progress, or null where
// the store is not to be asked.
void Vfs::fetch_missing(std::unique_ptr<ParkedRead> read, cache::Operation* operation) {
  Inode& inode = read->inode();
  if (operation && !is_of_session(inode, *operation)) {
    parts_.cache.complete(*operation);
    operation = nullptr;
  }
  std::vector<PageRange> missing{read->pages};
  if (operation) {
    store::Store& store = cache::FsCache::store_of(*operation);
    missing = store.missing(cache::FsCache::data_of(*operation), read->pages);
    if (options_.verify) {
      set_aside(*read, *operation, missing);
      missing = {read->pages};
    }
    if (missing.empty()) return assemble(std::move(read), operation);
  }
  std::vector<Launch> launches;
  bool stale = false;
  {
    MutexLock lock(inode.mutex);
    stale = inode.generation.load() != read->generation;
    if (!stale) plan_flights_locked(inode, *read, missing, operation, launches);
  }
  if (operation) parts_.cache.complete(*operation);
  if (stale) return resume_read(std::move(read));
  // One more than flights joined: this thread's own hold, so that it is not assembled before all
  // were begun.
  ParkedRead& parked = *read.release();
  for (Launch& launch_it : launches) launch(parked.handle, std::move(launch_it));
  ParkedRead::landed(parked);
}

void ParkedRead::landed(memo::Flight::Waiter& waiter) {
  auto& self = static_cast<ParkedRead&>(waiter);
  if (self.outstanding.fetch_sub(1) != 1) return;
  self.vfs.all_landed(std::unique_ptr<ParkedRead>(&self));
}

void Vfs::all_landed(std::unique_ptr<ParkedRead> read) {
  for (const memo::FlightRef& flight : read->flights) {
    if (flight->bytes) continue;
    // A version that passed under the flight: again. Anything else is the share's answer.
    if (flight->error.code == ErrorCode::kStale) return resume_read(std::move(read));
    return read->reply.error(flight->error);
  }
  if (!read->reply.stay()) return;
  const bool all = read->copy_from_flights();
  if (read->aside && lies_aside(*read)) retire_liar(*read);  // then it is read again
  if (all) return answer_read(std::move(read));
  // The rest was in the store when we looked.
  with_store(std::move(read), &Vfs::assemble);
}

// Reads from the store what no flight brought. It runs on rings and on the threads that answer for
// the share, so it never waits for the disk.
void Vfs::assemble(std::unique_ptr<ParkedRead> read, cache::Operation* operation) {
  if (!operation) return resume_read(std::move(read));
  if (!read->reply.stay()) return parts_.cache.complete(*operation);
  if (!is_of_session(read->inode(), *operation)) {
    parts_.cache.complete(*operation);
    return resume_read(std::move(read));
  }
  store::Store& store = cache::FsCache::store_of(*operation);
  bool whole = true;
  std::vector<PageRange> at_disk;
  for (const PageRange& range : read->not_in_flights()) {
    const store::Store::AtOnce found = store.read_at_once(
        cache::FsCache::data_of(*operation), range, read->payload_of(range), read_mode());
    if (found.would_wait)
      at_disk.push_back({range.first + found.served, range.count - found.served});
    else
      whole = whole && found.served == range.count;
  }
  if (whole && !at_disk.empty()) return assemble_from_disk(std::move(read), *operation, at_disk);
  assembled(std::move(read), *operation, whole ? Assembled::kWhole : Assembled::kNot);
}

void Vfs::assembled(std::unique_ptr<ParkedRead> read, cache::Operation& operation,
                    Assembled outcome) {
  parts_.cache.complete(operation);
  // Evicted or damaged meanwhile: once more, this time it is missing.
  if (outcome != Assembled::kWhole) return resume_read(std::move(read));
  answer_read(std::move(read));
}

void Vfs::answer_read(std::unique_ptr<ParkedRead> read) {
  if (read->inode().generation.load() != read->generation) return resume_read(std::move(read));
  const bool cold = !read->flights.empty();
  (cold ? counters_.cold_reads : counters_.warm_reads).add();
  (cold ? counters_.cold_bytes : counters_.warm_bytes).add(read->count.value());
  counters_.read_bytes.add(read->count.value());
  (cold ? counters_.cold_read_ns : counters_.warm_read_ns)
      .record(static_cast<std::uint64_t>(parts_.clock.mono_ns() - read->began_mono_ns));
  counters_.copied_bytes.add(read->copied_bytes);
  read->reply.data(read->offset.value() % kPageSize, read->count);
}

// The file changes faster than it can be fetched: what the share says now, and nothing is kept.
void Vfs::read_uncached(std::unique_ptr<ParkedRead> read) {
  counters_.uncached_reads.add();
  Inode& inode = read->inode();
  const auto buffer = std::make_shared<AlignedBuffer>(read->asked_count.value());
  Target target = target_to_read(inode, *read->handle.slot_to_read());
  const ByteOffset offset = read->asked_offset;
  const ByteCount count = read->asked_count;
  const CredentialsRef as = read->handle.as;
  parts_.share.call<ByteCount>(
      CallKind::kData, {.as = as},
      [target = std::move(target), buffer, offset, count](Netfs& netfs) -> Result<ByteCount> {
        TRY(const auto file, target.opened(netfs));
        return netfs.read(*file, offset, buffer->span().first(count.value()));
      },
      [this, buffer, read = std::move(read)](Result<ByteCount> result) mutable {
        if (!result) return read->reply.error(result.error());
        if (!read->reply.stay()) return;
        parts_.share.counters().bytes_read.add(result->value());
        std::memcpy(read->reply.payload().data(), buffer->data(), result->value());
        counters_.copied_bytes.add(result->value());
        counters_.read_bytes.add(result->value());
        read->reply.data(*result);
      });
}

}  // namespace larder
