// SPDX-License-Identifier: Apache-2.0
// The structures of a store as text, one line each.
#include <fmt/format.h>
#include <larder/buffer.h>
#include <larder/store_check.h>

#include <algorithm>

#include "store/examine.h"
#include "store/store_impl.h"

namespace larder::store {
namespace {

std::string line_of(const Superblock& superblock) {
  return fmt::format(
      "superblock {}: generation {}, {}, {} chunks, journal at block {} from sequence "
      "{}, next object {}\n",
      superblock.slot, superblock.generation, superblock.clean ? "clean" : "in use",
      superblock.checkpoint_chunks, superblock.journal_position, superblock.first_sequence,
      superblock.next_object.value());
}

// A key as text where it is one, else as hex.
std::string shown(std::string_view bytes) {
  const bool plain = std::ranges::all_of(bytes, [](char c) { return c > ' ' && c < '\x7f'; });
  if (plain && !bytes.empty()) return std::string(bytes);
  std::string hex = "0x";
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return hex;
}

void dump_object(Object& object, const std::function<void(std::string_view)>& print) {
  print(fmt::format("object {}: {} below {}, key {}, aux {}, {} bytes, {} pages cached\n",
                    object.id.value(), object.type == ObjectType::kData ? "data" : "index",
                    object.parent != nullptr ? object.parent->id.value() : 0, shown(object.key()),
                    shown(object.aux()), object.size.value(), object.cached_pages));
  for (const Extent& extent : object.extents) {
    const std::string place = extent.zeros() ? "zeros" : fmt::format("block {}", extent.block());
    print(fmt::format("  extent: pages {} to {}, {}, {} queue, {} uses\n", extent.first().value(),
                      extent.end().value(), place,
                      extent.place().queue == QueueName::kMain ? "main" : "small", extent.uses()));
  }
  if (object.value)
    print(fmt::format("  value: version {}, {} bytes\n", object.value->version,
                      object.value->bytes.size()));
  if (!object.folder) return;
  for (const auto& [name, record] : object.folder->names) {
    print(fmt::format("  name {}: inode {}, device {}, generation {}, mode {:o}, {} bytes\n",
                      shown(name), record.file.inode, record.file.device, record.file.generation,
                      record.attributes.mode, record.attributes.size));
  }
}

void dump_metadata(IoEngine& engine, int fd, const std::function<void(std::string_view)>& print) {
  AlignedBuffer block(kBlockSize);
  Layout layout;
  Uuid uuid{};
  for (unsigned slot = 0; slot < kSuperblockOffset.size(); ++slot) {
    Superblock superblock;
    const bool read =
        engine.read_now(fd, ByteOffset{kSuperblockOffset[slot]}, block.span()).has_value();
    const bool valid = read && decode(disk_from<SuperblockDisk>(block.span()), slot, superblock) ==
                                   SuperblockState::kValid;
    print(valid ? line_of(superblock) : fmt::format("superblock {}: cannot be used\n", slot));
    if (valid) layout = superblock.layout, uuid = superblock.uuid;
  }
  AlignedBuffer buffer(std::max<std::size_t>(Journal::longest_entry(layout), 1u << 20));
  const auto area = [&](std::string_view name, ByteOffset at, std::uint64_t blocks) {
    for (std::uint64_t i = 0; i < blocks;) {
      const ByteOffset place = at + ByteCount{i * kBlockSize};
      const auto into =
          buffer.span().first(std::min<std::size_t>(buffer.size(), (blocks - i) * kBlockSize));
      const auto entry = read_entry(engine, fd, uuid, place, into);
      if (!entry) {
        ++i;
        continue;
      }
      print(fmt::format("{} block {}: generation {}, sequence {}, {} records, {} bytes\n", name, i,
                        entry->header.generation.get(), entry->header.sequence.get(),
                        entry->header.records.get(), entry->header.length.get()));
      i += entry_blocks(entry->header.length.get());
    }
  };
  area("journal", layout.journal, layout.journal_blocks);
  area("checkpoint 0", layout.checkpoint[0], layout.checkpoint_blocks);
  area("checkpoint 1", layout.checkpoint[1], layout.checkpoint_blocks);
}

}  // namespace

SetUp<bool> dump(const std::string& path, const std::function<void(std::string_view)>& print) {
  TRY(const OpenedStore opened, open_to_look(path));
  Found found = find_store(*opened.engine, opened.fd.get(), opened.size);
  if (!found.loaded) return no_store(path, found);
  const Examined all =
      examine_loaded(*opened.engine, opened.fd.get(), found, Depth::kMetadata, nullptr);
  for (const std::string& fact : all.facts) print(fact + "\n");
  dump_metadata(*opened.engine, opened.fd.get(), print);
  found.loaded->index->for_each_object([&](Object& object) { dump_object(object, print); });
  return true;
}

}  // namespace larder::store
