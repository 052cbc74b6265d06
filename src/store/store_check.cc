// SPDX-License-Identifier: Apache-2.0
#include "store/store_check.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "store/store_impl.h"

namespace larder::store {
namespace {

using Lines = std::vector<std::string>;

struct Owned {
  BlockRun run;
  const char* whose;
};

// Invariant 1, and 3 in so far as nothing that waits is free. A fill in flight is what is left
// over.
void check_blocks(const Allocator& allocator, Index& index, std::uint64_t blocks, bool in_flight,
                  Lines& lines) {
  std::vector<Owned> all;
  for (const BlockRun& run : allocator.free_runs()) all.push_back({run, "free"});
  for (const BlockRun& run : allocator.waiting_runs()) all.push_back({run, "waiting"});
  index.for_each_extent([&](Object&, const Extent& extent) {
    if (!extent.zeros()) all.push_back({{extent.block(), extent.pages()}, "extent"});
  });
  std::sort(all.begin(), all.end(),
            [](const Owned& a, const Owned& b) { return a.run.block < b.run.block; });
  std::uint64_t next = 0;
  for (const Owned& owned : all) {
    if (owned.run.block < next) {
      lines.push_back(fmt::format("1: block {} ({}) has two owners", owned.run.block, owned.whose));
    } else if (owned.run.block > next && !in_flight) {
      lines.push_back(fmt::format("1: blocks {} to {} have no owner", next, owned.run.block));
    }
    next = std::max(next, owned.run.block + owned.run.count);
  }
  if (next > blocks) lines.emplace_back("1: blocks beyond the end of the data area");
  if (next < blocks && !in_flight)
    lines.push_back(fmt::format("1: blocks from {} on have no owner", next));
}

// Invariant 4, and that what is counted agrees with what is there.
void check_index(Index& index, Lines& lines) {
  Index::Totals seen;
  std::vector<std::byte> bytes;
  index.for_each_object([&](Object& object) {
    ++seen.objects;
    seen.names += object.folder ? object.folder->names.size() : 0;
    if (object.retired || index.by_id(object.id) != &object) {
      lines.push_back(
          fmt::format("object {} is in the tree but not in the index", object.id.value()));
    }
    std::uint64_t end = 0;
    std::uint64_t pages = 0;
    for (const Extent& extent : object.extents) {
      ++seen.extents;
      pages += extent.pages();
      const std::uint64_t first = extent.first().value();
      if (first < end)
        lines.push_back(
            fmt::format("4: object {}: extents overlap at page {}", object.id.value(), first));
      end = extent.end().value();
      seen.extent_bytes += extent_size(extent.pages(), extent.block());
    }
    if (pages != object.cached_pages) {
      lines.push_back(fmt::format("object {} counts {} pages and has {}", object.id.value(),
                                  object.cached_pages, pages));
    }
  });
  index.for_each_record([&](const Record& record) {
    if (std::holds_alternative<ExtentRecord>(record)) return;
    bytes.clear();
    encode(record, bytes);
    (std::holds_alternative<ObjectChange>(record) ? seen.object_bytes : seen.name_bytes) +=
        bytes.size();
  });
  std::uint64_t in_order = 0;
  index.for_each_extent([&](Object& object, const Extent& extent) {
    ++in_order;
    if (object.find(extent.first()) != &extent)
      lines.push_back(fmt::format("object {}: page {} is in the order of eviction only",
                                  object.id.value(), extent.first().value()));
  });
  const Index::Totals& said = index.totals();
  if (seen != said || in_order != said.extents) {
    lines.push_back(
        fmt::format("counts: {} objects, {} names, {} extents, {} bytes; there are {}, {}, {} ({} "
                    "in order), {}",
                    said.objects, said.names, said.extents, said.bytes(), seen.objects, seen.names,
                    seen.extents, in_order, seen.bytes()));
  }
}

// Records as sorted bytes, so that two indexes can be compared.
std::vector<std::string> records_of(Index& index, const std::vector<ObjectId>& but_pages_of) {
  std::vector<std::string> all;
  index.for_each_record([&](const Record& record) {
    Record plain = record;
    if (auto* extent = std::get_if<ExtentRecord>(&plain)) {
      const auto& skip = but_pages_of;
      if (std::find(skip.begin(), skip.end(), extent->object) != skip.end()) return;
    }
    std::vector<std::byte> bytes;
    encode(plain, bytes);
    all.emplace_back(view(bytes));
  });
  std::sort(all.begin(), all.end());
  return all;
}

// Invariant 5 for the whole journal: what lies on the device is what is in memory.
void check_device(IoEngine& engine, int fd, const Superblock& superblock, Index& index,
                  Lines& lines) {
  const auto loaded = load(engine, fd, superblock);
  if (!loaded) {
    lines.emplace_back("5: the store cannot be loaded from the device");
    return;
  }
  if (loaded->discarded != 0)
    lines.push_back(fmt::format("5: {} records make no sense", loaded->discarded));
  std::vector<ObjectId> in_session;
  index.for_each_object([&](Object& object) {
    if (object.in_session) in_session.push_back(object.id);
  });
  if (records_of(index, in_session) != records_of(*loaded->index, in_session)) {
    lines.emplace_back("5: what the journal says is not what is in memory");
  }
}

}  // namespace

std::vector<std::string> check_store(Store& store) {
  Store::Impl& impl = *store.impl_;
  Lines lines;
  const MutexLock lock(impl.mutex);
  const bool in_flight = impl.counters.fill_in_flight_bytes.value() != 0;
  check_blocks(impl.allocator, *impl.index, impl.layout.data_blocks, in_flight, lines);
  check_index(*impl.index, lines);
  const bool quiet = impl.is_open() && impl.durable.load() >= impl.journal.appended();
  if (quiet) check_device(impl.engine, impl.device.fd.get(), impl.superblock, *impl.index, lines);
  struct stat stat {};
  const bool regular = ::fstat(impl.device.fd.get(), &stat) == 0 && S_ISREG(stat.st_mode);
  if (regular && static_cast<std::uint64_t>(stat.st_size) > impl.device.size.value()) {
    lines.emplace_back("6: the file is longer than its size");
  }
  return lines;
}

}  // namespace larder::store
