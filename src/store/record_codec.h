// SPDX-License-Identifier: Apache-2.0
// Records in memory and in bytes. What each means: <larder/records.h>; its bytes: format.h.
//
// Decoding trusts nothing: a record whose lengths do not fit is no record. Views (keys, names,
// sums) point into what was given and live as long as that.
#pragma once

#include <larder/records.h>
#include <larder/units.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "store/format.h"

namespace larder::store {

using Bytes = std::span<const std::byte>;

// What an object's record says of its pages: they stay, they are none from here on, or those that a
// session mark made obsolete count again.
enum class Pages : std::uint8_t { kKept, kReset, kResumed };

struct ObjectChange {
  ObjectId id, parent;
  ObjectType type = ObjectType::kIndex;
  ByteCount size;
  Bytes key, aux;
  Pages pages = Pages::kKept;
  bool pinned = false;
};
struct ExtentRecord {
  ObjectId object;
  PageIndex first;
  std::uint32_t count = 0;
  std::uint64_t block = kNoBlock;
  std::span<const Le32> sums;  // none for pages of zeros
};
struct DropRecord {
  ObjectId object;
  PageRange range;
};
struct RetireRecord {
  ObjectId object;
};
struct RenameRecord {
  ObjectId object, parent;
  Bytes key;
};
struct PutNameRecord {
  ObjectId directory;
  std::string_view name;
  NameRecord record;
};
struct UnnameRecord {
  ObjectId directory;
  std::string_view name;
};
struct MoveNameRecord {
  ObjectId from, to;
  std::string_view name, new_name;
};
struct ValueRecord {
  ObjectId object;
  std::uint16_t version = 0;
  Bytes bytes;
};
struct SessionMarkRecord {
  ObjectId object;
};
using Record =
    std::variant<ObjectChange, ExtentRecord, DropRecord, RetireRecord, RenameRecord, PutNameRecord,
                 UnnameRecord, MoveNameRecord, SessionMarkRecord, ValueRecord>;

// How many bytes encode() appends.
std::size_t encoded_size(const ObjectChange& record);
std::size_t encoded_size(const PutNameRecord& record);
std::size_t encoded_size(const ValueRecord& record);
std::size_t extent_size(std::uint32_t pages, std::uint64_t block);

// Appends the record. REQUIRES: keys, aux data and names of at most 255 bytes,
// values of at most kLongestValue.
void encode(const Record& record, std::vector<std::byte>& into);

// The first record of `bytes`, which becomes what follows it. nullopt: no whole, sensible record.
std::optional<Record> decode_next(Bytes& bytes);
// The length of the first record; 0 where it is not whole.
std::size_t record_length(Bytes bytes);

}  // namespace larder::store
