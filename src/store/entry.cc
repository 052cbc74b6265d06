// SPDX-License-Identifier: Apache-2.0
#include "store/entry.h"

#include <larder/result.h>

#include <algorithm>

#include "base/crc32c.h"

namespace larder::store {
namespace {

std::uint32_t sum_of(EntryDisk header, Bytes records) {
  header.sum.set(0);
  return crc32c(records, crc32c(bytes_of(header)));
}

}  // namespace

std::uint32_t seal_entry(const EntryName& name, std::size_t record_bytes, std::uint32_t records,
                         std::span<std::byte> entry) {
  const std::size_t used = sizeof(EntryDisk) + record_bytes;
  check(entry.size() >= entry_blocks(record_bytes) * kBlockSize,
        "an entry has room for its blocks");
  EntryDisk header{};
  header.magic.set(kEntryMagic);
  header.uuid = name.uuid;
  header.generation.set(name.generation);
  header.sequence.set(name.sequence);
  header.place.set(name.place.value());
  header.length.set(static_cast<std::uint32_t>(record_bytes));
  header.records.set(records);
  header.kind.set(static_cast<std::uint32_t>(name.kind));
  header.previous.set(name.previous);
  const std::uint32_t sum = sum_of(header, entry.subspan(sizeof(EntryDisk), record_bytes));
  header.sum.set(sum);
  std::memcpy(entry.data(), &header, sizeof header);
  const auto rest = entry.subspan(used, entry_blocks(record_bytes) * kBlockSize - used);
  std::fill(rest.begin(), rest.end(), std::byte{0});
  return sum;
}

std::optional<Entry> read_entry(IoEngine& engine, int fd, const Uuid& uuid, ByteOffset place,
                                std::span<std::byte> into) {
  if (!engine.read_now(fd, place, into.first(kBlockSize))) return std::nullopt;
  const auto header = disk_from<EntryDisk>(into);
  if (header.magic.get() != kEntryMagic || header.uuid != uuid) return std::nullopt;
  if (header.place.get() != place.value()) return std::nullopt;
  // The length is not trusted before the sum was: it only says how much is read, within the buffer.
  const std::size_t length = header.length.get();
  const std::size_t bytes = entry_blocks(length) * kBlockSize;
  if (bytes > into.size()) return std::nullopt;
  if (bytes > kBlockSize) {
    const auto rest = into.subspan(kBlockSize, bytes - kBlockSize);
    if (!engine.read_now(fd, place + ByteCount{kBlockSize}, rest)) return std::nullopt;
  }
  const Bytes records = into.subspan(sizeof(EntryDisk), length);
  if (header.sum.get() != sum_of(header, records)) return std::nullopt;
  return Entry{header, records};
}

}  // namespace larder::store
