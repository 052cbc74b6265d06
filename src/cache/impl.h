// SPDX-License-Identifier: Apache-2.0
// What FsCache is made of: the tree and the root cookie.
#pragma once

#include <fmt/format.h>
#include <larder/cookie.h>

#include <functional>
#include <memory>
#include <string>

#include "cache/tree.h"

namespace larder::cache {

struct FsCache::Impl {
  Impl(WorkQueue& machine, WorkQueue& answer, const Clock& clock, FsCacheOptions the_options);

  CookieRef acquire(const CookieRef& parent, const CookieDefinition& definition, Bytes key,
                    Bytes aux, ByteCount size, void* netfs_data, std::uint64_t shown_as,
                    Enable enable);
  // Disables it, or ends it: `how` is kCookieEnabled or kCookieRelinquished. Waits as relinquish
  // does. REQUIRES: the tree's mutex.
  void disable_locked(Cookie& cookie, Retire retire, CookieFlag how);
  // Whether a cookie without an object should be given one by whoever needs it now. REQUIRES: the
  // cookie's mutex.
  bool may_retry_locked(const Cookie& cookie) const;
  // Gives it one, if it can be had. cookie_calls.cc.
  bool retry(Cookie& cookie);
  // The object of `cookie`, in `cache` or where it is chosen, if its machine can be brought up on
  // this thread.
  ObjectPtr bring_up(Cookie& cookie, Cache* cache = nullptr);
  void withdraw(Cache& cache);
  bool is_registered_locked(const Cookie& cookie) const;  // REQUIRES: the tree's mutex

  const std::shared_ptr<Tree> tree;
  const FsCacheOptions options;
  CookieRef root;
};

// For tracing: a cookie's definition and number, as `objects` shows them.
struct NameOf {
  const CookieRef& cookie;
};

// rename.cc. `bring_up` as Impl's.
void start_rename(const std::shared_ptr<Tree>& tree, const CookieRef& cookie,
                  const CookieRef& new_parent, Bytes new_key,
                  const std::function<ObjectPtr(Cookie&, Cache&)>& bring_up);

}  // namespace larder::cache

template <>
struct fmt::formatter<larder::cache::NameOf> {
  static constexpr auto parse(fmt::format_parse_context& context) { return context.begin(); }
  template <class Context>
  auto format(const larder::cache::NameOf& name, Context& context) const {
    if (!name.cookie) return fmt::format_to(context.out(), "none");
    return fmt::format_to(context.out(), "{} {}", name.cookie->definition.name,
                          name.cookie->shown_as);
  }
};
