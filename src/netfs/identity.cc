// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <larder/identity.h>
#include <larder/netfs.h>

#include <limits>

namespace larder {
namespace {

template <std::size_t kFields>
std::array<std::byte, kFields * 8> encode_fields(const std::array<std::uint64_t, kFields>& fields) {
  std::array<std::byte, kFields * 8> bytes;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(fields[i / 8] >> (8 * (i % 8)));
  }
  return bytes;
}

template <std::size_t kFields>
std::optional<std::array<std::uint64_t, kFields>> decode_fields(std::span<const std::byte> bytes) {
  if (bytes.size() != kFields * 8) return std::nullopt;
  std::array<std::uint64_t, kFields> fields{};
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    fields[i / 8] |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * (i % 8));
  }
  return fields;
}

std::uint64_t as_unsigned(std::int64_t n) { return static_cast<std::uint64_t>(n); }
std::int64_t as_signed(std::uint64_t n) { return static_cast<std::int64_t>(n); }

void append_prefixed(std::string& key, std::string_view field) {
  key += fmt::format("{}:", field.size());
  key += field;
}

}  // namespace

std::array<std::byte, FileId::kEncodedSize> FileId::encode() const {
  return encode_fields<3>({inode, device, generation});
}

std::optional<FileId> FileId::decode(std::span<const std::byte> bytes) {
  const auto fields = decode_fields<3>(bytes);
  if (!fields) return std::nullopt;
  return FileId{.inode = (*fields)[0], .device = (*fields)[1], .generation = (*fields)[2]};
}

std::string to_text(const FileId& id) {
  if (id.given()) return fmt::format("given:{:x}", id.inode);
  return fmt::format("{:x}:{}:{:x}", id.device, id.inode, id.generation);
}

std::array<std::byte, Identity::kEncodedSize> Identity::encode() const {
  return encode_fields<5>({size, as_unsigned(mtime_ns), as_unsigned(ctime_ns), inode, change});
}

std::optional<Identity> Identity::decode(std::span<const std::byte> bytes) {
  const auto fields = decode_fields<5>(bytes);
  if (!fields) return std::nullopt;
  return Identity{.size = (*fields)[0],
                  .mtime_ns = as_signed((*fields)[1]),
                  .ctime_ns = as_signed((*fields)[2]),
                  .inode = (*fields)[3],
                  .change = (*fields)[4]};
}

std::string to_text(const Identity& identity) {
  return fmt::format("size={} mtime={} ctime={} inode={} change={:x}", identity.size,
                     identity.mtime_ns, identity.ctime_ns, identity.inode, identity.change);
}

Nanoseconds granularity_of(std::int64_t mtime_ns) {
  // The kernel stamps with the time of its last tick: 1 to 10 ms, however fine the digits are.
  return mtime_ns % kSecond != 0 ? 10 * kMillisecond : 2 * kSecond;
}

std::int64_t newest_stamp_ns(const Identity& identity) {
  return identity.ctime_ns == 0 ? identity.mtime_ns
                                : std::max(identity.mtime_ns, identity.ctime_ns);
}

bool is_racy(const Identity& identity, Nanoseconds fetch_began_share_ns) {
  const std::int64_t newest = newest_stamp_ns(identity);
  const Nanoseconds step = granularity_of(newest);
  // A stamp at the end of time is never old.
  if (newest > std::numeric_limits<Nanoseconds>::max() - step) return true;
  return newest + step > fetch_began_share_ns;
}

Identity identity_of(const Attributes& attributes, const Traits& traits) {
  const bool numbers = traits.inode_numbers == InodeNumbers::kStable;
  return Identity{.size = attributes.size,
                  .mtime_ns = attributes.mtime_ns,
                  .ctime_ns = traits.has_ctime ? attributes.ctime_ns : 0,
                  .inode = numbers ? attributes.inode : 0,
                  .change = attributes.change};
}

std::optional<FileId> file_id_of(const Attributes& attributes, const Traits& traits) {
  // Number 0 is how a file system says that it has none.
  if (traits.inode_numbers == InodeNumbers::kUnstable || attributes.inode == 0) return std::nullopt;
  return FileId{.inode = attributes.inode,
                .device = attributes.device,
                .generation = as_unsigned(attributes.btime_ns)};
}

std::string ShareIdentity::key() const {
  std::string key;
  for (const std::string_view field : {std::string_view(type), std::string_view(source),
                                       std::string_view(root), std::string_view(below)}) {
    append_prefixed(key, field);
  }
  key += is_mount_point ? 'm' : '-';
  return key;
}

}  // namespace larder
