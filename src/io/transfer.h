// SPDX-License-Identifier: Apache-2.0
// Whole transfers on the calling thread: what pread, pwrite and fdatasync do, carried on until all
// is moved. Errors: kStoreIo with the errno; EIO where the file ends inside a read. Thread: any.
#pragma once

#include <larder/result.h>
#include <larder/units.h>

#include <cstddef>
#include <span>

namespace larder {

// The kernel moves at most this much in one call (2 GiB less a page), whatever it is asked for.
inline constexpr std::size_t kMaxTransfer = 0x7ffff000;

Status read_all(int fd, ByteOffset offset, std::span<std::byte> into,
                std::size_t max_transfer_bytes = kMaxTransfer);
Status write_all(int fd, ByteOffset offset, std::span<const std::byte> from,
                 std::size_t max_transfer_bytes = kMaxTransfer);
Status flush_data(int fd);

}  // namespace larder
