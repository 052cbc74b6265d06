// SPDX-License-Identifier: Apache-2.0
// WrittenJob and SessionJob: the exclusive operations by which the store is told of writes and of
// sessions. Each owns itself from when it is submitted until it is done.
#pragma once

#include <larder/store.h>

#include <memory>
#include <optional>

#include "vfs/vfs.h"

namespace larder {

// From `size` on to the end of any file.
inline PageRange pages_from(std::uint64_t size) {
  const PageIndex first = page_of(ByteOffset{size});
  return {first, PageIndex{~std::uint64_t{0} / kPageSize} - first};
}

// Tells the store of one written (or cut off) range. Owns itself until done.
struct Vfs::WrittenJob : cache::Operation {
  WrittenJob(Vfs& v, Inode& i, PageRange range, std::uint64_t t)
      : vfs(v), inode(&i), pages(range), ticket(t), version(i.generation.load()) {
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
    if (!bytes || !vfs.is_of_session(*inode, *this)) return finish();
    bool current = false;
    {
      // What was copied for a version that has passed is not filled into the next one.
      MutexLock lock(inode->mutex);
      current = version == inode->generation.load();
      filling.generation = store.generation(data);
    }
    if (!current) return finish();
    filling.job = this;
    filling.object = data;
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
  std::uint64_t version;                       // that was current when it was written
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
        inode->session_object.store(cache::FsCache::object_number(*this));
        return store.begin_session(data);
      case What::kEnd: {
        const ByteCount size{identity.size};
        if (inode->session_object.load() == cache::FsCache::object_number(*this)) {
          return store.end_session(data, identity.encode(), size);
        }
        // Not the object on which it began: what this one holds is of before.
        return store.invalidate(data, identity.encode(), size);
      }
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

}  // namespace larder
