// SPDX-License-Identifier: Apache-2.0
// Index: all objects, names and extents in memory, and what each kind of record does to them.
//
// One implementation serves the running store and the replay of its journal, so that the two cannot
// come to mean different things. It does no I/O, keeps no journal and owns no free blocks: blocks
// that an operation sets free are handed to the caller as a list.
//
// For a checkpoint it gives an image of itself as it stood at one moment, a section of slots at a
// time, while it goes on changing: what is about to change goes into the image first.
//
// Objects lie in slots; a slot is reused when its object has gone. Ids are looked up while records
// are replayed and hardly ever afterwards, so the table of them is made when it is first asked for.
//
// Thread: one at a time (the store's index lock). The extents of an object are changed under that
// object's own lock too, since warm reads take no other.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/functional/function_ref.h>
#include <larder/records.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "store/adopter.h"
#include "store/object.h"
#include "store/pins.h"
#include "store/record_codec.h"
#include "store/s3fifo.h"
#include "store/sum_table.h"

namespace larder::store {

// Runs of blocks that no extent of an object holds any more.
using DeadList = std::vector<BlockRun>;

struct NewExtent {
  PageIndex first;
  std::uint32_t pages = 0;
  std::uint64_t block = kNoBlock;
  std::span<const std::uint32_t> sums;  // none for zeros
  unsigned uses = 0;
  std::optional<QueueName> queue = {};  // none: small, or main where the ghost knows it
  std::optional<unsigned> tick = {};    // none: now
};

class Index {
 public:
  struct Totals {
    std::uint64_t objects = 0, names = 0, extents = 0;
    // That a checkpoint's records take, at most.
    std::uint64_t object_bytes = 0, name_bytes = 0, extent_bytes = 0;
    std::uint64_t bytes() const { return object_bytes + name_bytes + extent_bytes; }
    friend bool operator==(const Totals&, const Totals&) = default;
  };

  explicit Index(std::uint64_t data_blocks);
  ~Index();
  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;

  Object& root() { return *root_; }
  Object* by_id(ObjectId id);
  void forget_ids();  // the table of them; made anew when it is needed
  Object* child(const Object& parent, std::string_view key);
  ObjectId next_id() const { return next_id_; }
  void set_next_id(ObjectId id) { next_id_ = id; }
  const Totals& totals() const { return totals_; }
  SumTable& sums() { return sums_; }
  S3Fifo& order() { return order_; }
  // What the clock of expiry shows (expiry.cc): extents that come get it.
  void set_tick(unsigned tick) { tick_ = tick; }
  std::uint64_t memory_bytes() const;  // near enough

  void for_each_object(absl::FunctionRef<void(Object&)> visit);  // parents before children
  // In the order of eviction; `visit` may not change it.
  void for_each_extent(absl::FunctionRef<void(Object&, const Extent&)> visit);
  std::size_t slots() const { return slots_.size(); }
  Object* in_slot(std::size_t slot) { return slots_[slot]; }

  // REQUIRES: the parent is not retired and has no such child.
  ObjectRef add(Object& parent, ObjectType type, std::string_view key, ObjectId id);
  void set_identity(Object& object, std::string_view aux, ByteCount size);
  void set_pinned(Object& object, bool pinned);
  std::uint64_t pinned() const { return pinned_; }  // objects
  void retire(Object& object, DeadList& dead);      // REQUIRES: not the root
  // Moves; what lay there is retired. False: it would lie below itself, or is the root.
  bool rename(Object& object, Object& parent, std::string_view key, DeadList& dead);

  void set_value(Object& object, std::uint16_t version, Bytes bytes);  // empty: none
  void put_name(Object& directory, std::string_view name, const NameRecord& record);
  bool remove_name(Object& directory, std::string_view name);  // false: there was none
  // What the new name was goes in any case.
  void move_name(Object& from, std::string_view name, Object& to, std::string_view new_name);
  const NameRecord* find_name(const Object& directory, std::string_view name) const;

  void drop(Object& object, PageRange range, DeadList& dead);
  void drop_all(Object& object, DeadList& dead);
  // Replaces what the object has of these pages. REQUIRES: not retired; at most Extent::kLongest
  // pages below Extent::kPages.
  void insert(Object& object, const NewExtent& extent, DeadList& dead);

  // The extent that is to go next. nullopt: there is none, or none was found in a bounded time.
  struct Victim {
    Object* object;
    PageRange range;
    std::uint64_t blocks;
  };
  std::optional<Victim> next_victim();
  // An object with names or a value that nobody consulted lately; null: there is none in a stretch
  // of the index. Not `except`.
  Object* next_idle_folder(const Object* except);

  // Replay: what the record says. False: it makes no sense here and did nothing.
  bool apply(const Record& record, std::uint64_t data_blocks, DeadList& dead);
  // The index as records. Pages of an open session are in none: its mark made them obsolete.
  // Reads sums that are not in memory; those that it cannot read are zeros.
  void for_each_record(absl::FunctionRef<void(const Record&)> visit);

  // -- its image, for a checkpoint (index_image.cc)
  // ------------------------------------------------
  void begin_image();
  // Encodes one more section. False: all is encoded.
  bool image_step();
  // Whole records, behind those of before.
  std::vector<std::byte> take_image();
  void end_image();
  // Loading: a record of an image. False: it makes no sense here.
  bool restore(RecordKind kind, Bytes record, std::uint64_t data_blocks);
  // All records were restored. How many objects had no place in the tree.
  std::uint64_t end_restore();

 private:
  struct Image {
    std::size_t slots = 0, next = 0;  // slots that there were; the next section
    std::vector<bool> done;           // sections
    std::vector<std::byte> bytes;
  };
  struct Restoring {
    std::vector<std::pair<Object*, ObjectId>> orphans;  // whose parents are not there yet
    absl::flat_hash_map<std::uint64_t, Object*> folders;
    Object* parent = nullptr;  // of the last one
    Object* last = nullptr;
    std::unique_ptr<Adopter> adopter;  // where there are many
  };
  // Before anything that its records say of an object changes, and before it comes or goes.
  void before_change(std::size_t slot);
  void encode_section(std::size_t section);
  void encode_object(const Object& object);
  bool restore_start(Bytes record);
  bool restore_object(Bytes record);
  bool restore_extents(Bytes record, std::uint64_t data_blocks);
  bool restore_sums(Bytes record);
  Object* replayed(ObjectId id);
  bool adopt(Object& object, Object& parent);  // false: it has one of that key

  bool apply_object(const ObjectChange& change, DeadList& dead);
  bool apply_extent(const ExtentRecord& record, std::uint64_t data_blocks, DeadList& dead);
  void cut(Object& object, Object::Extents::const_iterator at, PageRange range, DeadList& dead);
  void place(Object& object, PageRange range, std::uint64_t block, unsigned uses, Place place,
             unsigned tick);
  Place push(QueueName queue, const Object& object, PageIndex first, std::uint64_t weight);
  struct Found {
    Object* object;
    const Extent* extent;
  };
  Found found(Whose whose) const;
  void renumber(QueueName queue, Whose whose, std::uint32_t ticket);
  void go_round(const Found& one, unsigned uses);
  void forget(Object& object, DeadList& dead);
  void link(Object& object, Object& parent, std::string_view key);
  void unlink(Object& object);
  void tidy_folder(Object& object);

  ObjectRef root_;
  std::vector<Object*> slots_;  // null: free
  std::vector<std::uint32_t> free_slots_;
  absl::flat_hash_map<std::uint64_t, Object*> ids_;  // empty: not made
  S3Fifo order_;
  SumTable sums_;
  Totals totals_;
  unsigned tick_ = 0;
  std::uint64_t pinned_ = 0;
  ObjectId next_id_{kRootObject.value() + 1};
  std::size_t hand_ = 0;                  // of next_idle_folder
  std::size_t last_in_replay_ = 0;        // slot
  std::unique_ptr<Image> image_;          // while one is made
  std::unique_ptr<Restoring> restoring_;  // while one is loaded
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

}  // namespace larder::store
