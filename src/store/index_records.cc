// SPDX-License-Identifier: Apache-2.0
// What records do to the index, and the index as records.
#include <larder/result.h>

#include <algorithm>
#include <array>

#include "store/index.h"

namespace larder::store {

bool Index::apply_object(const ObjectChange& change, DeadList& dead) {
  Object* object = by_id(change.id);
  if (object == nullptr) {
    Object* parent = by_id(change.parent);
    if (parent == nullptr || change.id == kNoObject || change.key.empty()) return false;
    if (child(*parent, view(change.key)) != nullptr) return false;
    object = add(*parent, change.type, view(change.key), change.id).get();
  } else if (object != root_.get()) {
    const bool same = object->parent->id == change.parent && view(change.key) == object->key() &&
                      object->type == change.type;
    if (!same) return false;
  }
  if (change.pages == Pages::kReset) drop_all(*object, dead);
  if (change.pages != Pages::kKept) object->in_session = false;
  set_identity(*object, view(change.aux), change.size);
  set_pinned(*object, change.pinned);
  return true;
}

// Records of one object mostly come one behind the other.
Object* Index::replayed(ObjectId id) {
  Object* object = last_in_replay_ < slots_.size() ? slots_[last_in_replay_] : nullptr;
  if (object == nullptr || object->id != id) object = by_id(id);
  if (object != nullptr) last_in_replay_ = object->slot;
  return object;
}

bool Index::apply_extent(const ExtentRecord& record, std::uint64_t data_blocks, DeadList& dead) {
  Object* object = replayed(record.object);
  if (object == nullptr) return false;
  if (record.count > Extent::kLongest || record.first.value() >= Extent::kPages - Extent::kLongest)
    return false;
  std::array<std::uint32_t, kExtentPages> sums;
  if (record.block != kNoBlock) {
    if (record.block >= data_blocks || record.count > data_blocks - record.block) return false;
    for (std::uint32_t i = 0; i < record.count; ++i) sums[i] = record.sums[i].get();
  }
  NewExtent extent{record.first, record.count, record.block,
                   std::span{sums}.first(record.block == kNoBlock ? 0 : record.count)};
  insert(*object, extent, dead);
  return true;
}

bool Index::apply(const Record& record, std::uint64_t data_blocks, DeadList& dead) {
  struct Apply {
    Index& index;
    std::uint64_t data_blocks;
    DeadList& dead;

    bool operator()(const ObjectChange& r) const { return index.apply_object(r, dead); }
    bool operator()(const ExtentRecord& r) const {
      return index.apply_extent(r, data_blocks, dead);
    }
    bool operator()(const DropRecord& r) const {
      Object* object = index.by_id(r.object);
      if (object == nullptr) return false;
      index.drop(*object, r.range, dead);
      return true;
    }
    bool operator()(const RetireRecord& r) const {
      Object* object = index.by_id(r.object);
      if (object == nullptr || r.object == kRootObject) return false;
      index.retire(*object, dead);
      return true;
    }
    bool operator()(const RenameRecord& r) const {
      Object* object = index.by_id(r.object);
      Object* parent = index.by_id(r.parent);
      if (object == nullptr || parent == nullptr || r.key.empty()) return false;
      return index.rename(*object, *parent, view(r.key), dead);
    }
    bool operator()(const PutNameRecord& r) const {
      Object* directory = index.replayed(r.directory);
      if (directory == nullptr || r.name.empty()) return false;
      index.put_name(*directory, r.name, r.record);
      return true;
    }
    bool operator()(const UnnameRecord& r) const {
      Object* directory = index.by_id(r.directory);
      return directory != nullptr && index.remove_name(*directory, r.name);
    }
    bool operator()(const MoveNameRecord& r) const {
      Object* from = index.by_id(r.from);
      Object* to = index.by_id(r.to);
      if (from == nullptr || to == nullptr || r.name.empty() || r.new_name.empty()) return false;
      index.move_name(*from, r.name, *to, r.new_name);
      return true;
    }
    bool operator()(const ValueRecord& r) const {
      Object* object = index.replayed(r.object);
      if (object == nullptr) return false;
      index.set_value(*object, r.version, r.bytes);
      return true;
    }
    // Should no end follow, the pages go when all is replayed.
    bool operator()(const SessionMarkRecord& r) const {
      Object* object = index.by_id(r.object);
      if (object == nullptr) return false;
      object->in_session = true;
      return true;
    }
  };
  return std::visit(Apply{*this, data_blocks, dead}, record);
}

void Index::for_each_record(absl::FunctionRef<void(const Record&)> visit) {
  for_each_object([&](Object& object) {
    visit(change_of(object, Pages::kKept));
    if (object.value) visit(value_of(object));
    if (!object.folder) return;
    for (const auto& [name, record] : object.folder->names)
      visit(PutNameRecord{object.id, name, record});
  });
  std::array<std::uint32_t, Extent::kLongest> sums;
  std::array<Le32, Extent::kLongest> disk;
  for_each_extent([&](Object& object, const Extent& extent) {
    if (object.in_session) return;
    const std::size_t count = extent.zeros() ? 0 : extent.pages();
    const auto its = std::span{sums}.first(count);
    if (count != 0 && !sums_.get(extent.block(), its)) std::ranges::fill(its, 0u);
    for (std::size_t i = 0; i < count; ++i) disk[i] = Le32::of(sums[i]);
    visit(ExtentRecord{object.id, extent.first(), extent.pages(), extent.block(),
                       std::span{disk}.first(count)});
  });
}

}  // namespace larder::store
