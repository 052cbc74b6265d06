// SPDX-License-Identifier: Apache-2.0
#include <larder/fd.h>
#include <unistd.h>

namespace larder {

void Fd::reset(int fd) {
  // close(2) frees the number even when it reports an error, so there is nothing to retry.
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

}  // namespace larder
