// SPDX-License-Identifier: Apache-2.0
// Sessions: when they begin, what they explain, and how they end (src/vfs/session.h says what they
// are).
#include <algorithm>

#include "vfs/late_settling.h"
#include "vfs/write_jobs.h"

namespace larder {

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

void Vfs::note_written_locked(Inode& inode) {
  inode.session.wrote = true;
  inode.session.own_mtime_ns.reset();
  inode.session.wrote_share_ns = share_clock_.now_ns();
  inode.session.unsent = parts_.share.traits().sends_late;
}

// The share has flushed all that was written before `asked`.
void Vfs::note_sent(Inode& inode, const Asked& asked) {
  MutexLock lock(inode.mutex);
  if (!inode.session.unsent) return;
  inode.session.wrote_share_ns = share_clock_.now_ns();
  inode.session.unsent = inode.last_change > asked.last_change;
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

void Vfs::last_writer_gone(const InodeRef& inode, const std::shared_ptr<NetfsFile>& file,
                           bool speaks_for_it) {
  if (!file) return settle_session(*inode, fail(ErrorCode::kShareStale), {});
  const Result<Target> by_name = speaks_for_it ? fail(ErrorCode::kShareStale) : target_of(*inode);
  ask_to_settle(inode, by_name.value_or(target_by(*inode, file)));
}

void Vfs::ask_to_settle(const InodeRef& inode, Target target) {
  const Asked asked = ask();
  parts_.share.call<Attributes>(
      CallKind::kNames, {},
      [target = std::move(target)](Netfs& netfs) { return target.stat(netfs); },
      [this, inode, asked](Result<Attributes> now) { settle_session(*inode, now, asked); });
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
  const Nanoseconds sent_ns = session.unsent ? share_clock_.now_ns() : session.wrote_share_ns;
  return now.mtime_ns >= session.began_share_ns - step_ns && now.mtime_ns <= sent_ns + step_ns;
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
void Vfs::settle_late(Inode& inode, const Attributes& now, const Asked& asked,
                      Nanoseconds after_ns) {
  LateSettling* settling = nullptr;
  {
    MutexLock lock(settling_mutex_);
    settling = &settling_.emplace_back(*this, inode, now, asked);
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
  settle_session(*settling.inode, settling.now, settling.asked);
}

void Vfs::settle_session(Inode& inode, const Result<Attributes>& now, const Asked& asked) {
  bool drop_kernel = false;
  Result<Target> target = target_of(inode);
  {
    MutexLock lock(inode.mutex);
    if (inode.session.writers != 0 || inode.session.kind != Session::Kind::kWrite) return;
    // Where a change of our own came in between, or an open was told something newer, what was
    // asked before tells nothing any more.
    const bool believed = now && is_believed_locked(inode, asked);
    if (now && !believed && target) {
      lock.unlock();
      return ask_to_settle(InodeRef(&inode), std::move(*target));
    }
    const bool keep = believed && explains_locked(inode, *now);
    const Nanoseconds fresh_ns = keep ? fresh_for_ns(*now) : 0;
    if (fresh_ns > 0) {
      lock.unlock();
      return settle_late(inode, *now, asked, fresh_ns);
    }
    (keep ? counters_.sessions_kept : counters_.sessions_dropped).add();
    if (believed) {
      inode.attributes = *now;
      inode.trusted_until_mono_ns = parts_.clock.mono_ns() + attr_trust_ns(inode);
      inode.set_identity_locked(identity_of(*now, parts_.share.traits()));
    }
    const Identity version = inode.identity;
    bool ended = false;
    // Behind the new identity: an object that is looked up from here on is measured against it.
    if (keep && cache::FsCache::object_number(inode.cookie) == inode.session_object.load()) {
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
