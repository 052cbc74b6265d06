// SPDX-License-Identifier: Apache-2.0
// Janitor: runs work in a process of its own and leaves nothing of it behind, however it ends.
//
// The work mounts, starts daemons and writes below one fresh directory. When its process has ended
// (done, failed, crashed, killed), the janitor, which has done nothing but wait, unmounts all that
// is mounted below the directory, ends what processes are left and removes the directory. So there
// is one way of cleaning up and not one per failure. Orphans come to the janitor because it is
// their subreaper. Thread: before threads are started; no process but the janitor may have children
// of its own then.
#pragma once

#include <functional>
#include <string>

namespace larder::bench {

// The exit code of `work`, or 128 + signal. The directory is made below `base`.
int with_janitor(const std::string& base,
                 const std::function<int(const std::string& directory)>& work);

}  // namespace larder::bench
