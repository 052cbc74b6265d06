// SPDX-License-Identifier: Apache-2.0
// A cache is withdrawn while mounts go on.
//
// It is gone when its last operation has ended, and its store is written out behind that. A disk
// that hangs may hold up both for ever, so a thread of its own waits, with no lock held: new mounts
// come in meanwhile, and who asked for it is told after a while that it goes on. The cache itself
// takes no more from the first moment on.
#include <fmt/format.h>
#include <larder/log.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "vfs/host_impl.h"

namespace larder {

struct Host::Impl::Withdrawal {
  std::thread thread;
  bool done = false;  // guarded by the host's mutex
};

namespace {

bool is_sum(const stats::Registry::Entry& entry) { return entry.unit != stats::Unit::kGauge; }

}  // namespace

SetUp<std::string> Host::Impl::withdraw_cache(const std::string& tag, Callback<> gone) {
  MutexLock lock(mutex_);
  TRY(const HostCache found, cache_named(tag));
  std::shared_ptr<Withdrawal>& place = withdrawals_[tag];
  if (place && place->done) place->thread.join();  // one of before, that nobody waited for
  if (!place || place->done) {
    place = std::make_shared<Withdrawal>();
    place->thread = std::thread([this, tag, gone = std::move(gone), self = place.get()]() mutable {
      close_cache(tag);
      std::move(gone)();
      {
        MutexLock done_lock(mutex_);
        self->done = true;
      }
      withdrawn_.notify_all();
    });
  }
  const std::shared_ptr<Withdrawal> withdrawal = place;
  const Nanoseconds until_ns = clock.mono_ns() + withdrawal_patience_ns;
  ++n_waiting_;
  for (Nanoseconds left_ns = withdrawal_patience_ns; !withdrawal->done && left_ns > 0;
       left_ns = until_ns - clock.mono_ns()) {
    withdrawn_.wait_for(mutex_, std::chrono::nanoseconds(left_ns));
  }
  --n_waiting_;
  withdrawn_.notify_all();
  if (!withdrawal->done)
    return complain(
        ErrorCode::kStoreIo,
        fmt::format("{} is withdrawn from all mounts, but what was under way in its store {} has "
                    "not ended for {} s: leave the disk where it is until `caches` does not list "
                    "it any more",
                    tag, found.path, withdrawal_patience_ns / kSecond));
  log(LogLevel::kInfo, "cache {} is withdrawn", tag);
  return fmt::format("{} is withdrawn; its store {} keeps what is cached", tag, found.path);
}

// Behind the last mount: those that are under way come to their end, and who waits for them goes.
void Host::Impl::end_withdrawals() {
  std::map<std::string, std::shared_ptr<Withdrawal>> all;
  {
    MutexLock lock(mutex_);
    all.swap(withdrawals_);
  }
  for (auto& [tag, withdrawal] : all) withdrawal->thread.join();
  MutexLock lock(mutex_);
  while (n_waiting_ > 0) withdrawn_.wait(mutex_);
}

// Its objects go first, then its store is written out.
void Host::Impl::close_cache(const std::string& tag) {
  const Status withdrawn = cache->withdraw(tag);
  check(withdrawn.has_value(), "the host's caches are the floor's");
  HostCache gone;
  {
    MutexLock lock(list_mutex_);
    const auto found = std::find_if(caches_.begin(), caches_.end(),
                                    [&](const HostCache& c) { return c.tag == tag; });
    gone = std::move(*found);
    caches_.erase(found);
    gone_.resize(gone.figures.size());
    for (std::size_t i = 0; i < gone.figures.size(); ++i)
      if (is_sum(gone.figures[i])) gone_[i] += gone.figures[i].read();
  }
  gone.store->close();
}

}  // namespace larder
