// SPDX-License-Identifier: Apache-2.0
// The kinds of record that a store keeps, apart from their bytes (src/store/format.h has those).
//
// The journal is a sequence of records and the checkpoint a set of them; both mean the same thing.
// Each record stands on its own: a store is right after ANY prefix of its journal, so a crash can
// only forget.
//
//   object        a node of the FS-Cache tree: id, parent, type, key, aux, size. With `reset`,
//                 replaces all that was known of the object's pages: identity and pages change in
//                 one record.
//   extent        a run of pages of one data object and where it lies: first page, count, block,
//                 and one CRC32C per page (seeded with object id and page number, never with a
//                 generation). Zero pages are a flag without blocks. A page belongs to the latest
//                 extent that names it.
//   drop          pages of an object that are no longer cached
//   retire        an object and all below it are gone
//   rename        an object moves to another parent and key; what lay there is retired: one record
//   name          (directory object, name) -> file id, attributes and a value, opaque here
//   unname        that name is gone
//   move name     a name moves, replacing what lay there: one record
//   value         what the floors above keep with an object; opaque here
//   session mark  a write session began on a data object: should no end be recorded (crash), what
//                 was recorded before is obsolete, because the time stamps may be too coarse to
//                 tell
#pragma once

#include <larder/identity.h>
#include <larder/netfs.h>
#include <larder/units.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace larder {

// Never reused within a store. 0 is none, 1 the FSDEF root, which always exists.
struct ObjectId : Strong<ObjectId> {
  using Strong::Strong;
};
inline constexpr ObjectId kNoObject{0};
inline constexpr ObjectId kRootObject{1};

// As FS-Cache has them: 0 index, 1 data, others special.
enum class ObjectType : std::uint8_t { kIndex = 0, kData = 1 };

struct ObjectRecord {
  ObjectId id;
  ObjectId parent;
  ObjectType type = ObjectType::kIndex;
  std::vector<std::byte> key;  // 1 to 255 bytes, unique below its parent
  std::vector<std::byte> aux;  // 0 to 255 bytes: the coherency data, opaque here
  ByteCount size{};            // of the file that the pages belong to
};

// What the floors above keep with a name or an object: listings, link targets, extended attributes,
// that there is no such name. The store keeps and evicts the bytes and understands none of them;
// `version` tells whoever wrote them how to read them.
struct StoredValue {
  std::uint16_t version = 0;
  std::vector<std::byte> bytes;  // at most kLongestValue
  friend bool operator==(const StoredValue&, const StoredValue&) = default;
};
inline constexpr std::size_t kLongestValue = 8192;

// What a directory object knows of one name.
struct NameRecord {
  FileId file;
  Attributes attributes;
  StoredValue value = {};
};

}  // namespace larder
