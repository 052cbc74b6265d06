// SPDX-License-Identifier: Apache-2.0
// What FUSE says over /dev/fuse and over io_uring, as far as libfuse's headers lack it: the kernel
// (6.14 and later) has these structures in <linux/fuse.h>, and the distribution's headers may be
// older.
#pragma once

#include <sys/ioctl.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace larder::fuse {

// In front of every request, and of every answer.
struct InHeader {
  std::uint32_t length, opcode;
  std::uint64_t unique, node;
  std::uint32_t uid, gid, pid;
  std::uint16_t extension_length, padding;
};
struct OutHeader {
  std::uint32_t length;
  std::int32_t error;
  std::uint64_t unique;
};
static_assert(sizeof(InHeader) == 40 && sizeof(OutHeader) == 16);

inline constexpr std::uint32_t kGetAttributesOpcode = 3;
inline constexpr std::uint32_t kOpenOpcode = 14;
inline constexpr std::uint32_t kReadOpcode = 15;
inline constexpr std::uint32_t kWriteOpcode = 16;
inline constexpr std::uint32_t kReleaseOpcode = 18;
inline constexpr std::uint32_t kFlushOpcode = 25;
inline constexpr std::uint32_t kInitOpcode = 26;
inline constexpr std::uint32_t kInterruptOpcode = 36;
inline constexpr std::uint32_t kNotifyReplyOpcode = 41;  // to a RETRIEVE of ours; wants no answer

inline constexpr std::uint32_t kCreateOpcode = 35;
// Is a CREATE in all but its number; its flags say O_TMPFILE, and its name is none.
inline constexpr std::uint32_t kTmpfileOpcode = 51;
inline constexpr std::uint32_t kStatxOpcode = 52;  // begins as GETATTR does, and tells more

struct InitIn {
  std::uint32_t major, minor, max_readahead, flags, flags2;
};
struct InitOut {
  std::uint32_t major, minor, max_readahead, flags;
  std::uint16_t max_background, congestion_threshold;
  std::uint32_t max_write, time_gran;
  std::uint16_t max_pages, map_alignment;
  std::uint32_t flags2, max_stack_depth;
  std::uint16_t request_timeout;
  std::array<std::uint16_t, 11> unused;
};
static_assert(sizeof(InitIn) == 20 && sizeof(InitOut) == 64);

// The answer to STATX.
struct StatxTime {
  std::int64_t seconds;
  std::uint32_t nanoseconds;
  std::int32_t reserved;
};
struct StatxOut {
  std::uint64_t valid_seconds;
  std::uint32_t valid_nanoseconds, flags;
  std::array<std::uint64_t, 2> spare;
  // struct fuse_statx
  std::uint32_t mask, block_size;
  std::uint64_t attributes;
  std::uint32_t nlink, uid, gid;
  std::uint16_t mode, spare_mode;
  std::uint64_t inode, size, blocks_512, attributes_mask;
  StatxTime atime, btime, ctime, mtime;
  std::uint32_t rdev_major, rdev_minor, device_major, device_minor;
  std::array<std::uint64_t, 14> spare_end;
};
static_assert(sizeof(StatxTime) == 16 && sizeof(StatxOut) == 288 &&
              offsetof(StatxOut, atime) == 96 && offsetof(StatxOut, rdev_major) == 160);

// Of both; those above 31 in flags2, which counts where kInitExtended is set.
inline constexpr std::uint64_t kParallelDirops = 1u << 18;
inline constexpr std::uint64_t kMaxPages = 1u << 22;
inline constexpr std::uint64_t kInitExtended = 1u << 30;
inline constexpr std::uint64_t kPassThrough = std::uint64_t{1} << 37;
inline constexpr std::uint64_t kOverRing = std::uint64_t{1} << 41;

inline constexpr unsigned long kDeviceClone = _IOR(229, 0, std::uint32_t);

// A file that the kernel reads and writes by itself: its number, which an answer to OPEN names.
struct BackingMap {
  std::int32_t file;
  std::uint32_t flags;
  std::uint64_t padding;
};
static_assert(sizeof(BackingMap) == 16);
inline constexpr unsigned long kBackingOpen = _IOW(229, 1, BackingMap);
inline constexpr unsigned long kBackingClose = _IOW(229, 2, std::uint32_t);

// The answer to OPEN, and the end of that to CREATE. libfuse 3.14 has padding where `backing` is.
struct OpenOut {
  std::uint64_t handle;
  std::uint32_t flags;
  std::int32_t backing;
};
static_assert(sizeof(OpenOut) == 16);
inline constexpr std::uint32_t kOpenPassThrough = 1u << 7;  // of its flags

// A notification, behind an OutHeader whose `error` is its code: the kernel is to send pages of an
// inode that it has.
inline constexpr std::int32_t kNotifyRetrieve = 5;
struct NotifyRetrieve {
  std::uint64_t unique, node, offset;  // `unique`: of the request that the pages come in
  std::uint32_t bytes, padding;
};
static_assert(sizeof(NotifyRetrieve) == 32);

// -- over io_uring

inline constexpr std::uint32_t kRegister = 1;        // an entry: its first request
inline constexpr std::uint32_t kCommitAndFetch = 2;  // an answer, and the entry's next request

// The entry's first buffer. The second holds what does not fit here: names, data, and all of an
// answer but its OutHeader.
struct RingHeader {
  std::array<std::byte, 128> in_out;     // InHeader, later OutHeader
  std::array<std::byte, 128> operation;  // the request's first argument
  std::uint64_t flags;
  std::uint64_t commit_id;  // goes back with the answer
  std::uint32_t payload_bytes, padding;
  std::uint64_t reserved;
};
static_assert(sizeof(RingHeader) == 288 && offsetof(RingHeader, commit_id) == 264);

// What a command says of itself.
struct RingCommandBody {
  std::uint64_t flags, commit_id;
  std::uint16_t queue;
  std::array<std::uint8_t, 6> padding;
};
static_assert(sizeof(RingCommandBody) == 24);

}  // namespace larder::fuse
