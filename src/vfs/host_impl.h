// SPDX-License-Identifier: Apache-2.0
// What a Host is made of; its mounts work with it.
#pragma once

#include <larder/cookie.h>
#include <larder/host.h>
#include <larder/stats.h>
#include <larder/store.h>
#include <larder/timers.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "io/thread_pool.h"
#include "vfs/verification.h"

namespace larder {

std::string_view to_text(store::State state);

std::vector<stats::Registry::Entry> figures_of(store::Counters& counters);

// One of the host's caches.
struct HostCache {
  std::string tag, path;
  std::shared_ptr<store::Store> store;
  std::vector<stats::Registry::Entry> figures;  // of the store's counters, the same for each store
};

struct Host::Impl {
  Impl();

  // Opens the stores and the cache for the first mount; sees that a later one fits. Returns what
  // the user should be told. Errors: with a line; nothing has changed.
  SetUp<std::vector<std::string>> join(const MountOptions& wanted);
  // A netfs's cookie, registered at its first mount. Errors: kInvalid.
  Result<cache::CookieRef> enter_netfs(const std::string& name, std::uint32_t version);
  void leave_netfs(const std::string& name);
  // One mount at a time has a share: two would not see each other's writes. Errors: kInvalid.
  SetUp<std::monostate> enter_share(const std::string& key, const std::string& mountpoint);
  void leave_share(const std::string& key);

  // While mounted. Returns what the user should be told. Blocks; never on a queue's thread.
  SetUp<std::string> add_cache(const CacheSpec& wanted);
  SetUp<std::string> withdraw_cache(const std::string& tag, Callback<> gone);

  SetUp<std::string> make_room(ByteCount wanted);
  SetUp<HostCache> cache_named(const std::string& tag) const;
  SetUp<HostCache> cache_of(const std::string& tag) const;  // "": the only one
  std::string tags() const;                                 // for a line to the user

  // The caches of this moment, those that are being withdrawn not among them. Thread: any.
  std::vector<HostCache> caches() const;
  // One line per cache, for the control file.
  std::string caches_text() const;
  // Begins to verify the stores where nobody does already, and says how far that is.
  std::string verify();
  // The counters of all stores together, of those that went too. The host outlives the registry.
  void register_stores(stats::Registry& registry);

  const Clock& clock = system_clock();
  ThreadPool machine;
  ThreadPool answer;
  Timers timers{clock};
  Verification verification{clock};

  // Set by the first mount, and constant from then on.
  MountOptions options;
  OpenedEngine engine;
  std::unique_ptr<cache::FsCache> cache;
  Nanoseconds withdrawal_patience_ns = 10 * kSecond;  // of who asks for one
  Nanoseconds ending_patience_ns = 10 * kSecond;      // while nothing moves

 private:
  friend class Host;
  struct Registered {
    cache::CookieRef cookie;
    std::uint32_t version = 0;
    unsigned mounts = 0;
  };
  SetUp<std::vector<std::string>> open_locked(const MountOptions& wanted) REQUIRES(mutex_);
  std::string mounts_locked() const REQUIRES(mutex_);
  SetUp<std::vector<std::string>> fit_locked(const MountOptions& wanted) REQUIRES(mutex_);
  // A cache comes in three steps (host_arrival.cc): its tag is taken, its store is opened, which
  // may take long and holds no lock, and it is one of the caches.
  struct Opened {
    std::shared_ptr<store::Store> store;
    std::string note;
  };
  SetUp<std::monostate> expect_locked(const CacheSpec& wanted) REQUIRES(mutex_);
  SetUp<Opened> open_store(const CacheSpec& wanted, const std::vector<std::string>& forbidden);
  // Errors: it does not; its store, if it was opened, is the caller's to close.
  SetUp<std::string> arrive_locked(const CacheSpec& wanted, SetUp<Opened> opened) REQUIRES(mutex_);
  struct Withdrawal;
  void close_cache(const std::string& tag);  // blocks: until its last operation has ended
  void end_withdrawals();
  void wait_for_arrivals();
  // host_ending.cc
  bool ends(Callback<> work);
  std::uint64_t progress() const;
  std::uint64_t figure(std::size_t index) const;

  // What hangs, and may end all the same. Shared with the threads that it is about.
  struct Endings;
  const std::shared_ptr<Endings> endings_;

  Mutex mutex_{Rank::kMount};
  std::map<std::string, Registered> netfses_ GUARDED_BY(mutex_);
  std::map<std::string, std::string> shares_ GUARDED_BY(mutex_);  // key -> mount point
  std::vector<std::string> forbidden_ GUARDED_BY(mutex_);         // places where no store may lie
  std::set<std::string> coming_ GUARDED_BY(mutex_);               // tags
  bool closing_ GUARDED_BY(mutex_) = false;
  CondVar arrived_;
  std::map<std::string, std::shared_ptr<Withdrawal>> withdrawals_ GUARDED_BY(mutex_);  // by tag
  unsigned n_waiting_ GUARDED_BY(mutex_) = 0;                                          // for one
  CondVar withdrawn_;

  mutable Mutex list_mutex_{Rank::kLeaf};
  std::vector<HostCache> caches_ GUARDED_BY(list_mutex_);
  std::vector<std::uint64_t> gone_ GUARDED_BY(list_mutex_);  // figures of stores that went
};

}  // namespace larder
