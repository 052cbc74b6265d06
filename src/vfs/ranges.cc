// SPDX-License-Identifier: Apache-2.0
// Content that changes otherwise than by bytes of the caller's: fallocate(2) and
// copy_file_range(2). The share does it; what is cached of the range goes, as in a write
// (write.cc). And lseek(2) for data and holes, which only the share knows of.
#include <fcntl.h>
#include <linux/falloc.h>

#include <algorithm>
#include <cerrno>

#include "vfs/write_jobs.h"

namespace larder {
namespace {

// One call copies at most this, so that it ends; the caller asks for the rest.
constexpr std::uint64_t kCopyMaxBytes = 256 << 20;

}  // namespace

// From here on the range is neither served from the store nor filled by a fetch.
Vfs::Rewriting Vfs::begin_rewrite(Inode& inode, ByteOffset offset, ByteCount length) {
  MutexLock lock(inode.mutex);
  Rewriting range;
  range.pages = pages_touching(offset, length);
  range.last_change = inode.last_change;
  inode.flights.taint(range.pages);
  range.ticket = inode.session.begin_range(range.pages);
  return range;
}

// The share has answered; the request has not been. `end`: where the file ends at least.
void Vfs::rewrote(Inode& inode, const Rewriting& range, std::uint64_t end,
                  const Result<Attributes>& result) {
  MutexLock lock(inode.mutex);
  const bool alone = range.last_change == inode.last_change;
  inode.last_change = ++changes_;
  note_written_locked(inode);
  inode.session.answer_range(range.ticket);
  inode.flights.taint(range.pages);
  if (result) {
    const std::uint64_t size = alone ? result->size : std::max(inode.attributes.size, end);
    inode.attributes = *result;
    inode.attributes.size = size;
    inode.trusted_until_mono_ns = 0;
    inode.session.expected_size = std::max(inode.session.expected_size, end);
  } else {
    inode.session.explained = false;
  }
  auto job = std::make_unique<WrittenJob>(*this, inode, range.pages, range.ticket);
  if (!submit_locked(inode, std::move(job))) inode.session.end_range(range.ticket);
}

void Vfs::allocate(NodeId node, HandleId id, int mode, ByteOffset offset, ByteCount length,
                   Reply reply) {
  if (parts_.control.owns(node)) return reply.error({ErrorCode::kPermission});
  Handle& handle = handle_of(id);
  const std::shared_ptr<NetfsFile> file = handle.share_file();
  if (!file) return reply.error({ErrorCode::kShareStale});
  if (!park(reply)) return;
  const InodeRef inode = handle.inode;
  const Rewriting range = begin_rewrite(*inode, offset, length);
  const bool grows = (mode & FALLOC_FL_KEEP_SIZE) == 0;
  const std::uint64_t end = grows ? offset.value() + length.value() : 0;
  parts_.share.call<Attributes>(
      CallKind::kData, until_answered(handle.as),
      [file, mode, offset, length](Netfs& netfs) -> Result<Attributes> {
        TRY_OK(netfs.allocate(*file, mode, offset, length));
        return netfs.stat(*file, Freshness::kServer);
      },
      [this, inode, range, end, reply = std::move(reply)](Result<Attributes> result) mutable {
        rewrote(*inode, range, end, result);
        result ? reply.ok() : reply.error(result.error());
      });
}

void Vfs::seek(NodeId node, HandleId id, ByteOffset offset, int whence, Reply reply) {
  if (parts_.control.owns(node)) return reply.error({ErrorCode::kInvalid});
  // What the kernel gathers is not on the share yet: it calls all of the file data by itself.
  if (options_.writeback_cache) return reply.error({ErrorCode::kShareAnswer, ENOSYS});
  Handle& handle = handle_of(id);
  const InodeRef inode = handle.inode;
  const SeekAnswers::Question question{whence, offset};
  const Nanoseconds now = parts_.clock.mono_ns();
  const bool unasked = serve_unasked(*inode);
  std::optional<SeekAnswers::State> state;
  std::optional<Result<ByteOffset>> known;
  {
    // Trusted as long as attributes are, and of the version that is current; not while it is being
    // written here.
    MutexLock lock(inode->mutex);
    if (!options_.verify && inode->identity_known && inode->session.kind != Session::Kind::kWrite)
      state = SeekAnswers::State{inode->identity, inode->last_change};
    const Nanoseconds trust_ns = unasked ? now + 1 : attr_trust_ns(*inode);
    const Result<ByteOffset>* said = state && inode->seeks && trust_ns > 0
                                         ? inode->seeks->find(*state, question, now - trust_ns)
                                         : nullptr;
    if (said) known = *said;
  }
  if (known) return *known ? reply.position(**known) : reply.error(known->error());
  Result<Target> target = target_of(*inode);
  if (!target) return reply.error(target.error());
  if (!park_question(reply)) return;
  parts_.share.call<ByteOffset>(
      CallKind::kNames, {.as = handle.as},
      [target = std::move(*target), offset, whence](Netfs& netfs) -> Result<ByteOffset> {
        TRY(const auto file, target.opened(netfs));
        return netfs.seek(*file, offset, whence);
      },
      [inode, state, question, now, reply = std::move(reply)](Result<ByteOffset> result) mutable {
        if (state) keep_seek(*inode, *state, question, now, result);
        result ? reply.position(*result) : reply.error(result.error());
      });
}

// That there is no data any more is an answer too.
void Vfs::keep_seek(Inode& inode, const SeekAnswers::State& state,
                    const SeekAnswers::Question& question, Nanoseconds asked_mono_ns,
                    const Result<ByteOffset>& said) {
  if (!said && (said.error().code != ErrorCode::kShareAnswer || said.error().sys_errno != ENXIO))
    return;
  MutexLock lock(inode.mutex);
  if (state != SeekAnswers::State{inode.identity, inode.last_change}) return;
  if (!inode.seeks) inode.seeks = std::make_unique<SeekAnswers>();
  inode.seeks->keep(state, question, asked_mono_ns, said);
}

void Vfs::copy_range(const FilePlace& from, const FilePlace& to, ByteCount length, Reply reply) {
  if (parts_.control.owns(from.node) || parts_.control.owns(to.node))
    return reply.error({ErrorCode::kNotSupported});  // then the kernel copies by itself
  Handle& source = handle_of(from.handle);
  Handle& target = handle_of(to.handle);
  const std::shared_ptr<NetfsFile> into = target.share_file();
  if (!into) return reply.error({ErrorCode::kShareStale});
  const InodeRef source_inode = source.inode;
  Result<Target> out_of = target_of(*source_inode);
  if (!out_of) return reply.error(out_of.error());
  if (const auto own = source.share_file()) out_of->file = own;
  if (!source.readable()) return reply.error({ErrorCode::kShareAnswer, EBADF});
  if (!park(reply)) return;
  const ByteCount asked{std::min(length.value(), kCopyMaxBytes)};
  const InodeRef inode = target.inode;
  const Rewriting range = begin_rewrite(*inode, to.offset, asked);
  struct Copied {
    ByteCount count;
    Attributes after;
  };
  parts_.share.call<Copied>(
      CallKind::kData, until_answered(target.as),
      [out_of = std::move(*out_of), into, from = from.offset, to = to.offset,
       asked](Netfs& netfs) -> Result<Copied> {
        TRY(const auto file, out_of.opened(netfs));
        TRY(const ByteCount count, netfs.copy(*file, from, *into, to, asked));
        TRY(const Attributes after, netfs.stat(*into, Freshness::kServer));
        return Copied{count, after};
      },
      [this, inode, range, to = to.offset,
       reply = std::move(reply)](Result<Copied> result) mutable {
        if (!result) {
          rewrote(*inode, range, 0, fail(result.error()));
          return reply.error(result.error());
        }
        const std::uint64_t count = result->count.value();
        rewrote(*inode, range, count == 0 ? 0 : to.value() + count, result->after);
        reply.written(result->count);
      });
}

}  // namespace larder
