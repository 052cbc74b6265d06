// SPDX-License-Identifier: Apache-2.0
// What a Host is made of; its mounts work with it.
#pragma once

#include <larder/cookie.h>
#include <larder/host.h>
#include <larder/store.h>
#include <larder/timers.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "io/thread_pool.h"

namespace larder {

struct Host::Impl {
  // Opens the store and the cache for the first mount; sees that a later one fits. Returns what the
  // user should be told. Errors: with a line; nothing has changed.
  SetUp<std::vector<std::string>> join(const MountOptions& options);
  // A netfs's cookie, registered at its first mount. Errors: kInvalid.
  Result<cache::CookieRef> enter_netfs(const std::string& name, std::uint32_t version);
  void leave_netfs(const std::string& name);
  // One mount at a time has a share: two would not see each other's writes. Errors: kInvalid.
  SetUp<std::monostate> enter_share(const std::string& key, const std::string& mountpoint);
  void leave_share(const std::string& key);

  const Clock& clock = system_clock();
  ThreadPool machine;
  ThreadPool answer;
  Timers timers{clock};

  // Set by the first mount, and constant from then on.
  MountOptions options;
  OpenedEngine engine;
  std::string store_path;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<cache::FsCache> cache;

  Impl();

 private:
  struct Registered {
    cache::CookieRef cookie;
    std::uint32_t version = 0;
    unsigned mounts = 0;
  };
  SetUp<std::vector<std::string>> open_locked(const MountOptions& options) REQUIRES(mutex_);
  SetUp<std::vector<std::string>> fit_locked(const MountOptions& options) REQUIRES(mutex_);
  SetUp<store::Device> open_device(const MountOptions& options);

  Mutex mutex_{Rank::kMount};
  std::map<std::string, Registered> netfses_ GUARDED_BY(mutex_);
  std::map<std::string, std::string> shares_ GUARDED_BY(mutex_);  // key -> mount point
};

}  // namespace larder
