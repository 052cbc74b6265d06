// SPDX-License-Identifier: Apache-2.0
#include "io/transfer.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

namespace larder {
namespace {

// `move(done, n)` moves up to n bytes, `done` bytes in, and says how many, or -1 with errno.
template <class Move>
Status carry_on(std::size_t length, std::size_t max_transfer_bytes, Move move) {
  std::size_t done = 0;
  while (done < length) {
    const ssize_t moved = move(done, std::min(length - done, max_transfer_bytes));
    if (moved < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (moved < 0) return fail(ErrorCode::kStoreIo, errno);
    if (moved == 0) return fail(ErrorCode::kStoreIo, EIO);
    done += static_cast<std::size_t>(moved);
  }
  return {};
}

// Linux 6.14; the headers may be older.
constexpr int kDontCache = 0x80;
std::atomic<bool> drop_behind_works{true};

off_t at(ByteOffset offset, std::size_t done) { return static_cast<off_t>(offset.value() + done); }

}  // namespace

int flags_of(ReadMode mode) {
  if (mode != ReadMode::kDropBehind || !drop_behind_works.load(std::memory_order_relaxed)) return 0;
  return kDontCache;
}

bool forget_unknown_mode(int sys_errno, ReadMode mode) {
  if (sys_errno != EOPNOTSUPP || flags_of(mode) == 0) return false;
  drop_behind_works.store(false, std::memory_order_relaxed);
  return true;
}

Status read_all(int fd, ByteOffset offset, std::span<std::byte> into,
                std::size_t max_transfer_bytes, ReadMode mode) {
  return carry_on(into.size(), max_transfer_bytes, [&](std::size_t done, std::size_t n) {
    const iovec part{into.data() + done, n};
    const ssize_t got = ::preadv2(fd, &part, 1, at(offset, done), flags_of(mode));
    if (got < 0 && forget_unknown_mode(errno, mode))
      return ::preadv2(fd, &part, 1, at(offset, done), 0);
    return got;
  });
}

Result<bool> read_cached(int fd, ByteOffset offset, std::span<std::byte> into, ReadMode mode) {
  if (mode == ReadMode::kDirect) return false;
  const iovec part{into.data(), into.size()};
  ssize_t got = ::preadv2(fd, &part, 1, at(offset, 0), RWF_NOWAIT | flags_of(mode));
  if (got < 0 && forget_unknown_mode(errno, mode))
    got = ::preadv2(fd, &part, 1, at(offset, 0), RWF_NOWAIT);
  // Some file systems cannot say without waiting.
  if (got < 0 && errno != EAGAIN && errno != EINTR && errno != EOPNOTSUPP)
    return fail(ErrorCode::kStoreIo, errno);
  return got == static_cast<ssize_t>(into.size());
}

Status write_all(int fd, ByteOffset offset, std::span<const std::byte> from,
                 std::size_t max_transfer_bytes) {
  return carry_on(from.size(), max_transfer_bytes, [&](std::size_t done, std::size_t n) {
    return ::pwrite(fd, from.data() + done, n, at(offset, done));
  });
}

bool write_together(int fd, ByteOffset offset, std::span<const iovec> pieces, std::size_t bytes) {
  return ::pwritev(fd, pieces.data(), static_cast<int>(pieces.size()), at(offset, 0)) ==
         static_cast<ssize_t>(bytes);
}

// Without SYNC_FILE_RANGE_WAIT_*, which would take the error from the flush.
void start_writeback(int fd) { ::sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE); }

Status flush_data(int fd) {
  int result;
  do {
    result = ::fdatasync(fd);
  } while (result != 0 && errno == EINTR);
  if (result != 0) return fail(ErrorCode::kStoreIo, errno);
  return {};
}

}  // namespace larder
