// SPDX-License-Identifier: Apache-2.0
// The one place where an Error becomes an errno.
#pragma once

#include <larder/result.h>

namespace larder::fuse {

// What the share said goes to the user as it is; a share that is not there is EHOSTUNREACH, one
// that does not answer ETIMEDOUT; everything else of ours that should not reach anybody is EIO.
int to_errno(Error error);

}  // namespace larder::fuse
