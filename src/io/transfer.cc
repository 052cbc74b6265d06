// SPDX-License-Identifier: Apache-2.0
#include "io/transfer.h"

#include <unistd.h>

#include <algorithm>
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

off_t at(ByteOffset offset, std::size_t done) { return static_cast<off_t>(offset.value() + done); }

}  // namespace

Status read_all(int fd, ByteOffset offset, std::span<std::byte> into,
                std::size_t max_transfer_bytes) {
  return carry_on(into.size(), max_transfer_bytes, [&](std::size_t done, std::size_t n) {
    return ::pread(fd, into.data() + done, n, at(offset, done));
  });
}

Status write_all(int fd, ByteOffset offset, std::span<const std::byte> from,
                 std::size_t max_transfer_bytes) {
  return carry_on(from.size(), max_transfer_bytes, [&](std::size_t done, std::size_t n) {
    return ::pwrite(fd, from.data() + done, n, at(offset, done));
  });
}

Status flush_data(int fd) {
  int result;
  do {
    result = ::fdatasync(fd);
  } while (result != 0 && errno == EINTR);
  if (result != 0) return fail(ErrorCode::kStoreIo, errno);
  return {};
}

}  // namespace larder
