// SPDX-License-Identifier: Apache-2.0
// A store that nobody has opened: what is wrong with it, and what it looks like. Nothing is written
// but by repair(), which opens it as a mount does.
#include <fcntl.h>
#include <fmt/format.h>
#include <larder/buffer.h>
#include <larder/device.h>
#include <larder/store_check.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "io/thread_pool.h"
#include "store/examine.h"
#include "store/invariants.h"
#include "store/store_impl.h"

namespace larder::store {
namespace {

constexpr std::size_t kReadAtOnce = kExtentPages * kPageSize;

struct Lying {
  const Object* object;
  const Extent* extent;
};

// In the order of the file, as a disk likes it.
std::vector<Lying> in_order(Index& index) {
  std::vector<Lying> all;
  index.for_each_extent([&](Object& object, const Extent& extent) {
    if (!extent.zeros()) all.push_back({&object, &extent});
  });
  std::sort(all.begin(), all.end(),
            [](const Lying& a, const Lying& b) { return a.extent->block() < b.extent->block(); });
  return all;
}

// How many of its pages do not match their sums.
std::uint64_t wrong_pages(IoEngine& engine, int fd, Loaded& loaded, const Lying& one,
                          std::span<std::byte> buffer) {
  const Extent& extent = *one.extent;
  const auto bytes = buffer.first(extent.pages() * kPageSize);
  const ByteOffset at = loaded.superblock.layout.at(BlockIndex{extent.block()});
  if (!engine.read_now(fd, at, bytes)) return extent.pages();
  std::array<std::uint32_t, Extent::kLongest> sums;
  if (!loaded.index->sums().get(extent.block(), std::span(sums).first(extent.pages())))
    return extent.pages();
  std::uint64_t wrong = 0;
  for (std::uint32_t page = 0; page < extent.pages(); ++page) {
    const auto content = bytes.subspan(page * kPageSize, kPageSize);
    if (page_sum(one.object->id, extent.first() + PageCount{page}, content) != sums[page]) ++wrong;
  }
  return wrong;
}

// Reads all pages, for as long as `progress` lets it. The blocks of the extents with wrong ones.
BlockSet check_pages(IoEngine& engine, int fd, Loaded& loaded, const Progress& progress,
                     Examined& all) {
  BlockSet bad(loaded.superblock.layout.data_blocks);
  const auto extents = in_order(*loaded.index);
  std::uint64_t bytes = 0, done = 0;
  for (const Lying& one : extents) bytes += one.extent->pages() * kPageSize;
  AlignedBuffer buffer(kReadAtOnce);
  for (const Lying& one : extents) {
    if (progress && !progress(ByteCount{done}, ByteCount{bytes})) return bad;
    const Extent& extent = *one.extent;
    const std::uint64_t wrong = wrong_pages(engine, fd, loaded, one, buffer.span());
    done += extent.pages() * kPageSize;
    all.wrong_pages += wrong;
    if (wrong == 0) continue;
    bad.add({extent.block(), extent.pages()});
    all.breaches.push_back(fmt::format(
        "4: object {}: {} of {} pages from page {} on (block {}) do not match their "
        "sums",
        one.object->id.value(), wrong, extent.pages(), extent.first().value(), extent.block()));
  }
  if (progress) progress(ByteCount{bytes}, ByteCount{bytes});
  return bad;
}

void add_region(std::vector<Region>& regions, ByteOffset at, std::uint64_t blocks, Use use) {
  if (blocks == 0) return;
  const ByteCount bytes{blocks * kBlockSize};
  if (!regions.empty() && regions.back().use == use &&
      regions.back().at + regions.back().bytes == at) {
    regions.back().bytes += bytes;
  } else {
    regions.push_back({at, bytes, use});
  }
}

void add_metadata_regions(const Layout& layout, std::vector<Region>& regions) {
  add_region(regions, ByteOffset{0}, kJournalOffset / kBlockSize, Use::kSuperblock);
  add_region(regions, layout.journal, layout.journal_blocks, Use::kJournal);
  for (const ByteOffset at : layout.checkpoint) {
    add_region(regions, at, layout.checkpoint_blocks, Use::kCheckpoint);
  }
  add_region(regions, layout.sums, (layout.metadata_end() - layout.sums).value() / kBlockSize,
             Use::kSums);
}

// What lies between others is free: in the data area, and where metadata were before they moved.
void add_gaps(const Layout& layout, std::vector<Region>& regions) {
  std::sort(regions.begin(), regions.end(),
            [](const Region& a, const Region& b) { return a.at < b.at; });
  std::vector<Region> all;
  ByteOffset next{0};
  for (const Region& region : regions) {
    if (region.at > next)
      add_region(all, next, (region.at - next).value() / kBlockSize, Use::kFree);
    all.push_back(region);
    next = region.at + region.bytes;
  }
  const ByteOffset end = layout.at(BlockIndex{layout.data_blocks});
  if (end > next) add_region(all, next, (end - next).value() / kBlockSize, Use::kFree);
  regions = std::move(all);
}

// Blocks that two extents claim are shown as the first one's.
void add_data_regions(Loaded& loaded, const BlockSet& bad, std::vector<Region>& regions) {
  const Layout& layout = loaded.superblock.layout;
  std::uint64_t next = 0;
  for (const Lying& one : in_order(*loaded.index)) {
    const std::uint64_t first = std::max(next, one.extent->block());
    const std::uint64_t end = one.extent->block() + one.extent->pages();
    if (end > layout.data_blocks || end <= first) continue;
    const bool hot = one.extent->place().queue == QueueName::kMain;
    const Use use = bad.has(first) ? Use::kQuarantined : hot ? Use::kHot : Use::kUsed;
    add_region(regions, layout.at(BlockIndex{first}), end - first, use);
    next = end;
  }
}

void add_facts(const Loaded& loaded, Examined& all) {
  const Superblock& superblock = loaded.superblock;
  const Layout& layout = superblock.layout;
  const auto fact = [&](std::string_view name, auto value) {
    all.facts.push_back(fmt::format("{}: {}", name, value));
  };
  fact("uuid", to_text(superblock.uuid));
  fact("size_bytes", layout.size.value());
  fact("format", kFormat);
  fact("generation", superblock.generation);
  fact("closed_in_order", superblock.clean && loaded.replayed == 0 ? "yes" : "no");
  fact("journal_records", loaded.replayed);
  fact("data_bytes", layout.capacity().value());
  fact("objects", all.objects);
  fact("names", all.names);
  fact("extents", all.extents);
  fact("cached_pages", all.pages);
}

}  // namespace

SetUp<OpenedStore> open_to_look(const std::string& path) {
  OpenedStore opened;
  opened.fd.reset(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!opened.fd.valid()) {
    return complain(ErrorCode::kStoreIo, fmt::format("{}: {}", path, std::strerror(errno)), errno);
  }
  struct stat stat {};
  if (::fstat(opened.fd.get(), &stat) != 0 || !(S_ISREG(stat.st_mode) || S_ISBLK(stat.st_mode))) {
    return complain(ErrorCode::kStorePlace,
                    fmt::format("{}: this is no file and no block device", path));
  }
  struct flock lock {};
  lock.l_type = F_RDLCK;
  lock.l_len = 1;
  if (::fcntl(opened.fd.get(), F_OFD_SETLK, &lock) != 0) {
    return complain(ErrorCode::kStoreLocked,
                    fmt::format("{}: in use by a mount; unmount it first, or look at it with "
                                "`larderctl verify MOUNTPOINT`",
                                path));
  }
  const off_t end = ::lseek(opened.fd.get(), 0, SEEK_END);
  const auto layout = stored_layout(opened.fd.get());
  opened.size =
      layout ? layout->size : ByteCount{static_cast<std::uint64_t>(std::max<off_t>(end, 0))};
  TRY(auto engine, open_engine({.choice = EngineChoice::kThreads, .threads = 1}));
  opened.engine = std::move(engine.engine);
  return opened;
}

tl::unexpected<Complaint> no_store(const std::string& path, const Found& found) {
  std::string why = found.notes.empty() ? "nothing in it bears larder's mark" : found.notes.back();
  return complain(ErrorCode::kStoreFormat,
                  fmt::format("{}: this is not a store that can be read ({})", path, why));
}

std::string_view to_text(Use use) {
  switch (use) {
    case Use::kSuperblock:
      return "superblock";
    case Use::kJournal:
      return "journal";
    case Use::kCheckpoint:
      return "checkpoint";
    case Use::kSums:
      return "sums";
    case Use::kFree:
      return "free";
    case Use::kUsed:
      return "used";
    case Use::kHot:
      return "hot";
    case Use::kQuarantined:
      return "quarantined";
  }
  return "";
}

Examined examine_loaded(IoEngine& engine, int fd, Found& found, Depth depth,
                        const Progress& progress) {
  Examined all;
  Loaded& loaded = *found.loaded;
  Index& index = *loaded.index;
  const Layout& layout = loaded.superblock.layout;
  all.notes = found.notes;
  if (loaded.discarded != 0)
    all.breaches.push_back(fmt::format("5: {} records make no sense", loaded.discarded));
  Allocator allocator(layout.data_blocks);
  if (const BlockRun metadata = layout.reserved(); metadata.count != 0) allocator.claim(metadata);
  index.for_each_extent([&](Object& object, const Extent& extent) {
    all.pages += extent.pages();
    if (extent.zeros() || allocator.claim({extent.block(), extent.pages()})) return;
    all.breaches.push_back(
        fmt::format("1: object {}: the {} blocks from block {} on belong to another extent too, or "
                    "do not exist",
                    object.id.value(), extent.pages(), extent.block()));
  });
  // Where two claim a block there is no sense in counting who has which.
  if (all.breaches.empty()) check_blocks(allocator, index, layout, Fills::kNone, all.breaches);
  check_index(index, all.breaches);
  struct stat stat {};
  const bool regular = ::fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode);
  if (regular && static_cast<std::uint64_t>(stat.st_size) > layout.size.value())
    all.breaches.emplace_back("6: the file is longer than its size");
  if (regular && static_cast<std::uint64_t>(stat.st_blocks) * 512 > layout.size.value())
    all.breaches.emplace_back("6: the file has more blocks than its size");
  all.objects = index.totals().objects;
  all.names = index.totals().names;
  all.extents = index.totals().extents;
  add_facts(loaded, all);
  add_metadata_regions(layout, all.regions);
  BlockSet bad(layout.data_blocks);
  if (depth == Depth::kPages) bad = check_pages(engine, fd, loaded, progress, all);
  add_data_regions(loaded, bad, all.regions);
  add_gaps(layout, all.regions);
  return all;
}

SetUp<Examined> examine(const std::string& path, Depth depth, const Progress& progress) {
  TRY(const OpenedStore opened, open_to_look(path));
  Found found = find_store(*opened.engine, opened.fd.get(), opened.size);
  if (!found.loaded) return no_store(path, found);
  return examine_loaded(*opened.engine, opened.fd.get(), found, depth, progress);
}

}  // namespace larder::store
