// SPDX-License-Identifier: Apache-2.0
// Fills: fetched pages on their way into the store.
//
//   fill()    sums, pages of zeros, room        on the caller's thread
//   device    one write per run of blocks       from the caller's memory
//   finish    is it still wanted? then into the index, and the record    on the machine queue
//
// Between the two the fill stands in its object's list, so that whatever makes its bytes old (a
// drop, a truncate, a later fill of the same pages) can revoke it; an invalidation is seen by the
// generation.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "store/store_impl.h"

namespace larder::store {
namespace {

constexpr std::size_t kManyRuns = 16;
constexpr std::uint64_t kShortZeros = 8;  // pages

struct Run {
  std::uint64_t first, count;
  bool zeros;
};

bool is_zero(std::span<const std::byte> page) {
  return page[0] == std::byte{0} && std::memcmp(page.data(), page.data() + 1, page.size() - 1) == 0;
}

void add_run(std::vector<Run>& runs, const Run& run) {
  if (!runs.empty() && runs.back().zeros == run.zeros) {
    runs.back().count += run.count;
  } else {
    runs.push_back(run);
  }
}

// Runs of zeros and of content. Many short ones would make an extent of every few pages: then short
// runs of zeros are stored as content.
std::vector<Run> runs_of(std::span<const std::byte> data) {
  std::vector<Run> runs;
  for (std::uint64_t page = 0; page < data.size() / kPageSize; ++page) {
    add_run(runs, {page, 1, is_zero(data.subspan(page * kPageSize, kPageSize))});
  }
  if (runs.size() <= kManyRuns) return runs;
  std::vector<Run> fewer;
  for (Run run : runs) {
    if (run.count < kShortZeros) run.zeros = false;
    add_run(fewer, run);
  }
  return fewer;
}

struct Content {
  std::vector<Run> runs;
  std::uint64_t blocks = 0;  // that are needed
};

// Pages in blocks, as many pieces as there are runs of both.
void lay_out(FillJob& job, const Content& content, const std::vector<BlockRun>& blocks) {
  const Fill& fill = *job.fill;
  std::size_t at = 0;
  std::uint64_t used = 0;  // of blocks[at]
  const auto add = [&](std::uint64_t first, std::uint64_t count) -> FillJob::Piece& {
    FillJob::Piece& piece = job.pieces.emplace_back();
    piece.range = {fill.first + PageCount{first}, PageCount{count}};
    return piece;
  };
  for (const Run& run : content.runs) {
    if (run.zeros) {
      for (std::uint64_t done = 0; done < run.count; done += Extent::kLongest)
        add(run.first + done, std::min<std::uint64_t>(run.count - done, Extent::kLongest));
      job.zero_pages += run.count;
      continue;
    }
    for (std::uint64_t done = 0; done < run.count;) {
      const std::uint64_t count = std::min(run.count - done, blocks[at].count - used);
      FillJob::Piece& piece = add(run.first + done, count);
      piece.block = blocks[at].block + used;
      done += count;
      used += count;
      if (used == blocks[at].count) {
        ++at;
        used = 0;
      }
    }
  }
}

std::span<const std::byte> bytes_of_piece(const FillJob& job, const FillJob::Piece& piece) {
  return job.fill->data.subspan(to_bytes(piece.range.first - job.fill->first).value(),
                                to_bytes(piece.range.count).value());
}

void sum_up(FillJob::Piece& piece, ObjectId object, std::span<const std::byte> bytes) {
  piece.sums = std::make_unique<std::uint32_t[]>(piece.range.count.value());
  for (std::uint64_t page = 0; page < piece.range.count.value(); ++page) {
    piece.sums[page] = page_sum(object, piece.range.first + PageCount{page},
                                bytes.subspan(page * kPageSize, kPageSize));
  }
}

void written(IoRequest& request, Status status) {
  FillJob& job = *static_cast<FillJob::Piece&>(request).job;
  job.store->write_behind.wrote(request.length);
  if (!status) job.sys_errno.store(status.error().sys_errno == 0 ? EIO : status.error().sys_errno);
  if (job.left.fetch_sub(1) == 1) job.store->machine.post(job);
}

}  // namespace

void Store::fill(Fill& fill) { impl_->start_fill(fill); }

void Store::Impl::start_fill(Fill& fill) {
  check(!fill.data.empty() && fill.data.size() % kPageSize == 0, "a fill is of whole pages");
  auto* job = new FillJob;  // until finish_fill
  fill.internal = job;
  job->store = this;
  job->fill = &fill;
  job->range = {fill.first, PageCount{fill.data.size() / kPageSize}};
  job->run = [](Work& work) {
    FillJob& self = static_cast<FillJob&>(work);
    self.store->finish_fill(self);
  };
  Content content;
  content.runs = runs_of(fill.data);
  for (const Run& run : content.runs) content.blocks += run.zeros ? 0 : run.count;
  counters.fill_in_flight_bytes.add(fill.data.size());
  std::vector<BlockRun> blocks;
  const bool below_has_room = content.blocks == 0 || disk_has_room();
  {
    const MutexLock lock(mutex);
    job->early = admit_locked(*job, content.blocks);
    if (job->early && !below_has_room) {
      counters.fills_dropped_disk.add();
      job->early = fail(ErrorCode::kStoreFull);
    }
    if (job->early && content.blocks != 0) {
      auto runs = allocator.allocate(content.blocks, kExtentPages);
      if (runs) blocks = std::move(*runs);
      if (!runs) job->early = fail(ErrorCode::kStoreFull);
    }
    if (job->early) {
      fill.object->made_busy().fills.push_back(*job);
      job->listed = true;
    } else if (job->early.error().code == ErrorCode::kStoreFull) {
      drop_locked(*fill.object, job->range);
      committer.wake_now();
    }
  }
  if (!job->early) return machine.post(*job);
  lay_out(*job, content, blocks);
  std::size_t requests = 1;  // one of our own, so that it does not end before all have started
  for (const FillJob::Piece& piece : job->pieces) requests += piece.block == kNoBlock ? 0 : 1;
  job->left.store(requests);
  for (FillJob::Piece& piece : job->pieces) {
    if (piece.block == kNoBlock) continue;
    const auto bytes = bytes_of_piece(*job, piece);
    sum_up(piece, fill.object->id, bytes);
    piece.job = job;
    piece.kind = IoRequest::Kind::kWrite;
    piece.fd = device.fd.get();
    piece.offset = at(piece.block);
    piece.data = const_cast<std::byte*>(bytes.data());  // a write only reads it
    piece.length = bytes.size();
    piece.done = written;
    engine.submit(piece);
  }
  if (job->left.fetch_sub(1) == 1) machine.post(*job);
}

// Whether it may go on; makes room for it.
Status Store::Impl::admit_locked(FillJob& job, std::uint64_t blocks) {
  Object& object = *job.fill->object;
  if (!is_open()) return fail(ErrorCode::kStoreIo);
  if (object.retired || object.generation.load() != job.fill->generation)
    return fail(ErrorCode::kStale);
  revoke_fills_locked(object, job.range);
  if (!takes_fills()) return fail(ErrorCode::kStoreFull);
  if (job.range.end().value() > Extent::kPages - Extent::kLongest)
    return fail(ErrorCode::kStoreFull);
  if (counters.fill_in_flight_bytes.value() > options.fill_limit.value())
    return fail(ErrorCode::kStoreFull);
  return keep_room_locked(blocks) ? Status{} : fail(ErrorCode::kStoreFull);
}

// Who comes later knows better. What the revoked fill was to replace goes too: it was older still.
void Store::Impl::revoke_fills_locked(Object& object, PageRange range) {
  if (!object.busy) return;
  for (FillInFlight& other : object.busy->fills) {
    if (other.revoked || intersect(other.range, range).empty()) continue;
    other.revoked = true;
    if (!object.retired) drop_locked(object, other.range);
  }
}

Status Store::Impl::judge_locked(const FillJob& job) {
  const Object& object = *job.fill->object;
  if (!job.early) return job.early;
  if (!is_open()) return fail(ErrorCode::kStoreIo);
  if (object.retired || job.revoked || object.generation.load() != job.fill->generation) {
    return fail(ErrorCode::kStale);
  }
  const int sys_errno = job.sys_errno.load();
  if (sys_errno != 0) return fail(ErrorCode::kStoreIo, sys_errno);
  return {};
}

void Store::Impl::finish_fill(FillJob& job) {
  Fill& fill = *job.fill;
  Status status;
  {
    const MutexLock lock(mutex);
    if (job.listed) {
      fill.object->busy->fills.erase(Object::Fills::s_iterator_to(job));
      fill.object->tidy_busy();
    }
    status = judge_locked(job);
    if (status) {
      status = put_in_place_locked(job);
    } else if (job.sys_errno.load() != 0 && status.error().code == ErrorCode::kStoreIo) {
      drop_locked(*fill.object, job.range);
    }
    for (FillJob::Piece& piece : job.pieces) give_back(piece, job);
    gauges_locked();
  }
  if (!job.pieces.empty()) fill_ended(job.sys_errno.load());
  counters.fill_in_flight_bytes.sub(fill.data.size());
  if (status) {
    counters.fills.add();
    counters.fill_bytes.add(fill.data.size());
    counters.zero_pages.add(job.zero_pages);
  } else if (status.error().code == ErrorCode::kStoreFull) {
    counters.fills_dropped_full.add();
  } else if (status.error().code == ErrorCode::kStale) {
    counters.fills_dropped_stale.add();
  } else {
    counters.fill_errors.add();
  }
  fill.internal = nullptr;
  delete &job;
  fill.done(fill, status);
}

// The pages enter the index, as far as they hold for the file's size.
Status Store::Impl::put_in_place_locked(FillJob& job) {
  const Fill& fill = *job.fill;
  Object& object = *fill.object;
  PageRange keep = job.range;
  if (!object.in_session && fill.file_size != object.size) {
    const std::uint64_t sure = std::min(fill.file_size, object.size).value() / kPageSize;
    keep = intersect(keep, {PageIndex{0}, PageCount{sure}});
  }
  if (keep.empty()) return fail(ErrorCode::kStale);
  std::uint64_t record_bytes = 0;
  for (const FillJob::Piece& piece : job.pieces)
    record_bytes += extent_size(kExtentPages, piece.block) + 64;
  if (!extent_room_locked(record_bytes)) {
    drop_locked(object, job.range);
    return fail(ErrorCode::kStoreFull);
  }
  const PageIndex old_tail = page_of(ByteOffset{object.tail_size.value()});
  if (object.tail_size.value() != 0 && object.tail_size != fill.file_size &&
      !keep.contains(old_tail)) {
    drop_locked(object, {old_tail, PageCount{1}});
  }
  if (keep.contains(old_tail)) object.tail_size = ByteCount{0};
  const bool has_tail = fill.file_size.value() % kPageSize != 0 &&
                        keep.contains(page_of(ByteOffset{fill.file_size.value()}));
  if (has_tail) object.tail_size = fill.file_size;

  for (FillJob::Piece& piece : job.pieces) {
    const PageRange kept = intersect(piece.range, keep);
    if (kept.empty()) continue;
    const auto pages = static_cast<std::uint32_t>(kept.count.value());
    const std::uint64_t block = piece.block;
    const std::span page_sums{piece.sums.get(), block == kNoBlock ? 0 : pages};
    put_extent_locked(object, {kept.first, pages, block, page_sums});
    if (block != kNoBlock) piece.block += pages;
    piece.range = {kept.end(), piece.range.count - kept.count};
  }
  return {};
}

// Into the index, and the journal unless it belongs to a session.
void Store::Impl::put_extent_locked(Object& object, const NewExtent& extent) {
  DeadList dead;
  index->insert(object, extent, dead);
  std::uint64_t number = object.busy ? object.busy->mark : 0;
  if (number != 0) object.note_change({extent.first, PageCount{extent.pages}});
  if (!object.in_session) {
    std::vector<Le32> sums;
    sums.reserve(extent.sums.size());
    for (const std::uint32_t sum : extent.sums) sums.push_back(Le32::of(sum));
    number = append_locked(ExtentRecord{object.id, extent.first, extent.pages, extent.block, sums});
  }
  let_go_locked(dead, number);
}

// Blocks of a piece that no extent took. The file system had no room for them, or the device did
// not take them: then they are not tried again.
void Store::Impl::give_back(FillJob::Piece& piece, const FillJob& job) {
  const BlockRun rest{piece.block, piece.range.count.value()};
  if (piece.block == kNoBlock || rest.count == 0) return;
  const int sys_errno = job.sys_errno.load();
  if (sys_errno == 0 || sys_errno == ENOSPC || sys_errno == EDQUOT) {
    allocator.release(rest);
    return;
  }
  allocator.quarantine(rest);
  counters.quarantined_bytes.add(rest.count * kBlockSize);
}

}  // namespace larder::store
