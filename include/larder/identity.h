// SPDX-License-Identifier: Apache-2.0
// What a file is and which version of it: names and files are apart, as dentries and inodes are.
//
// FileId   which file: survives renames and remounts; the key of its data cookie.
// Identity which version of its content: two fetches may be mixed only if their Identity is equal.
#pragma once

#include <larder/units.h>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace larder {

// Where the share's inode numbers are stable: the share's own (device, inode, generation), device 0
// being the device of the share's root (device numbers change from mount to mount) and generation
// the birth time where there is one. Else: device = generation = kGiven and `inode` 64 bits that
// larder gave at first sight and keeps in the directory's names (records.h).
struct FileId {
  std::uint64_t inode = 0;
  std::uint64_t device = 0;
  std::uint64_t generation = 0;

  static constexpr std::uint64_t kGiven = ~std::uint64_t{0};
  static constexpr std::size_t kEncodedSize =
      24;  // three little-endian u64: inode, device, generation

  bool given() const { return device == kGiven && generation == kGiven; }
  std::array<std::byte, kEncodedSize> encode() const;
  static std::optional<FileId> decode(
      std::span<const std::byte> bytes);  // nullopt: not of that size
  friend auto operator<=>(const FileId&, const FileId&) = default;
};

std::string to_text(const FileId& id);

// What is compared to tell one version of a file's content from another. A field that a share
// cannot be trusted with is 0 in all of its Identities (Traits in netfs.h say which).
struct Identity {
  std::uint64_t size = 0;     // bytes
  std::int64_t mtime_ns = 0;  // since 1970, on the share's clock
  std::int64_t ctime_ns = 0;
  std::uint64_t inode = 0;
  std::uint64_t change = 0;  // change attribute or etag, hashed

  static constexpr std::size_t kEncodedSize = 40;  // five little-endian u64, in this order
  std::array<std::byte, kEncodedSize> encode() const;
  static std::optional<Identity> decode(std::span<const std::byte> bytes);
  friend bool operator==(const Identity&, const Identity&) = default;
};

std::string to_text(const Identity& identity);

// The share's time stamps move in steps: 10 ms where this stamp shows digits below the second, else
// 2 s.
Nanoseconds granularity_of(std::int64_t mtime_ns);

// The later of its stamps: who sets mtime back behind a write leaves that in ctime.
std::int64_t newest_stamp_ns(const Identity& identity);

// True where a later write could have left the very same time stamp: the version's mtime (or ctime)
// is not older, by the share's granularity, than the moment at which its bytes began to be fetched.
// Such a version is served but not kept beyond its open handles. Both times on the share's clock.
bool is_racy(const Identity& identity, Nanoseconds fetch_began_share_ns);

}  // namespace larder

template <>
struct std::hash<larder::FileId> {
  std::size_t operator()(const larder::FileId& id) const noexcept {
    std::uint64_t h = id.inode * 0x9E3779B97F4A7C15ull;
    h ^= (id.device + 0x7F4A7C15ull) * 0xC2B2AE3D27D4EB4Full;
    h ^= (id.generation + 0x165667B1ull) * 0x9FB21C651E98DF25ull;
    return static_cast<std::size_t>(h ^ (h >> 29));
  }
};
