// SPDX-License-Identifier: Apache-2.0
// The tree of objects and their names. Extents: extent_index.cc; records: index_records.cc.
#include "store/index.h"

#include <larder/result.h>

#include <algorithm>

namespace larder::store {

void intrusive_ptr_add_ref(Object* object) { object->refs.fetch_add(1, std::memory_order_relaxed); }
void intrusive_ptr_release(Object* object) {
  if (object->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) delete object;
}
void Labels::set(std::string_view key, std::string_view aux) {
  check(key.size() <= kLongestKey && aux.size() <= kLongestKey, "labels are short");
  auto bytes = std::make_unique_for_overwrite<char[]>(2 + key.size() + aux.size());
  bytes[0] = static_cast<char>(key.size());
  bytes[1] = static_cast<char>(aux.size());
  std::copy(key.begin(), key.end(), bytes.get() + 2);
  std::copy(aux.begin(), aux.end(), bytes.get() + 2 + key.size());
  bytes_ = std::move(bytes);
}

// Where they are too many, those that are nearest to each other become one, with what lies between
// them, which is true of them too.
void Object::note_change(PageRange range) {
  std::vector<PageRange>& changed = made_busy().changed;
  const bool known = std::ranges::any_of(
      changed, [&](const PageRange& one) { return intersect(one, range) == range; });
  if (known) return;
  changed.push_back(range);
  if (changed.size() <= kManyRanges) return;
  std::ranges::sort(changed, {}, &PageRange::first);
  while (changed.size() > kManyRanges / 2) {
    auto nearest = changed.begin();
    PageCount least{~std::uint64_t{0}};
    for (auto at = changed.begin(), next = at + 1; next != changed.end(); ++at, ++next) {
      const PageCount gap = next->first > at->end() ? next->first - at->end() : PageCount{0};
      if (gap < least) nearest = at;
      least = std::min(least, gap);
    }
    const auto next = nearest + 1;
    nearest->count = std::max(nearest->end(), next->end()) - nearest->first;
    changed.erase(next);
  }
}

ObjectChange change_of(const Object& object, Pages pages) {
  ObjectChange change;
  change.id = object.id;
  change.parent = object.parent == nullptr ? kNoObject : object.parent->id;
  change.type = object.type;
  change.size = object.size;
  change.key = view(object.key());
  change.aux = view(object.aux());
  change.pages = pages;
  change.pinned = object.pinned;
  return change;
}

ValueRecord value_of(const Object& object) {
  if (!object.value) return {object.id, 0, {}};
  return {object.id, object.value->version, object.value->bytes};
}

Index::Index(std::uint64_t data_blocks)
    : root_(new Object(kRootObject, ObjectType::kIndex)), sums_(data_blocks) {
  slots_.push_back(root_.get());
  totals_.objects = 1;
  totals_.object_bytes = encoded_size(change_of(*root_, Pages::kKept));
  // The main queue has nine tenths of the blocks.
  constexpr std::uint64_t kRegion = 16, kMostRemembered = 16u << 20;
  order_.ghost().set_reach(std::min(data_blocks / kRegion, kMostRemembered));
}

Index::~Index() {
  // Objects may be held from outside for longer: they lose all that points into the index.
  std::vector<ObjectRef> all;
  for (Object* object : slots_) {
    if (object != nullptr) all.emplace_back(object);
  }
  for (ObjectRef& object : all) {
    const MutexLock lock(object->mutex());
    object->extents.clear();
    object->cached_pages = 0;
    object->retired = true;
    object->parent = nullptr;
  }
  // Children go with the last reference to their parent.
  for (ObjectRef& object : all) object->folder.reset();
}

Object* Index::by_id(ObjectId id) {
  if (ids_.empty()) {
    ids_.reserve(totals_.objects);
    for (Object* object : slots_) {
      if (object != nullptr) ids_.emplace(object->id.value(), object);
    }
  }
  const auto found = ids_.find(id.value());
  return found == ids_.end() ? nullptr : found->second;
}

void Index::forget_ids() { absl::flat_hash_map<std::uint64_t, Object*>().swap(ids_); }

Object* Index::child(const Object& parent, std::string_view key) {
  if (!parent.folder) return nullptr;
  const auto found = parent.folder->children.find(key);
  return found == parent.folder->children.end() ? nullptr : found->get();
}

void Index::for_each_object(absl::FunctionRef<void(Object&)> visit) {
  std::vector<Object*> waiting{root_.get()};
  while (!waiting.empty()) {
    Object* object = waiting.back();
    waiting.pop_back();
    visit(*object);
    if (!object->folder) continue;
    const std::size_t before = waiting.size();
    for (const ObjectRef& child : object->folder->children) waiting.push_back(child.get());
    // In the order of their slots, which is mostly that of their ids and of their memory.
    std::sort(waiting.begin() + static_cast<std::ptrdiff_t>(before), waiting.end(),
              [](const Object* a, const Object* b) { return a->slot > b->slot; });
  }
}

std::uint64_t Index::memory_bytes() const {
  constexpr std::uint64_t kObject = sizeof(Object) + 16 + 2 * sizeof(void*);
  constexpr std::uint64_t kExtent = sizeof(Extent) + 4;
  return totals_.objects * kObject + totals_.object_bytes + totals_.names * 64 +
         totals_.name_bytes + totals_.extents * kExtent + order_.bytes() +
         slots_.capacity() * sizeof(Object*);
}

void Index::link(Object& object, Object& parent, std::string_view key) {
  before_change(parent.slot);
  object.parent = &parent;
  object.labels.set(key, std::string(object.aux()));
  if (!parent.folder) parent.folder = std::make_unique<Object::Folder>();
  parent.folder->children.insert(ObjectRef(&object));
}

void Index::unlink(Object& object) {
  Object* parent = object.parent;
  if (parent == nullptr || !parent->folder) return;
  before_change(parent->slot);
  parent->folder->children.erase(object.key());
  tidy_folder(*parent);
  object.parent = nullptr;
}

void Index::tidy_folder(Object& object) {
  if (object.folder && object.folder->children.empty() && object.folder->names.empty())
    object.folder.reset();
}

ObjectRef Index::add(Object& parent, ObjectType type, std::string_view key, ObjectId id) {
  check(!parent.retired && child(parent, key) == nullptr, "a new object has a place");
  ObjectRef object(new Object(id, type));
  link(*object, parent, key);
  before_change(parent.slot);
  if (free_slots_.empty()) {
    object->slot = static_cast<std::uint32_t>(slots_.size());
    slots_.push_back(object.get());
  } else {
    object->slot = free_slots_.back();
    before_change(object->slot);
    free_slots_.pop_back();
    slots_[object->slot] = object.get();
  }
  if (!ids_.empty()) {
    const bool fresh = ids_.emplace(id.value(), object.get()).second;
    check(fresh, "no two objects have one id");
  }
  if (id >= next_id_) next_id_ = ObjectId{id.value() + 1};
  ++totals_.objects;
  totals_.object_bytes += encoded_size(change_of(*object, Pages::kKept));
  return object;
}

void Index::set_identity(Object& object, std::string_view aux, ByteCount size) {
  before_change(object.slot);
  totals_.object_bytes += aux.size();
  totals_.object_bytes -= object.aux().size();
  if (aux != object.aux()) object.labels.set(std::string(object.key()), std::string(aux));
  object.size = size;
}

void Index::set_pinned(Object& object, bool pinned) {
  if (object.pinned == pinned) return;
  before_change(object.slot);
  object.pinned = pinned;
  pinned ? ++pinned_ : --pinned_;
}

// `object` and all below it leave the index; who holds them keeps empty shells.
void Index::retire(Object& object, DeadList& dead) {
  check(&object != root_.get(), "the root stays");
  if (object.retired) return;
  // All of them stay until the last is forgotten: a child looks at its parent.
  std::vector<ObjectRef> subtree{ObjectRef(&object)};
  before_change(object.slot);
  unlink(object);
  for (std::size_t i = 0; i < subtree.size(); ++i) {
    const ObjectRef next = subtree[i];
    if (next->folder) {
      for (const ObjectRef& child : next->folder->children) subtree.push_back(child);
    }
    forget(*next, dead);
  }
}

void Index::forget(Object& object, DeadList& dead) {
  before_change(object.slot);
  drop_all(object, dead);
  if (object.folder) {
    for (const auto& [name, record] : object.folder->names) {
      totals_.name_bytes -= encoded_size(PutNameRecord{object.id, name, record});
      --totals_.names;
    }
    object.folder.reset();
  }
  set_value(object, 0, {});
  totals_.object_bytes -= encoded_size(change_of(object, Pages::kKept));
  --totals_.objects;
  if (!ids_.empty()) ids_.erase(object.id.value());
  slots_[object.slot] = nullptr;
  free_slots_.push_back(object.slot);
  if (object.pinned) --pinned_;
  object.parent = nullptr;
  object.retired = true;
  object.generation.fetch_add(1);
}

bool Index::rename(Object& object, Object& parent, std::string_view key, DeadList& dead) {
  if (&object == root_.get()) return false;
  Object* there = child(parent, key);
  if (there == &object) return true;
  for (Object* above = &parent; above != nullptr; above = above->parent) {
    if (above == &object) return false;
  }
  for (Object* above = object.parent; there != nullptr && above != nullptr; above = above->parent) {
    if (above == there) return false;
  }
  if (there != nullptr) retire(*there, dead);
  const ObjectRef keep(&object);
  before_change(object.slot);
  totals_.object_bytes -= object.key().size();
  unlink(object);
  link(object, parent, key);
  totals_.object_bytes += key.size();
  return true;
}

void Index::set_value(Object& object, std::uint16_t version, Bytes bytes) {
  before_change(object.slot);
  totals_.name_bytes -= encoded_size(value_of(object));
  object.value.reset();
  if (bytes.empty()) return;
  object.value = std::make_unique<StoredValue>(StoredValue{version, {bytes.begin(), bytes.end()}});
  totals_.name_bytes += encoded_size(value_of(object));
}

const NameRecord* Index::find_name(const Object& directory, std::string_view name) const {
  if (!directory.folder) return nullptr;
  const auto found = directory.folder->names.find(name);
  return found == directory.folder->names.end() ? nullptr : &found->second;
}

void Index::put_name(Object& directory, std::string_view name, const NameRecord& record) {
  before_change(directory.slot);
  remove_name(directory, name);
  if (!directory.folder) directory.folder = std::make_unique<Object::Folder>();
  directory.folder->names.emplace(std::string(name), record);
  ++totals_.names;
  totals_.name_bytes += encoded_size(PutNameRecord{directory.id, name, record});
}

bool Index::remove_name(Object& directory, std::string_view name) {
  if (!directory.folder) return false;
  const auto found = directory.folder->names.find(name);
  if (found == directory.folder->names.end()) return false;
  before_change(directory.slot);
  --totals_.names;
  totals_.name_bytes -= encoded_size(PutNameRecord{directory.id, name, found->second});
  directory.folder->names.erase(found);
  tidy_folder(directory);
  return true;
}

void Index::move_name(Object& from, std::string_view name, Object& to, std::string_view new_name) {
  if (&from == &to && name == new_name) return;
  const NameRecord* there = find_name(from, name);
  if (there == nullptr) {
    remove_name(to, new_name);
    return;
  }
  const NameRecord record = *there;
  remove_name(from, name);
  put_name(to, new_name, record);
}

// The clock: who was consulted since the hand came by gets another round.
Object* Index::next_idle_folder(const Object* except) {
  constexpr unsigned kSteps = 4096;
  for (unsigned i = 0; i < kSteps; ++i) {
    hand_ = hand_ + 1 < slots_.size() ? hand_ + 1 : 0;
    Object* object = slots_[hand_];
    if (object == nullptr || object == except) continue;
    if (!object->value && (!object->folder || object->folder->names.empty())) continue;
    if (!object->consulted) return object;
    object->consulted = false;
  }
  return nullptr;
}

}  // namespace larder::store
