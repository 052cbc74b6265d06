// SPDX-License-Identifier: Apache-2.0
// Whole transfers on the calling thread: what pread, pwrite and fdatasync do, carried on until all
// is moved. Errors: kStoreIo with the errno; EIO where the file ends inside a read. Thread: any.
#pragma once

#include <larder/io_engine.h>
#include <larder/result.h>
#include <larder/units.h>
#include <sys/uio.h>

#include <cstddef>
#include <span>

namespace larder {

// The kernel moves at most this much in one call (2 GiB less a page), whatever it is asked for.
inline constexpr std::size_t kMaxTransfer = 0x7ffff000;

Status read_all(int fd, ByteOffset offset, std::span<std::byte> into,
                std::size_t max_transfer_bytes = kMaxTransfer, ReadMode mode = ReadMode::kBuffered);
// Only what the page cache holds, in one call: false where that is not all.
Result<bool> read_cached(int fd, ByteOffset offset, std::span<std::byte> into, ReadMode mode);
// For preadv2 and for the ring. 0 once the kernel or the file system has said that it knows no
// RWF_DONTCACHE.
int flags_of(ReadMode mode);
// True: it was the mode that the kernel did not know, and the same read without it may go.
bool forget_unknown_mode(int sys_errno, ReadMode mode);
Status write_all(int fd, ByteOffset offset, std::span<const std::byte> from,
                 std::size_t max_transfer_bytes = kMaxTransfer);
// Pieces that lie side by side in the file, in one call. False: some of them may not be written.
bool write_together(int fd, ByteOffset offset, std::span<const iovec> pieces, std::size_t bytes);
Status flush_data(int fd);
// Has the system begin to write out what its page cache holds of the file. What goes wrong with it
// is heard by the next flush.
void start_writeback(int fd);

}  // namespace larder
