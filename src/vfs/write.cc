// SPDX-License-Identifier: Apache-2.0
// Writes go through: write(2) returns what the share returned.
//
// Order of a write to pages P:
//   1. P enters `session.written` and flights over P are tainted: from here the store is not asked
//   for P, and
//      what is being fetched of it fills nothing.
//   2. The share writes, from the request's own buffer.
//   3. The request is answered. The store is told behind that: an *exclusive* operation drops P, so
//   fills
//      of before have ended and later ones come behind; whole pages of P are then filled from a
//      copy; P leaves `written`.
// So no write waits for the store, and no reader sees a page of before a write that was answered.
//
// Write sessions: src/vfs/session.h. What a session cannot explain by our own writes is not kept.
#include <algorithm>
#include <cstring>

#include "store/store.h"
#include "vfs/late_settling.h"
#include "vfs/vfs.h"

namespace larder {
namespace {

// Copies of written pages on their way to the store; above, pages are dropped and fetched when next
// read.
constexpr std::uint64_t kCopiesMaxBytes = 64 << 20;

// The pages that lie wholly inside the written bytes; the last may end with the file.
PageRange whole_pages(ByteOffset offset, ByteCount count, std::uint64_t file_size) {
  const std::uint64_t first = (offset.value() + kPageSize - 1) / kPageSize;
  const std::uint64_t end_byte = offset.value() + count.value();
  const std::uint64_t end =
      end_byte == file_size ? (end_byte + kPageSize - 1) / kPageSize : end_byte / kPageSize;
  return {PageIndex{first}, PageCount{end > first ? end - first : 0}};
}

// From `size` on to the end of any file.
PageRange pages_from(std::uint64_t size) {
  const PageIndex first = page_of(ByteOffset{size});
  return {first, PageIndex{~std::uint64_t{0} / kPageSize} - first};
}

}  // namespace

// Tells the store of one written (or cut off) range. Owns itself until done.
struct Vfs::WrittenJob : cache::Operation {
  WrittenJob(Vfs& v, Inode& i, PageRange range, std::uint64_t t)
      : vfs(v), inode(&i), pages(range), ticket(t) {
    type = cache::OperationType::kSlow;
    sharing = cache::Sharing::kExclusive;
    kind = cache::OperationKind::kFill;
    run = [](cache::Operation& self) { static_cast<WrittenJob&>(self).start(); };
    cancelled = [](cache::Operation& self) { static_cast<WrittenJob&>(self).end(); };
  }

  void start() {
    store::Store& store = cache::FsCache::store_of(*this);
    const auto& data = cache::FsCache::data_of(*this);
    if (cut_to) {
      store.truncate(data, *cut_to);
    } else {
      store.drop(data, pages);
    }
    if (!bytes) return finish();
    filling.job = this;
    filling.object = data;
    filling.generation = store.generation(data);
    filling.first = whole.first;
    filling.data = bytes->span().first(to_bytes(whole.count).value());
    filling.file_size = file_size;
    filling.done = [](store::Fill& done, Status) { static_cast<Filling&>(done).job->finish(); };
    store.fill(filling);
  }
  void finish() {
    vfs.parts_.cache.complete(*this);
    end();
  }
  void end() {
    {
      MutexLock lock(inode->mutex);
      inode->session.end_range(ticket);
    }
    const std::unique_ptr<WrittenJob> gone(this);
  }
  ~WrittenJob() {
    if (bytes) vfs.copies_in_flight_bytes_.fetch_sub(bytes->size());
  }

  struct Filling : store::Fill {
    WrittenJob* job = nullptr;
  };
  Vfs& vfs;
  InodeRef inode;
  PageRange pages;
  std::uint64_t ticket;
  std::optional<ByteCount> cut_to;             // a truncate
  std::shared_ptr<const AlignedBuffer> bytes;  // of `whole`; null: nothing to fill
  PageRange whole{};
  ByteCount file_size{};
  Filling filling;
};

// Begins or ends a session in the store. Owns itself until done.
struct Vfs::SessionJob : cache::Operation {
  enum class What : std::uint8_t { kBegin, kEnd };

  SessionJob(Vfs& v, Inode& i, What w, const Identity& version)
      : vfs(v), inode(&i), what(w), identity(version) {
    type = cache::OperationType::kSlow;
    sharing = cache::Sharing::kExclusive;
    kind = cache::OperationKind::kSession;
    run = [](cache::Operation& self) {
      auto& job = static_cast<SessionJob&>(self);
      job.start();
      job.vfs.parts_.cache.complete(job);
      const std::unique_ptr<SessionJob> gone(&job);
    };
    // Only a begin that was not yet run: an invalidation came first, and what it left needs
    // another.
    cancelled = [](cache::Operation& self) {
      const std::unique_ptr<SessionJob> gone(static_cast<SessionJob*>(&self));
      MutexLock lock(gone->inode->mutex);
      if (gone->what == What::kBegin) gone->inode->session.begun = false;
    };
  }

  void start() {
    store::Store& store = cache::FsCache::store_of(*this);
    const auto& data = cache::FsCache::data_of(*this);
    switch (what) {
      case What::kBegin:
        return store.begin_session(data);
      case What::kEnd:
        return store.end_session(data, identity.encode(), ByteCount{identity.size});
    }
  }

  Vfs& vfs;
  InodeRef inode;
  What what;
  Identity identity;
};

// The operations of one inode stand in the order in which its lock was held.
template <class Job>
bool Vfs::submit_locked(Inode& inode, std::unique_ptr<Job> job) {
  Job& submitted = *job.release();  // its own from here on, unless it is not taken
  if (parts_.cache.submit(inode.cookie, submitted) != cache::Submitted::kNever) return true;
  job.reset(&submitted);
  return false;
}

// -- writing
// -----------------------------------------------------------------------------------------------

void Vfs::write(NodeId node, HandleId id, ByteOffset offset, std::span<const std::byte> data,
                Reply reply) {
  if (parts_.control.owns(node)) return reply.error({ErrorCode::kPermission});
  counters_.writes.add();
  Handle& handle = handle_of(id);
  const std::shared_ptr<NetfsFile> file = handle.share_file();
  if (!file) return reply.error({ErrorCode::kShareStale});
  if (!park(reply)) return;
  const InodeRef inode = handle.inode;
  std::uint64_t ticket = 0;
  {
    MutexLock lock(inode->mutex);
    const PageRange pages = pages_touching(offset, ByteCount{data.size()});
    inode->flights.taint(pages);
    ticket = inode->session.begin_range(pages);
  }
  // No deadline: the payload is the request's own buffer, and the share may still read it.
  parts_.share.call<Written>(
      CallKind::kData, {CallOptions::kNone},
      [file, offset, data, appends = handle.appends()](Netfs& netfs) -> Result<Written> {
        TRY(const ByteCount count, netfs.write(*file, offset, data));
        if (!appends) return Written{count, std::nullopt};
        // The kernel's idea of where the end was may be old: where did it go?
        TRY(const Attributes after, netfs.stat(*file, Freshness::kServer));
        return Written{count, after};
      },
      [this, inode, offset, data, ticket,
       reply = std::move(reply)](Result<Written> result) mutable {
        wrote(*inode, offset, data, ticket, result);
        if (!result) return reply.error(result.error());
        counters_.write_bytes.add(result->count.value());
        parts_.share.counters().bytes_written.add(result->count.value());
        reply.written(result->count);
      });
}

// The share has answered; the request has not been.
void Vfs::wrote(Inode& inode, ByteOffset offset, std::span<const std::byte> data,
                std::uint64_t ticket, const Result<Written>& result) {
  const std::uint64_t end = offset.value() + data.size();
  bool elsewhere = false;
  {
    MutexLock lock(inode.mutex);
    ++inode.change_count;
    inode.session.wrote = true;
    inode.session.own_mtime_ns.reset();
    PageRange pages = pages_touching(offset, ByteCount{data.size()});
    if (result) {
      inode.attributes.size = std::max(inode.attributes.size, end);
      inode.attributes.mtime_ns = inode.attributes.ctime_ns = parts_.clock.wall_ns();
      inode.trusted_until_mono_ns = 0;
      if (result->after) {
        elsewhere = result->after->size != end;
        inode.attributes.size = result->after->size;
      }
      inode.session.expected_size = std::max(inode.session.expected_size, inode.attributes.size);
    } else {
      // Some of it may have been written, so what the file holds there is not known.
      inode.session.explained = false;
    }
    if (elsewhere) {
      // Somebody else appended too: neither the range nor what the kernel put there is right.
      inode.session.explained = false;
      pages = pages_from(std::min(offset.value(), result->after->size - data.size()));
    }
    inode.flights.taint(pages);
    auto job = std::make_unique<WrittenJob>(*this, inode, pages, ticket);
    const PageRange whole = whole_pages(offset, ByteCount{data.size()}, inode.attributes.size);
    const bool room = copies_in_flight_bytes_.load() < kCopiesMaxBytes;
    if (result && !elsewhere && !whole.empty() && inode.cookie && inode.session.begun && room) {
      // A copy: the request's own buffer goes back to the kernel with the answer.
      auto copy = std::make_shared<AlignedBuffer>(to_bytes(whole.count).value());
      const std::size_t skip = to_bytes(whole.first).value() - offset.value();
      const std::size_t length = std::min(data.size() - skip, to_bytes(whole.count).value());
      std::memcpy(copy->data(), data.data() + skip, length);
      counters_.copied_bytes.add(length);
      copies_in_flight_bytes_.fetch_add(copy->size());
      job->bytes = std::move(copy);
      job->whole = whole;
      job->file_size = ByteCount{inode.attributes.size};
    }
    // Where nothing is cached of the file there is nothing to tell.
    if (!submit_locked(inode, std::move(job))) inode.session.end_range(ticket);
  }
  if (elsewhere) kernel_->drop_pages(inode.node());
}

// -- truncating
// --------------------------------------------------------------------------------------------

std::uint64_t Vfs::begin_truncate(Inode& inode, std::uint64_t size) {
  MutexLock lock(inode.mutex);
  const PageRange pages = pages_from(size);
  inode.flights.taint(pages);
  return inode.session.begin_range(pages);
}

void Vfs::truncated(Inode& inode, std::uint64_t size, std::uint64_t ticket,
                    const Result<Attributes>& result) {
  MutexLock lock(inode.mutex);
  ++inode.change_count;
  const std::uint64_t before = inode.attributes.size;
  inode.flights.taint(pages_from(std::min(size, before)));
  if (result) {
    inode.attributes = *result;
    inode.attributes_known = true;
    inode.trusted_until_mono_ns = parts_.clock.mono_ns() + attr_trust_ns(inode);
  }
  if (!inode.is_regular()) return inode.session.end_range(ticket);
  if (inode.session.kind == Session::Kind::kWrite) {
    inode.session.wrote = true;
    inode.session.own_mtime_ns.reset();
    inode.session.explained = inode.session.explained && result && result->size == size;
    inode.session.expected_size = size;
  } else if (result) {
    // Nobody has it open for writing: a version of its own, of which nothing is cached yet.
    new_version_locked(inode, identity_of(*result, parts_.share.traits()));
  }
  auto job = std::make_unique<WrittenJob>(*this, inode, pages_from(size), ticket);
  job->cut_to = ByteCount{std::min(size, before)};
  if (!submit_locked(inode, std::move(job))) inode.session.end_range(ticket);
}

// -- sessions
// ----------------------------------------------------------------------------------------------

void Vfs::begin_write_session_locked(Inode& inode) {
  Session& session = inode.session;
  if (session.writers++ != 0) return;
  const bool was_volatile = session.kind == Session::Kind::kVolatile;
  const bool was_settling = session.kind == Session::Kind::kWrite;
  if (was_settling) return;  // the last writer has only just gone: the same session goes on
  session.kind = Session::Kind::kWrite;
  begin_write_session_anew_locked(inode, inode.attributes);
  session.explained = inode.identity_known && !was_volatile;
  if (!was_volatile)
    session.begun = submit_locked(
        inode,
        std::make_unique<SessionJob>(*this, inode, SessionJob::What::kBegin, inode.identity));
}

// From here on, what the share shows is measured against `now`.
void Vfs::begin_write_session_anew_locked(Inode& inode, const Attributes& now) {
  Session& session = inode.session;
  session.wrote = false;
  session.fetched_fresh = false;
  session.own_mtime_ns.reset();
  session.start = identity_of(now, parts_.share.traits());
  session.explained = true;
  session.expected_size = now.size;
  session.began_share_ns = share_clock_.now_ns();
}

// What is cached of the content goes, in the middle of a session.
void Vfs::forget_pages_locked(Inode& inode) {
  inode.generation.fetch_add(1);
  inode.flights.taint_all();
  counters_.new_versions.add();
  const PageRange all = pages_from(0);
  const std::uint64_t ticket = inode.session.begin_range(all);
  if (!submit_locked(inode, std::make_unique<WrittenJob>(*this, inode, all, ticket)))
    inode.session.end_range(ticket);
}

// What `flight` brought may change and show the same stamp: it serves the open handles, and no
// longer.
void Vfs::fetched_fresh_locked(Inode& inode, memo::Flight& flight) {
  if (inode.session.kind != Session::Kind::kWrite) return begin_volatile_session_locked(inode);
  if (inode.session.writers == 0) flight.keep = false;
  inode.session.fetched_fresh = true;
}

void Vfs::begin_volatile_session_locked(Inode& inode) {
  if (inode.session.open()) return;
  inode.session.kind = Session::Kind::kVolatile;
  inode.session.begun = submit_locked(
      inode, std::make_unique<SessionJob>(*this, inode, SessionJob::What::kBegin, inode.identity));
}

void Vfs::end_volatile_session_locked(Inode& inode) {
  counters_.sessions_dropped.add();
  new_version_locked(inode, inode.identity);
}

void Vfs::last_writer_gone(const InodeRef& inode, const std::shared_ptr<NetfsFile>& file) {
  parts_.share.call<Attributes>(
      CallKind::kNames, {},
      [file](Netfs& netfs) -> Result<Attributes> {
        if (!file) return fail(ErrorCode::kShareStale);
        return netfs.stat(*file, Freshness::kServer);
      },
      [this, inode](Result<Attributes> now) { settle_session(*inode, now); });
}

// Is what the share shows now what our own writes explain? Then our pages are of that version, and
// stay.
bool Vfs::explains_locked(const Inode& inode, const Attributes& now) const {
  const Session& session = inode.session;
  const Identity identity = identity_of(now, parts_.share.traits());
  if (!session.explained || !session.begun || session.fetched_fresh) return false;
  if (!session.wrote && !session.own_mtime_ns) return identity == session.start;
  if (now.size != session.expected_size) return false;
  const Nanoseconds step_ns = granularity_of(now.mtime_ns);
  // Too coarse to tell our last write from somebody else's in the same step.
  if (step_ns >= kSecond && !session.own_mtime_ns) return false;
  if (session.own_mtime_ns) return now.mtime_ns == *session.own_mtime_ns;
  return now.mtime_ns >= session.began_share_ns - step_ns &&
         now.mtime_ns <= share_clock_.now_ns() + step_ns;
}

// How long until the next write bears another stamp; 0: it does already, or this one was set far
// ahead.
Nanoseconds Vfs::fresh_for_ns(const Attributes& now) const {
  const std::int64_t newest_ns = newest_stamp_ns(identity_of(now, parts_.share.traits()));
  const Nanoseconds step_ns = granularity_of(newest_ns);
  const Nanoseconds fresh_ns = newest_ns + step_ns - share_clock_.now_ns() + 1;
  return fresh_ns > 2 * step_ns ? 0 : std::max<Nanoseconds>(fresh_ns, 0);
}

// A record made now would name a stamp that the next write may bear as well; and should that be
// killed before the store hears of it, the record would pass for its version. So it is made when
// the stamp is old.
void Vfs::settle_late(Inode& inode, const Attributes& now, Nanoseconds after_ns) {
  LateSettling* settling = nullptr;
  {
    MutexLock lock(settling_mutex_);
    settling = &settling_.emplace_back(*this, inode, now);
  }
  parts_.timers.add(*settling, parts_.clock.mono_ns() + after_ns);
}

void Vfs::settle_now(LateSettling& settling) {
  std::list<LateSettling> done;
  {
    MutexLock lock(settling_mutex_);
    const auto at = std::find_if(settling_.begin(), settling_.end(),
                                 [&](const LateSettling& s) { return &s == &settling; });
    done.splice(done.begin(), settling_, at);
  }
  settle_session(*settling.inode, settling.now);
}

void Vfs::settle_session(Inode& inode, const Result<Attributes>& now) {
  bool drop_kernel = false;
  {
    MutexLock lock(inode.mutex);
    if (inode.session.writers != 0 || inode.session.kind != Session::Kind::kWrite) return;
    const bool keep = now && explains_locked(inode, *now);
    const Nanoseconds fresh_ns = keep ? fresh_for_ns(*now) : 0;
    if (fresh_ns > 0) {
      lock.unlock();
      return settle_late(inode, *now, fresh_ns);
    }
    (keep ? counters_.sessions_kept : counters_.sessions_dropped).add();
    if (now) {
      inode.attributes = *now;
      inode.trusted_until_mono_ns = parts_.clock.mono_ns() + attr_trust_ns(inode);
      inode.set_identity_locked(identity_of(*now, parts_.share.traits()));
    }
    const Identity version = inode.identity;
    bool ended = false;
    if (keep) {
      parts_.cache.update(inode.cookie, version.encode(), ByteCount{version.size});
      ended = submit_locked(
          inode, std::make_unique<SessionJob>(*this, inode, SessionJob::What::kEnd, version));
    }
    inode.session.kind = Session::Kind::kNone;
    inode.session.begun = false;
    if (!ended) {
      // What is cached goes, and the store's session with it.
      new_version_locked(inode, version);
      drop_kernel = true;
    }
  }
  if (drop_kernel) kernel_->drop_pages(inode.node());
}

}  // namespace larder
