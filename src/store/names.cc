// SPDX-License-Identifier: Apache-2.0
// Names of directory objects, and values of all. A name that cannot be kept is forgotten, never
// left as it was.
#include "store/store_impl.h"

namespace larder::store {
namespace {

bool fits(std::string_view name) { return !name.empty() && name.size() <= kLongestKey; }
bool fits(const StoredValue& value) { return value.bytes.size() <= kLongestValue; }

bool same(const NameRecord& a, const NameRecord& b) {
  std::vector<std::byte> first, second;
  encode(PutNameRecord{kRootObject, "n", a}, first);
  encode(PutNameRecord{kRootObject, "n", b}, second);
  return first == second;
}

}  // namespace

void Store::put_name(const ObjectRef& directory, std::string_view name, const NameRecord& record) {
  if (!fits(name)) return;
  if (!fits(record.value)) return remove_name(directory, name);
  const MutexLock lock(impl_->mutex);
  if (!impl_->takes_changes() || directory->retired) return;
  const NameRecord* there = impl_->index->find_name(*directory, name);
  if (there != nullptr && same(*there, record)) return;
  const std::uint64_t bytes = encoded_size(PutNameRecord{directory->id, name, record});
  if (!impl_->name_room_locked(bytes, *directory)) {
    if (impl_->index->remove_name(*directory, name))
      impl_->append_locked(UnnameRecord{directory->id, name});
    return;
  }
  impl_->index->put_name(*directory, name, record);
  impl_->append_locked(PutNameRecord{directory->id, name, record});
  impl_->gauges_locked();
}

void Store::put_value(const ObjectRef& object, const StoredValue& value) {
  const MutexLock lock(impl_->mutex);
  if (!impl_->takes_changes() || object->retired) return;
  ValueRecord record{object->id, value.version, value.bytes};
  if (!fits(value) || !impl_->name_room_locked(encoded_size(record), *object)) record.bytes = {};
  if (record.bytes.empty() && !object->value) return;
  if (object->value && *object->value == value && !record.bytes.empty()) return;
  impl_->index->set_value(*object, record.version, record.bytes);
  impl_->append_locked(record);
}

std::optional<StoredValue> Store::find_value(const ObjectRef& object) const {
  const MutexLock lock(impl_->mutex);
  if (!impl_->is_open() || !object->value) return std::nullopt;
  object->consulted = true;
  return *object->value;
}

void Store::remove_name(const ObjectRef& directory, std::string_view name) {
  const MutexLock lock(impl_->mutex);
  if (!impl_->takes_changes() || !impl_->index->remove_name(*directory, name)) return;
  impl_->append_locked(UnnameRecord{directory->id, name});
  impl_->gauges_locked();
}

void Store::move_name(const ObjectRef& from, std::string_view name, const ObjectRef& to,
                      std::string_view new_name) {
  if (!fits(name) || !fits(new_name)) return;
  const MutexLock lock(impl_->mutex);
  if (!impl_->takes_changes()) return;
  const bool known = impl_->index->find_name(*from, name) != nullptr;
  const bool room = !to->retired && impl_->name_room_locked(new_name.size(), *to);
  if (known && room) {
    impl_->index->move_name(*from, name, *to, new_name);
    impl_->append_locked(MoveNameRecord{from->id, to->id, name, new_name});
  } else {
    // What lies at the new name has been replaced by something unknown.
    if (impl_->index->remove_name(*from, name)) impl_->append_locked(UnnameRecord{from->id, name});
    if (impl_->index->remove_name(*to, new_name))
      impl_->append_locked(UnnameRecord{to->id, new_name});
  }
  impl_->gauges_locked();
}

std::optional<NameRecord> Store::find_name(const ObjectRef& directory,
                                           std::string_view name) const {
  const MutexLock lock(impl_->mutex);
  const NameRecord* record = impl_->is_open() ? impl_->index->find_name(*directory, name) : nullptr;
  if (record != nullptr) directory->consulted = true;
  return record == nullptr ? std::nullopt : std::optional<NameRecord>(*record);
}

void Store::for_each_name(
    const ObjectRef& directory,
    const std::function<void(std::string_view, const NameRecord&)>& visit) const {
  std::vector<std::pair<std::string, NameRecord>> names;  // `visit` may call the store
  {
    const MutexLock lock(impl_->mutex);
    if (!impl_->is_open() || !directory->folder) return;
    directory->consulted = true;
    names.assign(directory->folder->names.begin(), directory->folder->names.end());
  }
  for (const auto& [name, record] : names) visit(name, record);
}

}  // namespace larder::store
