// SPDX-License-Identifier: Apache-2.0
// WorkQueue: where work goes that the present thread may not do itself. One of the five seams.
//
// A Work is owned by its caller and embedded in what it works on (a cache object, an operation, an
// I/O request), so posting never allocates. It may be posted again as soon as its `run` has begun.
//
// The queues of a mount (docs/architecture.md, Threads):
//   machine   object state machines and SLOW operations; may block on the store, never on a share
//   answer    what follows a call to the share or a fill: resumes parked requests; never blocks
//   share     calls to the share, nothing else; may block for ever (src/netfs/share_pool.h)
#pragma once

#include <absl/functional/any_invocable.h>

namespace larder {

struct Work {
  void (*run)(Work& self) = nullptr;
  Work* next = nullptr;  // the queue's
};

class WorkQueue {
 public:
  virtual ~WorkQueue() = default;
  // Runs `work` once, later, on a thread of the queue; never before post() returns on the same
  // stack. REQUIRES: `work` is not waiting in any queue. Thread: any.
  virtual void post(Work& work) = 0;
};

// A function that is called once. Cold paths only: it may allocate.
template <class... Args>
using Callback = absl::AnyInvocable<void(Args...) &&>;

// Runs `function` once on `queue`. Allocates.
void post(WorkQueue& queue, Callback<> function);

}  // namespace larder
