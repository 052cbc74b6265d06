// SPDX-License-Identifier: Apache-2.0
// The tree of objects and their names. Extents: extent_index.cc; records: index_records.cc.
#include "store/index.h"

#include <larder/result.h>

namespace larder::store {

void intrusive_ptr_add_ref(Object* object) { object->refs.fetch_add(1, std::memory_order_relaxed); }
void intrusive_ptr_release(Object* object) {
  if (object->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) delete object;
}
void intrusive_ptr_add_ref(Extent* extent) { extent->refs.fetch_add(1, std::memory_order_relaxed); }
void intrusive_ptr_release(Extent* extent) {
  if (extent->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) delete extent;
}

ObjectChange change_of(const Object& object, Pages pages) {
  ObjectChange change;
  change.id = object.id;
  change.parent = object.parent == nullptr ? kNoObject : object.parent->id;
  change.type = object.type;
  change.size = object.size;
  change.key = view(object.key);
  change.aux = view(object.aux);
  change.pages = pages;
  return change;
}

ValueRecord value_of(const Object& object) {
  if (!object.value) return {object.id, 0, {}};
  return {object.id, object.value->version, object.value->bytes};
}

Index::Index() : root_(new Object(kRootObject, ObjectType::kIndex)) {
  by_id_.emplace(kRootObject.value(), root_.get());
  totals_.objects = 1;
  totals_.bytes = encoded_size(change_of(*root_, Pages::kKept));
}

Index::~Index() {
  // Objects may be held from outside for longer: they lose all that points into the index.
  DeadList dead;
  std::vector<ObjectRef> all;
  for (auto& [id, object] : by_id_) all.emplace_back(object);
  for (ObjectRef& object : all) {
    drop_all(*object, dead);
    object->retired = true;
    object->parent = nullptr;
    object->children.reset();
  }
}

Object* Index::by_id(ObjectId id) {
  const auto found = by_id_.find(id.value());
  return found == by_id_.end() ? nullptr : found->second;
}

Object* Index::child(const Object& parent, std::string_view key) {
  if (!parent.children) return nullptr;
  const auto found = parent.children->find(key);
  return found == parent.children->end() ? nullptr : found->second.get();
}

void Index::for_each_object(absl::FunctionRef<void(Object&)> visit) {
  std::vector<Object*> waiting{root_.get()};
  while (!waiting.empty()) {
    Object* object = waiting.back();
    waiting.pop_back();
    visit(*object);
    if (!object->children) continue;
    for (auto& [key, child] : *object->children) waiting.push_back(child.get());
  }
}

void Index::link(Object& object, Object& parent, std::string_view key) {
  object.parent = &parent;
  object.key = key;
  if (!parent.children) parent.children = std::make_unique<Object::Children>();
  parent.children->emplace(std::string(key), ObjectRef(&object));
}

void Index::unlink(Object& object) {
  Object* parent = object.parent;
  if (parent == nullptr || !parent->children) return;
  parent->children->erase(object.key);
  if (parent->children->empty()) parent->children.reset();
  object.parent = nullptr;
}

ObjectRef Index::add(Object& parent, ObjectType type, std::string_view key, ObjectId id) {
  check(!parent.retired && child(parent, key) == nullptr && by_id(id) == nullptr,
        "a new object has a place");
  ObjectRef object(new Object(id, type));
  link(*object, parent, key);
  by_id_.emplace(id.value(), object.get());
  if (id >= next_id_) next_id_ = ObjectId{id.value() + 1};
  ++totals_.objects;
  totals_.bytes += encoded_size(change_of(*object, Pages::kKept));
  return object;
}

void Index::set_identity(Object& object, std::string_view aux, ByteCount size) {
  totals_.bytes += aux.size();
  totals_.bytes -= object.aux.size();
  object.aux = aux;
  object.size = size;
}

// `object` and all below it leave the index; who holds them keeps empty shells.
void Index::retire(Object& object, DeadList& dead) {
  check(&object != root_.get(), "the root stays");
  if (object.retired) return;
  // All of them stay until the last is forgotten: a child looks at its parent.
  std::vector<ObjectRef> subtree{ObjectRef(&object)};
  unlink(object);
  for (std::size_t i = 0; i < subtree.size(); ++i) {
    const ObjectRef next = subtree[i];
    if (next->children) {
      for (auto& [key, child] : *next->children) subtree.push_back(child);
      next->children.reset();
    }
    forget(*next, dead);
  }
}

void Index::forget(Object& object, DeadList& dead) {
  drop_all(object, dead);
  if (object.names) {
    for (const auto& [name, record] : *object.names) {
      totals_.bytes -= encoded_size(PutNameRecord{object.id, name, record});
      --totals_.names;
    }
    object.names.reset();
  }
  set_value(object, 0, {});
  totals_.bytes -= encoded_size(change_of(object, Pages::kKept));
  --totals_.objects;
  by_id_.erase(object.id.value());
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
  totals_.bytes -= object.key.size();
  unlink(object);
  link(object, parent, key);
  totals_.bytes += object.key.size();
  return true;
}

void Index::set_value(Object& object, std::uint16_t version, Bytes bytes) {
  totals_.bytes -= encoded_size(value_of(object));
  object.value.reset();
  if (bytes.empty()) return;
  object.value = std::make_unique<StoredValue>(StoredValue{version, {bytes.begin(), bytes.end()}});
  totals_.bytes += encoded_size(value_of(object));
}

void Index::put_name(Object& directory, std::string_view name, const NameRecord& record) {
  remove_name(directory, name);
  if (!directory.names) directory.names = std::make_unique<Object::Names>();
  directory.names->emplace(std::string(name), record);
  ++totals_.names;
  totals_.bytes += encoded_size(PutNameRecord{directory.id, name, record});
}

bool Index::remove_name(Object& directory, std::string_view name) {
  if (!directory.names) return false;
  const auto found = directory.names->find(name);
  if (found == directory.names->end()) return false;
  --totals_.names;
  totals_.bytes -= encoded_size(PutNameRecord{directory.id, name, found->second});
  directory.names->erase(found);
  if (directory.names->empty()) directory.names.reset();
  return true;
}

void Index::move_name(Object& from, std::string_view name, Object& to, std::string_view new_name) {
  if (&from == &to && name == new_name) return;
  std::optional<NameRecord> record;
  if (from.names) {
    if (const auto found = from.names->find(name); found != from.names->end())
      record = found->second;
  }
  if (!record) {
    remove_name(to, new_name);
    return;
  }
  remove_name(from, name);
  put_name(to, new_name, *record);
}

}  // namespace larder::store
