// SPDX-License-Identifier: Apache-2.0
// A ring whose memory is ours (IORING_SETUP_NO_MMAP, Linux 6.5).
//
// The memory that the kernel maps for a ring holds a reference to the ring. When larder is killed
// while one of its threads hangs in the share for good, the address space stays, and with it such a
// ring, the commands in it, and so /dev/fuse: the mount would hang, where it should answer that it
// is gone. A ring in memory of ours goes with the descriptor table, which that thread does not
// have. liburing 2.3 cannot make one.
#pragma once

#include <liburing.h>

namespace larder {

// As io_uring_queue_init_params, with the same way out (io_uring_queue_exit). 0, or -errno; -EINVAL
// where the kernel is too old for it.
int open_detached_ring(unsigned entries, io_uring& ring, io_uring_params& params);

}  // namespace larder
