// SPDX-License-Identifier: Apache-2.0
#include "store/invariants.h"

#include <fmt/format.h>

#include <algorithm>

namespace larder::store {
namespace {

struct Owned {
  BlockRun run;
  const char* whose;
};

}  // namespace

void check_blocks(const Allocator& allocator, Index& index, const Layout& layout, Fills fills,
                  Lines& lines) {
  const std::uint64_t blocks = layout.data_blocks;
  std::vector<Owned> all;
  if (const BlockRun metadata = layout.reserved(); metadata.count != 0)
    all.push_back({metadata, "metadata"});
  const Allocator::Runs runs = allocator.runs();
  for (const BlockRun& run : runs.free) all.push_back({run, "free"});
  for (const BlockRun& run : runs.waiting) all.push_back({run, "waiting"});
  for (const BlockRun& run : runs.quarantined) all.push_back({run, "quarantined"});
  for (const BlockRun& run : runs.withheld) all.push_back({run, "withheld"});
  index.for_each_extent([&](Object&, const Extent& extent) {
    if (!extent.zeros()) all.push_back({{extent.block(), extent.pages()}, "extent"});
  });
  std::sort(all.begin(), all.end(),
            [](const Owned& a, const Owned& b) { return a.run.block < b.run.block; });
  std::uint64_t next = 0;
  for (const Owned& owned : all) {
    if (owned.run.block < next) {
      lines.push_back(fmt::format("1: block {} ({}) has two owners", owned.run.block, owned.whose));
    } else if (owned.run.block > next && fills == Fills::kNone) {
      lines.push_back(fmt::format("1: blocks {} to {} have no owner", next, owned.run.block));
    }
    next = std::max(next, owned.run.block + owned.run.count);
  }
  if (next > blocks) lines.emplace_back("1: blocks beyond the end of the data area");
  if (next < blocks && fills == Fills::kNone)
    lines.push_back(fmt::format("1: blocks from {} on have no owner", next));
}

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

}  // namespace larder::store
