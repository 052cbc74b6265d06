// SPDX-License-Identifier: Apache-2.0
// Act as: this thread's file-system user, group and groups.
//
// By raw system calls: the C library's would change every thread of the process. Away from user 0
// the kernel takes the capabilities that pass over permissions away, and gives them back with it.
// Thread: each for itself.
#pragma once

#include <larder/credentials.h>

namespace larder::netfs {

// As `who` from now on; null: as larder itself. False: the system does not let us (only root may),
// and the thread is as larder itself.
bool act_as(const Credentials* who);

// For what larder does for itself in the middle of a call: looking at the share's root.
class AsLarder {
 public:
  AsLarder();
  ~AsLarder();
  AsLarder(const AsLarder&) = delete;
  AsLarder& operator=(const AsLarder&) = delete;

 private:
  const Credentials* const before_;
};

}  // namespace larder::netfs
