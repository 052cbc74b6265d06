// SPDX-License-Identifier: Apache-2.0
#include "store/record_codec.h"

#include <larder/result.h>

namespace larder::store {
namespace {

Bytes view(std::string_view text) { return std::as_bytes(std::span{text.data(), text.size()}); }
std::string_view text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::uint8_t length8(std::size_t length) {
  check(length <= kLongestKey, "keys, aux data and names have at most 255 bytes");
  return static_cast<std::uint8_t>(length);
}

AttributesDisk to_disk(const Attributes& a) {
  AttributesDisk d{};
  d.inode.set(a.inode);
  d.device.set(a.device);
  d.mode.set(a.mode);
  d.nlink.set(a.nlink);
  d.uid.set(a.uid);
  d.gid.set(a.gid);
  d.rdev.set(a.rdev);
  d.size.set(a.size);
  d.blocks_512.set(a.blocks_512);
  d.block_size.set(a.block_size);
  d.atime_ns.set(static_cast<std::uint64_t>(a.atime_ns));
  d.mtime_ns.set(static_cast<std::uint64_t>(a.mtime_ns));
  d.ctime_ns.set(static_cast<std::uint64_t>(a.ctime_ns));
  d.btime_ns.set(static_cast<std::uint64_t>(a.btime_ns));
  d.change.set(a.change);
  return d;
}

Attributes from_disk(const AttributesDisk& d) {
  Attributes a;
  a.inode = d.inode.get();
  a.device = d.device.get();
  a.mode = d.mode.get();
  a.nlink = d.nlink.get();
  a.uid = d.uid.get();
  a.gid = d.gid.get();
  a.rdev = d.rdev.get();
  a.size = d.size.get();
  a.blocks_512 = d.blocks_512.get();
  a.block_size = d.block_size.get();
  a.atime_ns = static_cast<std::int64_t>(d.atime_ns.get());
  a.mtime_ns = static_cast<std::int64_t>(d.mtime_ns.get());
  a.ctime_ns = static_cast<std::int64_t>(d.ctime_ns.get());
  a.btime_ns = static_cast<std::int64_t>(d.btime_ns.get());
  a.change = d.change.get();
  return a;
}

// Appends the fixed part, its length set, and the variable parts.
template <class Disk>
void append(std::vector<std::byte>& into, Disk disk, RecordKind kind, Bytes first = {},
            Bytes second = {}) {
  const std::size_t length = sizeof(Disk) + first.size() + second.size();
  check(length <= kLongestRecord, "a record is at most the longest");
  disk.header.length.set(static_cast<std::uint16_t>(length));
  disk.header.kind = static_cast<std::uint8_t>(kind);
  const Bytes fixed = bytes_of(disk);
  into.insert(into.end(), fixed.begin(), fixed.end());
  into.insert(into.end(), first.begin(), first.end());
  into.insert(into.end(), second.begin(), second.end());
}

struct Encoder {
  std::vector<std::byte>& into;

  void operator()(const ObjectChange& r) const {
    ObjectDisk d{};
    d.header.flags = r.pages == Pages::kReset     ? kFlagReset
                     : r.pages == Pages::kResumed ? kFlagResumed
                                                  : 0;
    if (r.pinned) d.header.flags |= kFlagPinned;
    d.type = static_cast<std::uint8_t>(r.type);
    d.key_length = length8(r.key.size());
    d.aux_length = length8(r.aux.size());
    d.id.set(r.id.value());
    d.parent.set(r.parent.value());
    d.size.set(r.size.value());
    append(into, d, RecordKind::kObject, r.key, r.aux);
  }
  void operator()(const ExtentRecord& r) const {
    ExtentDisk d{};
    d.pages.set(r.count);
    d.object.set(r.object.value());
    d.first_page.set(r.first.value());
    d.block.set(r.block);
    append(into, d, RecordKind::kExtent, std::as_bytes(r.sums));
  }
  void operator()(const DropRecord& r) const {
    DropDisk d{};
    d.object.set(r.object.value());
    d.first_page.set(r.range.first.value());
    d.pages.set(r.range.count.value());
    append(into, d, RecordKind::kDrop);
  }
  void operator()(const RetireRecord& r) const { one(r.object, RecordKind::kRetire); }
  void operator()(const SessionMarkRecord& r) const { one(r.object, RecordKind::kSessionMark); }
  void operator()(const RenameRecord& r) const {
    RenameDisk d{};
    d.key_length = length8(r.key.size());
    d.object.set(r.object.value());
    d.parent.set(r.parent.value());
    append(into, d, RecordKind::kRename, r.key);
  }
  void operator()(const PutNameRecord& r) const {
    NameDisk d{};
    d.name_length = length8(r.name.size());
    d.directory.set(r.directory.value());
    d.file_inode.set(r.record.file.inode);
    d.file_device.set(r.record.file.device);
    d.file_generation.set(r.record.file.generation);
    d.attributes = to_disk(r.record.attributes);
    d.value_version.set(r.record.value.version);
    append(into, d, RecordKind::kName, view(r.name), r.record.value.bytes);
  }
  void operator()(const ValueRecord& r) const {
    ValueDisk d{};
    d.version.set(r.version);
    d.object.set(r.object.value());
    append(into, d, RecordKind::kValue, r.bytes);
  }
  void operator()(const UnnameRecord& r) const {
    UnnameDisk d{};
    d.name_length = length8(r.name.size());
    d.directory.set(r.directory.value());
    append(into, d, RecordKind::kUnname, view(r.name));
  }
  void operator()(const MoveNameRecord& r) const {
    MoveNameDisk d{};
    d.name_length = length8(r.name.size());
    d.new_name_length = length8(r.new_name.size());
    d.from.set(r.from.value());
    d.to.set(r.to.value());
    append(into, d, RecordKind::kMoveName, view(r.name), view(r.new_name));
  }
  void one(ObjectId object, RecordKind kind) const {
    OneObjectDisk d{};
    d.object.set(object.value());
    append(into, d, kind);
  }
};

// The fixed part and what follows it; nullopt where the record is too short for either.
template <class Disk>
struct Split {
  Disk disk;
  Bytes rest;
};
template <class Disk>
std::optional<Split<Disk>> split(Bytes record) {
  if (record.size() < sizeof(Disk)) return std::nullopt;
  return Split<Disk>{disk_from<Disk>(record), record.subspan(sizeof(Disk))};
}

std::optional<Record> decode_object(Bytes record) {
  const auto s = split<ObjectDisk>(record);
  if (!s || s->rest.size() != std::size_t{s->disk.key_length} + s->disk.aux_length)
    return std::nullopt;
  ObjectChange r;
  r.id = ObjectId{s->disk.id.get()};
  r.parent = ObjectId{s->disk.parent.get()};
  r.type = static_cast<ObjectType>(s->disk.type);
  r.size = ByteCount{s->disk.size.get()};
  r.key = s->rest.first(s->disk.key_length);
  r.aux = s->rest.subspan(s->disk.key_length);
  if ((s->disk.header.flags & kFlagResumed) != 0) r.pages = Pages::kResumed;
  if ((s->disk.header.flags & kFlagReset) != 0) r.pages = Pages::kReset;
  r.pinned = (s->disk.header.flags & kFlagPinned) != 0;
  return r;
}

std::optional<Record> decode_extent(Bytes record) {
  const auto s = split<ExtentDisk>(record);
  if (!s) return std::nullopt;
  ExtentRecord r;
  r.object = ObjectId{s->disk.object.get()};
  r.first = PageIndex{s->disk.first_page.get()};
  r.count = s->disk.pages.get();
  r.block = s->disk.block.get();
  if (r.count == 0 || r.first.value() > kNoBlock - r.count) return std::nullopt;
  const bool zeros = r.block == kNoBlock;
  if (!zeros && r.count > kExtentPages) return std::nullopt;
  if (s->rest.size() != (zeros ? 0 : r.count * sizeof(Le32))) return std::nullopt;
  r.sums = {reinterpret_cast<const Le32*>(s->rest.data()), zeros ? 0 : r.count};
  return r;
}

std::optional<Record> decode_drop(Bytes record) {
  const auto s = split<DropDisk>(record);
  if (!s || !s->rest.empty()) return std::nullopt;
  const std::uint64_t first = s->disk.first_page.get();
  const std::uint64_t count = s->disk.pages.get();
  if (count > kNoBlock - first) return std::nullopt;
  return DropRecord{ObjectId{s->disk.object.get()}, {PageIndex{first}, PageCount{count}}};
}

std::optional<Record> decode_rename(Bytes record) {
  const auto s = split<RenameDisk>(record);
  if (!s || s->rest.size() != s->disk.key_length) return std::nullopt;
  return RenameRecord{ObjectId{s->disk.object.get()}, ObjectId{s->disk.parent.get()}, s->rest};
}

std::optional<Record> decode_name(Bytes record) {
  const auto s = split<NameDisk>(record);
  if (!s || s->rest.size() < s->disk.name_length) return std::nullopt;
  const Bytes value = s->rest.subspan(s->disk.name_length);
  if (value.size() > kLongestValue) return std::nullopt;
  PutNameRecord r;
  r.directory = ObjectId{s->disk.directory.get()};
  r.name = text(s->rest.first(s->disk.name_length));
  r.record.value.version = s->disk.value_version.get();
  r.record.value.bytes.assign(value.begin(), value.end());
  r.record.file = {s->disk.file_inode.get(), s->disk.file_device.get(),
                   s->disk.file_generation.get()};
  r.record.attributes = from_disk(s->disk.attributes);
  return r;
}

std::optional<Record> decode_value(Bytes record) {
  const auto s = split<ValueDisk>(record);
  if (!s || s->rest.size() > kLongestValue) return std::nullopt;
  return ValueRecord{ObjectId{s->disk.object.get()}, s->disk.version.get(), s->rest};
}

std::optional<Record> decode_unname(Bytes record) {
  const auto s = split<UnnameDisk>(record);
  if (!s || s->rest.size() != s->disk.name_length) return std::nullopt;
  return UnnameRecord{ObjectId{s->disk.directory.get()}, text(s->rest)};
}

std::optional<Record> decode_move_name(Bytes record) {
  const auto s = split<MoveNameDisk>(record);
  if (!s) return std::nullopt;
  const std::size_t name = s->disk.name_length;
  if (s->rest.size() != name + s->disk.new_name_length) return std::nullopt;
  return MoveNameRecord{ObjectId{s->disk.from.get()}, ObjectId{s->disk.to.get()},
                        text(s->rest.first(name)), text(s->rest.subspan(name))};
}

template <class R>
std::optional<Record> decode_one(Bytes record) {
  const auto s = split<OneObjectDisk>(record);
  if (!s || !s->rest.empty()) return std::nullopt;
  return R{ObjectId{s->disk.object.get()}};
}

}  // namespace

std::size_t encoded_size(const ObjectChange& record) {
  return sizeof(ObjectDisk) + record.key.size() + record.aux.size();
}
std::size_t encoded_size(const PutNameRecord& record) {
  return sizeof(NameDisk) + record.name.size() + record.record.value.bytes.size();
}
std::size_t encoded_size(const ValueRecord& record) {
  return record.bytes.empty() ? 0 : sizeof(ValueDisk) + record.bytes.size();
}
std::size_t extent_size(std::uint32_t pages, std::uint64_t block) {
  return sizeof(ExtentDisk) + (block == kNoBlock ? 0 : pages * sizeof(Le32));
}

void encode(const Record& record, std::vector<std::byte>& into) {
  std::visit(Encoder{into}, record);
}

std::size_t record_length(Bytes bytes) {
  if (bytes.size() < sizeof(RecordHeader)) return 0;
  const std::size_t length = disk_from<RecordHeader>(bytes).length.get();
  return length >= sizeof(RecordHeader) && length <= bytes.size() ? length : 0;
}

std::optional<Record> decode_next(Bytes& bytes) {
  const std::size_t length = record_length(bytes);
  if (length == 0) return std::nullopt;
  const Bytes record = bytes.first(length);
  bytes = bytes.subspan(length);
  switch (static_cast<RecordKind>(disk_from<RecordHeader>(record).kind)) {
    case RecordKind::kObject:
      return decode_object(record);
    case RecordKind::kExtent:
      return decode_extent(record);
    case RecordKind::kDrop:
      return decode_drop(record);
    case RecordKind::kRetire:
      return decode_one<RetireRecord>(record);
    case RecordKind::kRename:
      return decode_rename(record);
    case RecordKind::kName:
      return decode_name(record);
    case RecordKind::kUnname:
      return decode_unname(record);
    case RecordKind::kMoveName:
      return decode_move_name(record);
    case RecordKind::kValue:
      return decode_value(record);
    case RecordKind::kSessionMark:
      return decode_one<SessionMarkRecord>(record);
    case RecordKind::kImageStart:
    case RecordKind::kImageObject:
    case RecordKind::kImageExtents:
    case RecordKind::kImageSums:
      break;  // image.h
  }
  return std::nullopt;
}

}  // namespace larder::store
