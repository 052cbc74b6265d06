// SPDX-License-Identifier: Apache-2.0
// What FsCache is made of: the tree, the root cookie, the store.
#pragma once

#include <larder/cookie.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "cache/tree.h"

namespace larder::cache {

struct FsCache::Impl {
  Impl(WorkQueue& machine, WorkQueue& answer, const Clock& clock, FsCacheOptions the_options);

  CookieRef acquire(const CookieRef& parent, const CookieDefinition& definition, Bytes key,
                    Version version, void* netfs_data, std::uint64_t shown_as);
  // The object of `cookie` if its machine can be brought up on this thread.
  ObjectPtr bring_up(Cookie& cookie);
  bool is_registered_locked(const Cookie& cookie) const;  // REQUIRES: the tree's mutex

  const std::shared_ptr<Tree> tree;
  const FsCacheOptions options;
  CookieRef root;
  std::atomic<store::Store*> store{nullptr};
};

// rename.cc. `bring_up` as Impl's.
void start_rename(const std::shared_ptr<Tree>& tree, const CookieRef& cookie,
                  const CookieRef& new_parent, Bytes new_key,
                  std::function<ObjectPtr(Cookie&)> bring_up);

}  // namespace larder::cache
