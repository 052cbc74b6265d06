// SPDX-License-Identifier: Apache-2.0
// The index's image: its records as they stood when it was begun, and the index made of them.
//
// Sections of 256 slots are encoded one by one, each in a fraction of a millisecond. A section in
// which anything is about to change is encoded before it does (before_change), so all of them
// together are the index of one moment. Extents keep their tickets: the order of eviction moves on
// meanwhile, so it is near enough what it was, and who finds his place taken stands behind all
// others.
#include <larder/result.h>

#include <algorithm>

#include "store/index.h"

namespace larder::store {
namespace {

constexpr std::size_t kSection = 256;     // slots
constexpr std::size_t kMany = 64u << 10;  // objects that are worth a thread

template <class Disk>
std::byte* append(std::vector<std::byte>& into, Disk disk, RecordKind kind, std::size_t rest) {
  const std::size_t at = into.size();
  disk.header.length.set(static_cast<std::uint16_t>(sizeof(Disk) + rest));
  disk.header.kind = static_cast<std::uint8_t>(kind);
  into.resize(at + sizeof(Disk) + rest);
  std::memcpy(into.data() + at, &disk, sizeof disk);
  return into.data() + at + sizeof disk;
}

// nullopt: too short for it.
template <class Disk>
std::optional<Disk> fixed_part(Bytes& record) {
  if (record.size() < sizeof(Disk)) return std::nullopt;
  const Disk disk = disk_from<Disk>(record);
  record = record.subspan(sizeof(Disk));
  return disk;
}

}  // namespace

void Index::begin_image() {
  image_ = std::make_unique<Image>();
  image_->slots = slots_.size();
  image_->done.resize((slots_.size() + kSection - 1) / kSection);
  ImageStartDisk start{};
  start.slots.set(static_cast<std::uint32_t>(slots_.size()));
  for (const QueueName queue : {QueueName::kSmall, QueueName::kMain}) {
    const auto at = static_cast<std::size_t>(queue);
    start.oldest[at].set(order_.queue(queue).oldest());
    start.next[at].set(order_.queue(queue).next());
  }
  append(image_->bytes, start, RecordKind::kImageStart, 0);
}

void Index::end_image() { image_.reset(); }

std::vector<std::byte> Index::take_image() { return std::exchange(image_->bytes, {}); }

bool Index::image_step() {
  Image& image = *image_;
  while (image.next < image.done.size() && image.done[image.next]) ++image.next;
  if (image.next == image.done.size()) return false;
  encode_section(image.next);
  return true;
}

void Index::before_change(std::size_t slot) {
  if (!image_ || slot >= image_->slots || image_->done[slot / kSection]) return;
  encode_section(slot / kSection);
}

void Index::encode_section(std::size_t section) {
  image_->done[section] = true;
  const std::size_t end = std::min((section + 1) * kSection, image_->slots);
  for (std::size_t slot = section * kSection; slot < end; ++slot) {
    if (slots_[slot] != nullptr) encode_object(*slots_[slot]);
  }
}

void Index::encode_object(const Object& object) {
  std::vector<std::byte>& into = image_->bytes;
  const std::string_view key = object.key(), aux = object.aux();
  ImageObjectDisk disk{};
  disk.header.flags = object.in_session ? kFlagInSession : 0;
  if (object.pinned) disk.header.flags |= kFlagPinned;
  disk.type = static_cast<std::uint8_t>(object.type);
  disk.key_length = static_cast<std::uint8_t>(key.size());
  disk.aux_length = static_cast<std::uint8_t>(aux.size());
  disk.id.set(object.id.value());
  disk.parent.set((object.parent == nullptr ? kNoObject : object.parent->id).value());
  disk.size.set(object.size.value());
  disk.slot.set(object.slot);
  if (object.folder) disk.children.set(static_cast<std::uint32_t>(object.folder->children.size()));
  std::byte* at = append(into, disk, RecordKind::kImageObject, key.size() + aux.size());
  at = std::copy_n(view(key).begin(), key.size(), at);
  std::copy_n(view(aux).begin(), aux.size(), at);
  if (object.value) encode(value_of(object), into);
  if (object.folder) {
    for (const auto& [name, record] : object.folder->names)
      encode(PutNameRecord{object.id, name, record}, into);
  }
  auto extent = object.extents.begin();
  for (std::size_t left = object.extents.size(); left != 0;) {
    const std::size_t count = std::min<std::size_t>(left, kManyInRecord);
    ImageExtentsDisk extents{};
    extents.count.set(static_cast<std::uint32_t>(count));
    extents.object.set(object.id.value());
    at = append(into, extents, RecordKind::kImageExtents, count * sizeof(ImageExtentDisk));
    for (std::size_t i = 0; i < count; ++i, ++extent, at += sizeof(ImageExtentDisk)) {
      const auto [what, where] = extent->words();
      const ImageExtentDisk one{Le64::of(what), Le64::of(where)};
      std::memcpy(at, &one, sizeof one);
    }
    left -= count;
  }
}

// -- loading -------------------------------------------------------------------------------------

bool Index::restore(RecordKind kind, Bytes record, std::uint64_t data_blocks) {
  if (kind == RecordKind::kImageExtents) return restore_extents(record, data_blocks);
  if (kind == RecordKind::kImageObject) return restore_object(record);
  if (kind == RecordKind::kImageStart) return restore_start(record);
  return kind == RecordKind::kImageSums && restore_sums(record);
}

bool Index::restore_start(Bytes record) {
  const auto disk = fixed_part<ImageStartDisk>(record);
  if (!disk || restoring_ || totals_.objects != 1) return false;
  if (disk->slots.get() == 0 || disk->slots.get() > Whose::kSlots) return false;
  restoring_ = std::make_unique<Restoring>();
  slots_.resize(disk->slots.get());
  for (const QueueName queue : {QueueName::kSmall, QueueName::kMain}) {
    const auto at = static_cast<std::size_t>(queue);
    order_.expect(queue, disk->oldest[at].get(), disk->next[at].get());
  }
  restoring_->folders.emplace(kRootObject.value(), root_.get());
  if (slots_.size() >= kMany) restoring_->adopter = std::make_unique<Adopter>();
  return true;
}

bool Index::adopt(Object& object, Object& parent) {
  object.parent = &parent;
  if (!parent.folder) parent.folder = std::make_unique<Object::Folder>();
  if (restoring_->adopter) {
    restoring_->adopter->add(ObjectRef(&object), parent);
    return true;  // it is seen in the end
  }
  return parent.folder->children.insert(ObjectRef(&object)).second;
}

bool Index::restore_object(Bytes record) {
  const auto disk = fixed_part<ImageObjectDisk>(record);
  if (!disk || !restoring_) return false;
  Restoring& restoring = *restoring_;
  restoring.last = nullptr;
  const std::size_t key_length = disk->key_length, slot = disk->slot.get();
  if (record.size() != key_length + disk->aux_length) return false;
  const std::string_view key = view(record.first(key_length));
  const std::string_view aux = view(record.subspan(key_length));
  const ObjectId id{disk->id.get()}, parent_id{disk->parent.get()};
  const auto children = std::min<std::size_t>(disk->children.get(), slots_.size());
  Object* object = root_.get();
  if (id == kRootObject) {
    set_identity(*object, aux, ByteCount{disk->size.get()});
  } else {
    if (id == kNoObject || key.empty() || slot >= slots_.size() || slots_[slot] != nullptr)
      return false;
    const ObjectRef made(new Object(id, static_cast<ObjectType>(disk->type)));
    object = made.get();
    object->slot = static_cast<std::uint32_t>(slot);
    object->labels.set(key, aux);
    object->size = ByteCount{disk->size.get()};
    if (restoring.parent == nullptr || restoring.parent->id != parent_id) {
      const auto found = restoring.folders.find(parent_id.value());
      restoring.parent = found == restoring.folders.end() ? nullptr : found->second;
    }
    if (restoring.parent != nullptr) {
      if (!adopt(*object, *restoring.parent)) return false;
    } else {
      restoring.orphans.emplace_back(object, parent_id);
      intrusive_ptr_add_ref(object);  // until end_restore
    }
    slots_[slot] = object;
    if (children != 0) restoring.folders.emplace(id.value(), object);
    if (id >= next_id_) next_id_ = ObjectId{id.value() + 1};
    ++totals_.objects;
    totals_.object_bytes += encoded_size(change_of(*object, Pages::kKept));
  }
  // Not of one that others have been put below already.
  if (children > 1 && (!object->folder || !restoring.adopter)) {
    if (!object->folder) object->folder = std::make_unique<Object::Folder>();
    object->folder->children.reserve(children);
  }
  object->in_session = (disk->header.flags & kFlagInSession) != 0;
  set_pinned(*object, (disk->header.flags & kFlagPinned) != 0);
  restoring.last = object;
  last_in_replay_ = slot;
  return true;
}

bool Index::restore_extents(Bytes record, std::uint64_t data_blocks) {
  const auto disk = fixed_part<ImageExtentsDisk>(record);
  if (!disk || !restoring_ || restoring_->last == nullptr) return false;
  Object& object = *restoring_->last;
  const std::size_t count = disk->count.get();
  if (ObjectId{disk->object.get()} != object.id) return false;
  if (record.size() != count * sizeof(ImageExtentDisk)) return false;
  std::uint64_t end = object.extents.empty() ? 0 : object.extents.rbegin()->end().value();
  for (std::size_t i = 0; i < count; ++i) {
    const auto one = disk_from<ImageExtentDisk>(record.subspan(i * sizeof(ImageExtentDisk)));
    const Extent extent(one.pages.get(), one.place.get());
    if (extent.first().value() < end || extent.end().value() > Extent::kPages) return false;
    if (!extent.zeros() &&
        (extent.block() >= data_blocks || extent.pages() > data_blocks - extent.block()))
      return false;
    end = extent.end().value();
    const auto at = object.extents.insert(object.extents.end(), extent);
    ++totals_.extents;
    totals_.extent_bytes += extent_size(extent.pages(), extent.block());
    object.cached_pages += extent.pages();
    const Whose whose = Whose::of(object.slot, extent.first());
    if (order_.put_back(extent.place(), whose, weight_of(extent))) continue;
    at->set_place(push(extent.place().queue, object, extent.first(), weight_of(extent)),
                  extent.uses());
  }
  return true;
}

bool Index::restore_sums(Bytes record) {
  const auto disk = fixed_part<ImageSumsDisk>(record);
  if (!disk || !restoring_ || record.size() != disk->count.get() * sizeof(HomeDisk)) return false;
  const std::uint64_t first = disk->first.get(), count = disk->count.get();
  if (first > sums_.chunks() || count > sums_.chunks() - first) return false;
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto home = disk_from<HomeDisk>(record.subspan(i * sizeof(HomeDisk)));
    if (home.place.get() > 2) return false;
    sums_.set_home(first + i, {home.sum.get(), home.place.get()});
  }
  return true;
}

std::uint64_t Index::end_restore() {
  if (!restoring_) return 0;
  // Who has no place: another has it, or there is no parent.
  std::vector<ObjectRef> homeless;
  if (restoring_->adopter) homeless = restoring_->adopter->finish();
  restoring_->adopter.reset();
  for (const auto& [object, parent_id] : std::exchange(restoring_->orphans, {})) {
    ObjectRef keep(object, false);
    const auto found = restoring_->folders.find(parent_id.value());
    const bool has_parent = found != restoring_->folders.end() && found->second != object;
    if (!has_parent || !adopt(*object, *found->second)) homeless.push_back(std::move(keep));
  }
  restoring_.reset();
  std::uint64_t lost = 0;
  for (const ObjectRef& object : homeless) {
    if (object->retired) continue;
    ++lost;
    DeadList dead;
    object->parent = nullptr;
    retire(*object, dead);
  }
  for (std::size_t slot = slots_.size(); slot-- > 0;) {
    if (slots_[slot] == nullptr) free_slots_.push_back(static_cast<std::uint32_t>(slot));
  }
  return lost;
}

}  // namespace larder::store
