// SPDX-License-Identifier: Apache-2.0
// Writes go through: write(2) returns what the share returned.
//
// Order of a write to pages P:
//   1. P enters `session.written` and flights over P are tainted: from here the store is not asked
//      for P, and what is being fetched of it fills nothing.
//   2. The share writes, from the request's own buffer.
//   3. The request is answered. The store is told behind that: an *exclusive* operation drops P, so
//      fills of before have ended and later ones come behind; whole pages of P are then filled from
//      a copy; P leaves `written`.
// So no write waits for the store, and no reader sees a page of before a write that was answered.
//
// Write sessions: src/vfs/session.h. What a session cannot explain by our own writes is not kept.
#include <algorithm>
#include <cstring>

#include "vfs/write_jobs.h"

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

}  // namespace

void Vfs::write(NodeId node, HandleId id, ByteOffset offset, std::span<const std::byte> data,
                WrittenBy by, Reply reply) {
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
      CallKind::kData, until_answered(handle.as),
      [file, offset, data, by, appends = handle.appends()](Netfs& netfs) -> Result<Written> {
        if (by == WrittenBy::kKernel) {
          // The kernel takes a part for the whole: it goes on until all is there, or it is told
          // why.
          std::size_t done = 0;
          while (done < data.size()) {
            TRY(const ByteCount more,
                netfs.write_in_place(*file, offset + ByteCount{done}, data.subspan(done)));
            done += more.value();
          }
          return Written{ByteCount{done}, std::nullopt};
        }
        if (!appends) {
          TRY(const ByteCount in_place, netfs.write_in_place(*file, offset, data));
          return Written{in_place, std::nullopt};
        }
        TRY(const ByteCount count, netfs.write(*file, offset, data));
        // The kernel's idea of where the end was may be old: where did it go?
        TRY(const Attributes after, netfs.stat(*file, Freshness::kServer));
        return Written{count, after};
      },
      [this, inode, offset, data, ticket,
       reply = std::move(reply)](Result<Written> result) mutable {
        wrote(*inode, offset, data, ticket, result);
        // The mount ends, and the share may still read the payload.
        if (!result && result.error().code == ErrorCode::kShutdown)
          return reply.error_and_keep(result.error());
        if (!result) return reply.error(result.error());
        counters_.write_bytes.add(result->count.value());
        parts_.share.counters().bytes_written.add(result->count.value());
        reply.written(result->count);
      });
}

// The share has answered; the request has not been.
void Vfs::wrote(Inode& inode, ByteOffset offset, std::span<const std::byte> data,
                std::uint64_t ticket, const Result<Written>& result) {
  // The share may have taken a part of it.
  const ByteCount count = result ? result->count : ByteCount{data.size()};
  const std::uint64_t end = offset.value() + count.value();
  bool elsewhere = false;
  {
    MutexLock lock(inode.mutex);
    inode.last_change = ++changes_;
    note_written_locked(inode);
    const bool crossed = inode.session.answer_range(ticket);
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
      pages = pages_from(std::min(offset.value(), result->after->size - count.value()));
    }
    inode.flights.taint(pages);
    auto job = std::make_unique<WrittenJob>(*this, inode, pages, ticket);
    const PageRange whole = whole_pages(offset, count, inode.attributes.size);
    const bool room = copies_in_flight_bytes_.load() < kCopiesMaxBytes;
    if (result && !elsewhere && !crossed && !whole.empty() && inode.cookie && inode.session.begun &&
        room) {
      // A copy: the request's own buffer goes back to the kernel with the answer.
      auto copy = std::make_shared<AlignedBuffer>(to_bytes(whole.count).value());
      const std::size_t skip = to_bytes(whole.first).value() - offset.value();
      const std::size_t length = std::min(count.value() - skip, to_bytes(whole.count).value());
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

Vfs::Cut Vfs::begin_truncate(Inode& inode, std::uint64_t size, const Asked& asked) {
  MutexLock lock(inode.mutex);
  const PageRange pages = pages_from(size);
  inode.flights.taint(pages);
  return {size, inode.session.begin_range(pages), asked};
}

// The share refused, or it was another file that it cut.
void Vfs::not_truncated(Inode& inode, const Cut& cut) {
  MutexLock lock(inode.mutex);
  inode.session.end_range(cut.ticket);
}

void Vfs::truncated(Inode& inode, const Cut& cut, const Result<Attributes>& result) {
  const auto [size, ticket, asked] = cut;
  MutexLock lock(inode.mutex);
  const bool overtaken = inode.last_change > asked.last_change;
  inode.last_change = ++changes_;
  inode.session.answer_range(ticket);
  const std::uint64_t before = inode.attributes.size;
  inode.flights.taint(pages_from(std::min(size, before)));
  if (result) {
    inode.attributes = *result;
    inode.attributes_known = true;
    inode.trusted_until_mono_ns = parts_.clock.mono_ns() + attr_trust_ns(inode);
  }
  if (result && overtaken) {
    // A write may have come before or behind it: the file ends no later than this, and who wants to
    // know asks.
    if (inode.session.kind == Session::Kind::kWrite)
      inode.attributes.size = std::max(before, result->size);
    inode.trusted_until_mono_ns = 0;
  }
  if (!inode.is_regular()) return inode.session.end_range(ticket);
  if (inode.session.kind == Session::Kind::kWrite) {
    note_written_locked(inode);
    inode.session.explained = inode.session.explained && result && result->size == size;
    inode.session.expected_size = overtaken ? inode.attributes.size : size;
  } else if (result) {
    // Nobody has it open for writing: a version of its own, of which nothing is cached yet.
    new_version_locked(inode, identity_of(*result, parts_.share.traits()));
  }
  auto job = std::make_unique<WrittenJob>(*this, inode, pages_from(size), ticket);
  job->cut_to = ByteCount{std::min(size, before)};
  if (!submit_locked(inode, std::move(job))) inode.session.end_range(ticket);
}

}  // namespace larder
