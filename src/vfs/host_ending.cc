// SPDX-License-Identifier: Apache-2.0
// A host begins, and ends.
//
// The end waits for what is under way in the stores, and for their checkpoints. A disk that hangs
// would hold it up for ever, and with it the process, whose mounts are gone already. So what waits
// for a store runs on a thread of its own, and who waits for that gives up when nothing has moved
// in any store for store_deadline, 10 s at least, and after two minutes in any case. A disk that is
// slow moves; where one long flush does not show, the end comes without it: what was written is
// with the system, and the next start replays it. What hangs is left as it is: nothing of it is
// torn down, and the end of the process is its end.
#include <larder/host.h>
#include <larder/log.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "io/thread.h"
#include "vfs/host_impl.h"

namespace larder {
namespace {

constexpr unsigned kMachineThreads = 4;
constexpr unsigned kAnswerThreads = 2;
constexpr std::chrono::milliseconds kLook{50};
constexpr Nanoseconds kLongest_ns = 120 * kSecond;

}  // namespace

struct Host::Impl::Endings {
  Mutex mutex{Rank::kLeaf};
  CondVar changed;
  unsigned given_up GUARDED_BY(mutex) = 0;  // and not ended
};

Host::Host() : impl_(std::make_unique<Impl>()) {}

Host::~Host() {
  MutexLock lock(impl_->endings_->mutex);
  check(impl_->endings_->given_up == 0, "a host that hangs ends with its process");
}

Host::Impl::Impl()
    : machine({.name = "machine", .threads = kMachineThreads}),
      answer({.name = "answer", .threads = kAnswerThreads}),
      endings_(std::make_shared<Endings>()) {
  timers.start();
}

bool Host::ends(Callback<> work) { return impl_->ends(std::move(work)); }

bool Host::close() {
  {
    MutexLock lock(impl_->endings_->mutex);
    if (impl_->endings_->given_up > 0) return false;  // that has been waited for
  }
  return ends([&host = *impl_] {
    host.verification.stop();
    host.wait_for_arrivals();
    host.end_withdrawals();
    for (const HostCache& cache : host.caches()) host.close_cache(cache.tag);
    host.answer.stop();
    host.machine.stop();
    host.timers.stop();
  });
}

// Any of the stores' counters, and the objects: whatever is done there is counted.
std::uint64_t Host::Impl::progress() const {
  std::uint64_t sum = 0;
  if (cache) {
    for (const cache::CacheFigures& figures : cache->caches()) sum += figures.objects;
  }
  MutexLock lock(list_mutex_);
  for (const std::uint64_t gone : gone_) sum += gone;
  for (const HostCache& open : caches_) {
    for (const stats::Registry::Entry& figure : open.figures) sum += figure.read();
  }
  return sum;
}

bool Host::Impl::ends(Callback<> work) {
  struct Fate {
    bool is_done = false, is_given_up = false;  // guarded by the mutex of Endings
  };
  const auto fate = std::make_shared<Fate>();
  Thread thread("ending", [work = std::move(work), fate, endings = endings_]() mutable {
    std::move(work)();
    MutexLock lock(endings->mutex);
    fate->is_done = true;
    if (fate->is_given_up) --endings->given_up;
    endings->changed.notify_all();
  });
  const Nanoseconds patience_ns = std::max(ending_patience_ns, options.store_deadline_ns);
  std::uint64_t moved = progress();
  const Nanoseconds began_ns = clock.mono_ns();
  Nanoseconds since_ns = began_ns;
  while (true) {
    {
      MutexLock lock(endings_->mutex);
      if (!fate->is_done) endings_->changed.wait_for(endings_->mutex, kLook);
      if (fate->is_done) break;
    }
    const std::uint64_t now = progress();
    const Nanoseconds now_ns = clock.mono_ns();
    if (now != std::exchange(moved, now)) since_ns = now_ns;
    if (now_ns - since_ns < patience_ns && now_ns - began_ns < kLongest_ns) continue;
    MutexLock lock(endings_->mutex);
    if (fate->is_done) break;
    fate->is_given_up = true;
    ++endings_->given_up;
    thread.leave();
    return false;
  }
  thread.join();
  return true;
}

}  // namespace larder
