// SPDX-License-Identifier: Apache-2.0
// Index: all objects, names and extents in memory, and what each kind of record does to them.
//
// One implementation serves the running store and the replay of its journal, so that the two cannot
// come to mean different things. It does no I/O, keeps no journal and owns no free blocks: blocks
// that an operation sets free are handed to the caller as `Dead`.
//
// Thread: one at a time (the store's index lock). The extents of an object are changed under that
// object's own lock too, since warm reads take no other.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/functional/function_ref.h>
#include <larder/records.h>

#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <string_view>
#include <vector>

#include "store/object.h"
#include "store/record_codec.h"

namespace larder::store {

// Blocks that no extent of an object holds any more.
struct Dead {
  ExtentRef extent;  // whose pins they wait for
  std::uint64_t block;
  std::uint64_t blocks;
};
using DeadList = std::vector<Dead>;

struct NewExtent {
  PageIndex first;
  std::uint32_t pages = 0;
  std::uint64_t block = kNoBlock;
  std::unique_ptr<std::uint32_t[]> sums;
};

class Index {
 public:
  using ByAge =
      boost::intrusive::list<Extent,
                             boost::intrusive::member_hook<Extent, Extent::Order, &Extent::order>,
                             boost::intrusive::constant_time_size<true>>;
  struct Totals {
    std::uint64_t objects = 0, names = 0, extents = 0;
    std::uint64_t bytes = 0;  // that a checkpoint's records take
  };

  Index();
  ~Index();
  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;

  Object& root() { return *root_; }
  Object* by_id(ObjectId id);
  Object* child(const Object& parent, std::string_view key);
  ObjectId next_id() const { return next_id_; }
  void set_next_id(ObjectId id) { next_id_ = id; }
  const Totals& totals() const { return totals_; }
  ByAge& by_age() { return by_age_; }                            // oldest first
  void for_each_object(absl::FunctionRef<void(Object&)> visit);  // parents before children

  // REQUIRES: the parent is not retired and has no such child.
  ObjectRef add(Object& parent, ObjectType type, std::string_view key, ObjectId id);
  void set_identity(Object& object, std::string_view aux, ByteCount size);
  void retire(Object& object, DeadList& dead);  // REQUIRES: not the root
  // Moves; what lay there is retired. False: it would lie below itself, or is the root.
  bool rename(Object& object, Object& parent, std::string_view key, DeadList& dead);

  void set_value(Object& object, std::uint16_t version, Bytes bytes);  // empty: none
  void put_name(Object& directory, std::string_view name, const NameRecord& record);
  bool remove_name(Object& directory, std::string_view name);  // false: there was none
  // What the new name was goes in any case.
  void move_name(Object& from, std::string_view name, Object& to, std::string_view new_name);

  void drop(Object& object, PageRange range, DeadList& dead);
  void drop_all(Object& object, DeadList& dead);
  // Replaces what the object has of these pages. REQUIRES: not retired.
  Extent& insert(Object& object, NewExtent extent, DeadList& dead);

  // Replay: what the record says. False: it makes no sense here and did nothing.
  bool apply(const Record& record, std::uint64_t data_blocks, DeadList& dead);
  // The records of a checkpoint. Pages of an open session are in none: its mark made them obsolete.
  void for_each_record(absl::FunctionRef<void(const Record&)> visit);

 private:
  bool apply_object(const ObjectChange& change, DeadList& dead);
  bool apply_extent(const ExtentRecord& record, std::uint64_t data_blocks, DeadList& dead);
  void cut(Object& object, Object::Extents::iterator at, PageRange range, DeadList& dead);
  Extent& place(Object& object, ExtentRef extent, ByAge::iterator before);
  void forget(Object& object, DeadList& dead);
  void link(Object& object, Object& parent, std::string_view key);
  void unlink(Object& object);

  ObjectRef root_;
  absl::flat_hash_map<std::uint64_t, Object*> by_id_;
  ByAge by_age_;
  Totals totals_;
  ObjectId next_id_{kRootObject.value() + 1};
};

// The object as its record says it.
ObjectChange change_of(const Object& object, Pages pages);

ValueRecord value_of(const Object& object);  // empty: it has none

inline std::string_view view(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline Bytes view(std::string_view text) {
  return std::as_bytes(std::span{text.data(), text.size()});
}
inline Bytes view(const std::string& text) { return view(std::string_view{text}); }

}  // namespace larder::store
