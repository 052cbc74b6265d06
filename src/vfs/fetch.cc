// SPDX-License-Identifier: Apache-2.0
// Fetches and fills.
//
// A fetch is a flight, not an operation: it runs on a share thread into a buffer of our own, for as
// long as the share takes, and nothing queues behind it. The fill is the operation: SLOW, on the
// machine queue, from the same buffer. In between the flight stays joinable, so that a page is
// always in flight or in the store and 32 readers of a cold file cause one pass over it.
//
// Behind each fetch the file is asked for its attributes: only if it still is the version that was
// current when the flight began do the bytes count. Else there is a new version, and who waited
// reads again.
#include <fcntl.h>
#include <larder/log.h>

#include <larder/store.h>

#include <algorithm>
#include <cstring>

#include "vfs/parked_read.h"
#include "vfs/vfs.h"

namespace larder {
namespace {

// One call to the share fetches at most this; a long run is several flights at once.
constexpr std::uint64_t kFlightPagesMax = (1 << 20) / kPageSize;
// Flights of one file under way at once; above, no read-ahead.
constexpr std::size_t kFlightsMax = 16;

}  // namespace

// Joins what is in flight of `missing`, and begins flights for the rest and for what a sequential
// reader will want next.
void Vfs::plan_flights_locked(Inode& inode, ParkedRead& read, const std::vector<PageRange>& missing,
                              const cache::Operation* operation, std::vector<Launch>& launches) {
  std::vector<PageRange> gaps;
  for (const PageRange& range : missing)
    inode.flights.cover(range, read.generation, read.flights, gaps);
  if (!read.flights.empty()) counters_.flight_joins.add();
  for (const PageRange& gap : gaps) {
    begin_flights_locked(inode, gap, launches);
    for (const Launch& launch : launches)
      if (!intersect(launch.flight->range, gap).empty()) read.flights.push_back(launch.flight);
  }
  // A flight that reaches over two of the missing runs was found twice.
  std::sort(read.flights.begin(), read.flights.end(),
            [](const auto& a, const auto& b) { return a->range.first < b->range.first; });
  read.flights.erase(std::unique(read.flights.begin(), read.flights.end()), read.flights.end());
  for (const memo::FlightRef& flight : read.flights) {
    if (flight->landed) continue;
    flight->waiters.push_back(&read);
    read.outstanding.fetch_add(1);
  }
  if (!gaps.empty() || !read.flights.empty()) begin_ahead_locked(inode, read, operation, launches);
}

void Vfs::begin_flights_locked(Inode& inode, PageRange range, std::vector<Launch>& launches) {
  for (PageIndex at = range.first; at < range.end();) {
    const PageCount count{std::min(kFlightPagesMax, (range.end() - at).value())};
    const std::uint64_t from = to_bytes(at).value();
    const ByteCount expected{std::min(to_bytes(count).value(), inode.attributes.size - from)};
    const PageRange pages{at, count};
    memo::FlightRef flight = inode.flights.begin(pages, inode.generation.load());
    if (inode.session.covers(pages)) {
      flight->keep = false;
      flight->joinable = false;
    }
    counters_.flights.add();
    launches.push_back({std::move(flight), expected});
    at += count;
  }
}

// A reader that goes on gets ahead of itself, in whole flights.
void Vfs::begin_ahead_locked(Inode& inode, const ParkedRead& read,
                             const cache::Operation* operation, std::vector<Launch>& launches) {
  if (!inode.cookie) return;  // nothing would keep it
  std::uint64_t ahead = 0;
  {
    MutexLock lock(read.handle.mutex);
    ahead = read.handle.ahead.next(read.offset.value(), read.count.value());
  }
  const PageCount file_pages = pages_for(ByteCount{inode.attributes.size});
  const PageIndex end{std::min(file_pages.value(),
                               page_of(read.offset).value() + pages_for(ByteCount{ahead}).value())};
  if (end <= read.pages.end() || inode.flights.size() >= kFlightsMax || !has_room_ahead()) return;
  std::vector<PageRange> missing{{read.pages.end(), end - read.pages.end()}};
  if (operation)
    missing = cache::FsCache::store_of(*operation)
                  .missing(cache::FsCache::data_of(*operation), missing.front());
  std::vector<memo::FlightRef> joined;
  std::vector<PageRange> gaps;
  for (const PageRange& range : missing) inode.flights.cover(range, read.generation, joined, gaps);
  for (const PageRange& gap : gaps) {
    // Short of a whole flight, ahead waits until there is more to fetch at once, or the end of the
    // file.
    const bool worth = gap.count.value() >= kFlightPagesMax / 4 || gap.end() == end ||
                       gap.end().value() == file_pages.value();
    if (worth && inode.flights.size() < kFlightsMax) begin_flights_locked(inode, gap, launches);
  }
}

// What a handle opened serves it for as long as that speaks for the inode (open_files.h); else it
// is to be opened by one of its names.
Target Vfs::target_to_read(const Inode& inode, const FileSlot& slot) const {
  const std::shared_ptr<NetfsFile> own = slot.to_read();
  Target target = target_by(inode, own ? inode.if_its_own(own) : nullptr);
  if (target.file) return target;
  if (target.path.empty())
    target.file = own ? own : inode.any_open_file(OpenFiles::Use::kReading);
  else if (own)
    target.file = inode.open_file(OpenFiles::Use::kReading);
  return target;
}

// What a fetch of the version `of` opened serves the handle from here on, if that is still current.
void Vfs::keep_to_read(Inode& inode, FileSlot& slot, const std::shared_ptr<NetfsFile>& file,
                       std::uint64_t of) {
  const std::shared_ptr<NetfsFile> own = slot.to_read();
  std::shared_ptr<NetfsFile> before;  // goes behind the lock
  MutexLock lock(inode.mutex);
  if (of != inode.generation.load() || own == file) return;
  before = slot.set_to_read(file);
  if (!inode.open_files.has(file)) inode.open_files.add(file, OpenFiles::Use::kReading);
}

void Vfs::launch(Handle& handle, Launch launch) {
  const InodeRef inode = handle.inode;
  const memo::FlightRef flight = std::move(launch.flight);
  const ByteCount expected = launch.expected;
  const auto bytes = fetch_buffer(to_bytes(flight->range.count).value());
  // A handle that was opened without asking the share gets its file at the first miss.
  const std::shared_ptr<FileSlot> slot = handle.slot_to_read();
  Target target = target_to_read(*inode, *slot);
  const bool immutable = parts_.policy.resolve(*inode).coherency == Coherency::kImmutable;
  const After after = immutable ? After::kTrusted : After::kAsked;
  const Nanoseconds began_share_ns = share_clock_.now_ns();
  parts_.share.call<Fetched>(
      CallKind::kData, {.as = handle.as},
      [target = std::move(target), bytes, expected, offset = to_bytes(flight->range.first),
       after](Netfs& netfs) -> Result<Fetched> {
        TRY(auto file, target.opened(netfs));
        return fetch(netfs, std::move(file), offset, bytes->span().first(expected.value()), after);
      },
      [this, inode, flight, bytes, expected, began_share_ns, slot](Result<Fetched> result) {
        if (result) {
          keep_to_read(*inode, *slot, result->file, flight->version);
          parts_.share.counters().bytes_read.add(result->count.value());
        }
        landed(*inode, flight, bytes, expected, result, began_share_ns);
      });
}

// On a share thread: the bytes, and which version the file is of behind them.
Result<Vfs::Fetched> Vfs::fetch(Netfs& netfs, std::shared_ptr<NetfsFile> file, ByteOffset offset,
                                std::span<std::byte> into, After after) {
  TRY(const ByteCount count, netfs.read(*file, offset, into));
  if (after == After::kTrusted) return Fetched{count, std::nullopt, std::move(file)};
  TRY(const Attributes now, netfs.stat(*file, Freshness::kServer));
  return Fetched{count, now, std::move(file)};
}

void Vfs::landed(Inode& inode, const memo::FlightRef& flight,
                 const std::shared_ptr<AlignedBuffer>& bytes, ByteCount expected,
                 const Result<Fetched>& result, Nanoseconds began_share_ns) {
  std::vector<memo::Flight::Waiter*> waiters;
  bool new_version = false;
  bool fill_it = false;
  {
    MutexLock lock(inode.mutex);
    if (!result) {
      waiters = inode.flights.fail(*flight, result.error());
      inode.flights.remove(*flight);
    } else {
      const Identity after =
          result->after ? identity_of(*result->after, parts_.share.traits()) : inode.identity;
      const bool ours = inode.session.kind == Session::Kind::kWrite;
      bool current = flight->version == inode.generation.load();
      if (current && !ours && after != inode.identity) {
        take_version_locked(inode, *result->after);
        new_version = true;
      } else if (current && ours && result->after && inode.session.writers == 0 &&
                 after != inode.session.start) {
        // The last writer has gone and its session is not settled yet: nobody here changes the
        // file, so that what shows otherwise than before may be half of the one, half of the other.
        inode.attributes = *result->after;
        inode.shows_foreign_version_locked();
        forget_pages_locked(inode);
        begin_write_session_anew_locked(inode, *result->after);
        new_version = true;
      }
      // A file that we are writing may end elsewhere by now, but only where the share says so
      // behind the read: a read that is merely short is no reason to take the rest for missing.
      const bool ends_here =
          ours && result->after &&
          to_bytes(flight->range.first).value() + result->count.value() == result->after->size;
      current = current && !new_version && (result->count == expected || ends_here);
      if (current) {
        counters_.flight_bytes.add(result->count.value());
        if (is_racy(after, began_share_ns)) fetched_fresh_locked(inode, *flight);
        flight->ends = result->count != expected;
        waiters = inode.flights.land(*flight, bytes, result->count);
        fill_it = flight->keep && result->count == expected;
      } else {
        counters_.stale_flights.add();
        waiters = inode.flights.fail(*flight, Error{ErrorCode::kStale});
      }
      if (!fill_it) inode.flights.remove(*flight);
    }
  }
  if (new_version) kernel_->drop_pages(inode.node());
  tell(waiters);
  if (fill_it) fill(inode, flight);
}

void Vfs::tell(const std::vector<memo::Flight::Waiter*>& waiters) {
  for (memo::Flight::Waiter* waiter : waiters) waiter->landed(*waiter);
}

// -- fills

// One fill: a SLOW operation from the flight's buffer. Owns itself until the store is done with it.
struct Vfs::FillJob : cache::Operation {
  FillJob(Vfs& v, Inode& i, memo::FlightRef f) : vfs(v), inode(&i), flight(std::move(f)) {
    type = cache::OperationType::kSlow;
    kind = cache::OperationKind::kFill;
    run = [](cache::Operation& self) { static_cast<FillJob&>(self).start(); };
    cancelled = [](cache::Operation& self) {
      auto& job = static_cast<FillJob&>(self);
      job.vfs.counters_.fills_skipped.add();
      job.end();
    };
  }

  void start() {
    fill.object = cache::FsCache::data_of(*this);
    fill.first = flight->range.first;
    fill.data = flight->bytes->span().first(to_bytes(flight->range.count).value());
    fill.done = [](store::Fill& done, Status) {
      FillJob& job = *static_cast<Filling&>(done).job;
      job.vfs.parts_.cache.complete(job);
      job.end();
    };
    fill.job = this;
    bool still = false;
    {
      // Under the inode's lock: from a version that is current here the store's generation follows,
      // since every later one counts up here before it does there.
      MutexLock lock(inode->mutex);
      still = flight->keep && flight->version == inode->generation.load() &&
              inode->session.may_fill() &&
              (!inode->session.open() ||
               inode->session_object.load() == cache::FsCache::object_number(*this));
      fill.generation = cache::FsCache::store_of(*this).generation(fill.object);
      fill.file_size = ByteCount{inode->attributes.size};
    }
    trace(Part::kPage, Moment::kEnter, "fill(operation {:x}, page {}, {} pages){}", id,
          flight->range.first.value(), flight->range.count.value(), still ? "" : ": stale");
    if (still) return cache::FsCache::store_of(*this).fill(fill);
    vfs.counters_.fills_skipped.add();
    vfs.parts_.cache.complete(*this);
    end();
  }

  // The flight has served: the pages are in the store, or will be asked for again.
  void end() {
    {
      MutexLock lock(inode->mutex);
      inode->flights.remove(*flight);
    }
    const std::unique_ptr<FillJob> gone(this);
  }

  struct Filling : store::Fill {
    FillJob* job = nullptr;
  };

  Vfs& vfs;
  InodeRef inode;
  memo::FlightRef flight;
  Filling fill;
};

void Vfs::fill(Inode& inode, memo::FlightRef flight) {
  auto job = std::make_unique<FillJob>(*this, inode, std::move(flight));
  FillJob& running = *job.release();
  if (parts_.cache.submit(inode.cookie_now(), running) != cache::Submitted::kNever) return;
  counters_.fills_skipped.add();
  running.end();
}

}  // namespace larder
