// SPDX-License-Identifier: Apache-2.0
// Format: the bytes of a store, and nothing else. docs/on-disk-format.md tells it with a worked
// example.
//
// Every number is little-endian and unaligned (Le<T>), so each structure is its own bytes: no
// padding, the same on every machine. Sizes and offsets are asserted below: a change that nobody
// meant does not compile.
//
//   0        superblock 0
//   32 KiB   superblock 1
//   64 KiB   journal ring
//   ...      checkpoint area 0, checkpoint area 1, two homes for each chunk of sums, then the data
//            area, aligned to 64 KiB
//
// Metadata is told from other bytes by three things that its sum covers: the store's uuid, the
// place where it lies, and the generation (of the checkpoint) or sequence (of the journal entry) to
// which it belongs.
//
// Metadata are a cache too: a store of another format number is recreated with a line.
#pragma once

#include <larder/records.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace larder::store {

template <class T>
struct Le {
  std::array<std::uint8_t, sizeof(T)> bytes;

  constexpr T get() const {
    std::uint64_t value = 0;
    for (std::size_t i = sizeof(T); i-- > 0;) value = value << 8 | bytes[i];
    return static_cast<T>(value);
  }
  constexpr void set(T value) {
    auto rest = static_cast<std::uint64_t>(value);
    for (std::size_t i = 0; i < sizeof(T); ++i, rest >>= 8)
      bytes[i] = static_cast<std::uint8_t>(rest);
  }
  static constexpr Le of(T value) {
    Le le{};
    le.set(value);
    return le;
  }
};
using Le16 = Le<std::uint16_t>;
using Le32 = Le<std::uint32_t>;
using Le64 = Le<std::uint64_t>;

using Uuid = std::array<std::uint8_t, 16>;

inline constexpr std::uint32_t kFormat = 1;
inline constexpr std::array<char, 8> kMagic{'l', 'a', 'r', 'd', 'e', 'r', '\n', '\x1a'};
inline constexpr std::array<std::uint64_t, 2> kSuperblockOffset{0, 32u << 10};
inline constexpr std::uint64_t kJournalOffset = 64u << 10;

// -- superblock ---------------------------------------------------------------------------------

struct SuperblockDisk {
  std::array<char, 8> magic;  // this and `format` stay here in every format
  Le32 format;
  Le32 slot;  // which of the two: a block read from the other's place is refused
  Uuid uuid;
  Le64 generation;  // grows by each checkpoint; the higher valid one counts
  Le64 size_bytes;  // that the store was given; what follows is computed from it, and compared
  Le64 journal_blocks;
  Le64 checkpoint_blocks;  // of one area
  Le64 data_offset;
  Le64 data_blocks;
  Le64 checkpoint_chunks;  // in the area; 0: an empty store
  Le32 area;               // where the checkpoint of this generation lies
  Le32 flags;              // kClean
  Le64 first_sequence;     // of the first journal entry behind the checkpoint
  Le64 journal_position;   // its block in the ring
  Le64 next_object;        // no object of this id or above was ever recorded
  Le64 written_wall_ns;
  Le64 journal_generation;  // of the entries behind the checkpoint
  Le32 journal_previous;    // the sum of the entry before the first of them; 0: none
  Le64 basis_bytes;         // for which the metadata were made; 0: for size_bytes
  Le64 metadata_offset;     // where the journal begins; 0: at 64 KiB
  Le64 use_tick_ns;         // of ImageExtentDisk's ages; 0: they say nothing
  std::array<std::uint8_t, 3928> reserved;  // zero
  Le32 sum;                                 // CRC32C of all before
};
inline constexpr std::uint32_t kClean = 1;

static_assert(sizeof(SuperblockDisk) == 4096 && alignof(SuperblockDisk) == 1);
static_assert(std::has_unique_object_representations_v<SuperblockDisk>);
static_assert(offsetof(SuperblockDisk, format) == 8);
static_assert(offsetof(SuperblockDisk, generation) == 32);
static_assert(offsetof(SuperblockDisk, area) == 88);
static_assert(offsetof(SuperblockDisk, basis_bytes) == 140);
static_assert(offsetof(SuperblockDisk, reserved) == 164);
static_assert(offsetof(SuperblockDisk, sum) == 4092);

// -- entries: of the journal, and the chunks of a checkpoint ------------------------------------

// Begins on a block; `length` bytes of records follow, then zeros to the end of the block.
struct EntryDisk {
  Le32 magic;  // kEntryMagic
  Le32 sum;    // CRC32C of this header with `sum` 0, and of the records
  Uuid uuid;
  Le64 generation;  // checkpoint: its own; journal: it grows where the journal was begun anew
  Le64 sequence;    // journal: 1 more than the entry before; checkpoint: number of the chunk
  Le64 place;       // offset in the file
  Le32 length;
  Le32 records;
  Le32 kind;      // EntryKind
  Le32 previous;  // journal: the sum of the entry before (0: first of its generation); else 0
};
inline constexpr std::uint32_t kEntryMagic = 0x7972'6e65;  // "enry"
enum class EntryKind : std::uint32_t { kJournal = 1, kCheckpoint = 2 };

static_assert(sizeof(EntryDisk) == 64 && alignof(EntryDisk) == 1);
static_assert(std::has_unique_object_representations_v<EntryDisk>);
static_assert(offsetof(EntryDisk, generation) == 24);
static_assert(offsetof(EntryDisk, length) == 48);

// -- records ------------------------------------------------------------------------------------

enum class RecordKind : std::uint8_t {
  kObject = 1,
  kExtent = 2,
  kDrop = 3,
  kRetire = 4,
  kRename = 5,
  kName = 6,
  kUnname = 7,
  kMoveName = 8,
  kSessionMark = 9,
  kValue = 10,
  // In a checkpoint only, beside names and values.
  kImageStart = 11,
  kImageObject = 12,
  kImageExtents = 13,
  kImageSums = 14,
};

struct RecordHeader {
  Le16 length;         // of the whole record
  std::uint8_t kind;   // RecordKind
  std::uint8_t flags;  // kFlagReset, kFlagResumed, kFlagInSession, kFlagPinned
};
inline constexpr std::uint8_t kFlagReset = 1;      // object: its pages are none
inline constexpr std::uint8_t kFlagResumed = 2;    // object: those before its session mark count
inline constexpr std::uint8_t kFlagInSession = 4;  // object in an image: its pages do not count yet
inline constexpr std::uint8_t kFlagPinned = 8;     // object: its pages are not evicted

struct ObjectDisk {
  RecordHeader header;
  std::uint8_t type;
  std::uint8_t key_length;
  std::uint8_t aux_length;
  std::uint8_t zero;
  Le64 id;
  Le64 parent;
  Le64 size;
  // key, aux
};

struct ExtentDisk {
  RecordHeader header;
  Le32 pages;
  Le64 object;
  Le64 first_page;
  Le64 block;  // of the data area; kNoBlock: pages of zeros, without sums
  // one Le32 sum per page
};
inline constexpr std::uint64_t kNoBlock = ~std::uint64_t{0};

struct DropDisk {
  RecordHeader header;
  Le32 zero;
  Le64 object;
  Le64 first_page;
  Le64 pages;
};

// retire, session mark
struct OneObjectDisk {
  RecordHeader header;
  Le32 zero;
  Le64 object;
};

struct RenameDisk {
  RecordHeader header;
  std::uint8_t key_length;
  std::array<std::uint8_t, 3> zero;
  Le64 object;
  Le64 parent;
  // key
};

struct AttributesDisk {
  Le64 inode, device;
  Le32 mode, nlink, uid, gid;
  Le64 rdev, size, blocks_512;
  Le32 block_size, zero;
  Le64 atime_ns, mtime_ns, ctime_ns, btime_ns, change;
};

struct NameDisk {
  RecordHeader header;
  std::uint8_t name_length;
  std::uint8_t zero;
  Le16 value_version;
  Le64 directory;
  Le64 file_inode, file_device, file_generation;
  AttributesDisk attributes;
  // name, value
};

struct ValueDisk {
  RecordHeader header;
  Le16 version;
  Le16 zero;
  Le64 object;
  // value; none: it has none
};

struct UnnameDisk {
  RecordHeader header;
  std::uint8_t name_length;
  std::array<std::uint8_t, 3> zero;
  Le64 directory;
  // name
};

struct MoveNameDisk {
  RecordHeader header;
  std::uint8_t name_length;
  std::uint8_t new_name_length;
  std::array<std::uint8_t, 2> zero;
  Le64 from;
  Le64 to;
  // name, new name
};

// The first record of a checkpoint.
struct ImageStartDisk {
  RecordHeader header;
  Le32 slots;                  // every object's slot is below this
  std::array<Le64, 2> oldest;  // ticket of the oldest extent, in the small and the main queue
  std::array<Le64, 2> next;    // ticket that is given out next
};

struct ImageObjectDisk {
  RecordHeader header;
  std::uint8_t type;
  std::uint8_t key_length;
  std::uint8_t aux_length;
  std::uint8_t zero;
  Le64 id;
  Le64 parent;
  Le64 size;
  Le32 slot;
  Le32 children;  // so many have it as their parent, or nearly
  // key, aux
};

// Of the object before it, in the order of their pages. Without sums: those have homes.
struct ImageExtentDisk {
  Le64 pages;  // first page: 44 bits, pages - 1: 9 bits, how often read: 2 bits
  Le64 place;  // block: 34 bits (all set: zeros), queue: 1 bit (set: main), ticket: 29 bits
};
struct ImageExtentsDisk {
  RecordHeader header;
  Le32 count;
  Le64 object;
  // ImageExtentDisk, `count` of them
};

// Where the sums of 1024 blocks lie, for chunks from `first` on.
struct ImageSumsDisk {
  RecordHeader header;
  Le32 count;
  Le64 first;
  // HomeDisk, `count` of them
};
struct HomeDisk {
  Le32 sum;    // CRC32C of the block
  Le32 place;  // 1 or 2; 0: nowhere
};
inline constexpr std::uint64_t kSumsInBlock = 1024;
inline constexpr std::uint32_t kManyInRecord = 512;  // extents or homes, at most

static_assert(sizeof(RecordHeader) == 4);
static_assert(sizeof(ImageStartDisk) == 40);
static_assert(sizeof(ImageObjectDisk) == 40);
static_assert(sizeof(ImageExtentDisk) == 16 && sizeof(ImageExtentsDisk) == 16);
static_assert(sizeof(HomeDisk) == 8 && sizeof(ImageSumsDisk) == 16);
static_assert(sizeof(ObjectDisk) == 32 && offsetof(ObjectDisk, id) == 8);
static_assert(sizeof(ExtentDisk) == 32 && offsetof(ExtentDisk, block) == 24);
static_assert(sizeof(DropDisk) == 32);
static_assert(sizeof(OneObjectDisk) == 16);
static_assert(sizeof(RenameDisk) == 24);
static_assert(sizeof(AttributesDisk) == 104);
static_assert(sizeof(NameDisk) == 144 && offsetof(NameDisk, attributes) == 40);
static_assert(sizeof(ValueDisk) == 16);
static_assert(sizeof(UnnameDisk) == 16);
static_assert(sizeof(MoveNameDisk) == 24);

inline constexpr std::size_t kLongestKey = 255;     // also aux data and names
inline constexpr std::uint32_t kExtentPages = 256;  // the most in one extent: 1 MiB
inline constexpr std::size_t kLongestRecord = sizeof(NameDisk) + kLongestKey + kLongestValue;
static_assert(kLongestRecord < (1u << 16));
static_assert(kLongestRecord >= sizeof(ExtentDisk) + kExtentPages * sizeof(Le32));
static_assert(kLongestRecord >= sizeof(ImageObjectDisk) + 2 * kLongestKey);
static_assert(kLongestRecord >= sizeof(ImageExtentsDisk) + kManyInRecord * sizeof(ImageExtentDisk));

// -- reading and writing structures -------------------------------------------------------------

template <class Disk>
std::span<const std::byte> bytes_of(const Disk& disk) {
  static_assert(alignof(Disk) == 1 && std::is_trivially_copyable_v<Disk>);
  return std::as_bytes(std::span{&disk, 1});
}

// REQUIRES: bytes.size() >= sizeof(Disk).
template <class Disk>
Disk disk_from(std::span<const std::byte> bytes) {
  static_assert(alignof(Disk) == 1 && std::is_trivially_copyable_v<Disk>);
  Disk disk;
  std::memcpy(&disk, bytes.data(), sizeof(Disk));
  return disk;
}

}  // namespace larder::store
