// SPDX-License-Identifier: Apache-2.0
// FsCache: the registry of netfses and the calls of <larder/cookie.h>. Each call finds the cookie's
// object and raises an event on it, or hands it an operation; what happens then is object_states.cc
// and operation.cc.
//
// The root is FSDEF's, ".FS-Cache"; a netfs's primary index hangs below it, its key the netfs's
// name and its aux data the version, so that another version is found obsolete at look-up like any
// other object.
//
// index_of() needs a directory's object at once. It does not go around the machine: it makes the
// missing objects and runs their machines itself, parents first, on the calling thread, claiming
// each as a worker of the queue would. So there is one way to look up and create, and one worker
// per object still; a look-up that would have to wait (a dying holder of the key) is not waited
// for: nothing can be cached there now.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cache/impl.h"
#include "cache/object.h"

namespace larder::cache {
namespace {

constexpr std::size_t kMaxKey = 255;
constexpr std::size_t kMaxAux = 255;
constexpr Nanoseconds kRetry_ns = kSecond;

constexpr CookieDefinition kRootDefinition{".FS-Cache", ObjectType::kIndex, nullptr};

// netfs_data is the version itself.
AuxCheck check_version(void* netfs_data, Bytes stored_aux, ByteCount) {
  const auto version = reinterpret_cast<std::uintptr_t>(netfs_data);
  if (stored_aux.size() != 4) return AuxCheck::kObsolete;
  for (std::size_t i = 0; i < 4; ++i) {
    if (std::to_integer<std::uintptr_t>(stored_aux[i]) != ((version >> (8 * i)) & 0xff)) {
      return AuxCheck::kObsolete;
    }
  }
  return AuxCheck::kOkay;
}

bool has_object(Cookie& cookie) {
  MutexLock lock(cookie.mutex);
  return cookie.object != nullptr;
}

constexpr CookieDefinition kNetfsDefinition{"FSDEF.netfs", ObjectType::kIndex, check_version};

}  // namespace

FsCache::Impl::Impl(WorkQueue& machine, WorkQueue& answer, const Clock& clock,
                    FsCacheOptions the_options)
    : tree(std::make_shared<Tree>(machine, answer, clock)),
      options(std::move(the_options)),
      root(new Cookie(nullptr, kRootDefinition, {}, {}, nullptr, 0)) {}

FsCache::FsCache(WorkQueue& machine, WorkQueue& answer, const Clock& clock, FsCacheOptions options)
    : impl_(std::make_unique<Impl>(machine, answer, clock, std::move(options))) {}

FsCache::~FsCache() {
  MutexLock lock(impl_->tree->mutex);
  check(impl_->tree->backend == nullptr, "the cache was withdrawn");
  impl_->tree->cookies.clear();
  impl_->tree->registered.clear();
}

Status FsCache::add_cache(store::Store& store) {
  TRY_OK(add_backend(backend_on(store)));
  impl_->store = &store;
  return {};
}

Status FsCache::add_backend(std::unique_ptr<Backend> backend) {
  MutexLock lock(impl_->tree->mutex);
  if (impl_->tree->backend) return fail(ErrorCode::kInvalid);
  impl_->tree->backend = std::move(backend);
  return {};
}

void FsCache::withdraw() {
  Tree& tree = *impl_->tree;
  {
    MutexLock lock(tree.mutex);
    if (!tree.backend) return;
    tree.withdrawing = true;  // no object is made any more
  }
  {
    const std::vector<ObjectPtr> all = tree.all_objects();
    for (const ObjectPtr& object : all) object->raise(Event::kWithdraw);
    for (const ObjectPtr& object : all) object->drive();
  }
  std::unique_ptr<Backend> backend;
  {
    MutexLock lock(tree.mutex);
    while (!tree.objects.empty()) tree.changed.wait(tree.mutex);
    backend = std::move(tree.backend);
    tree.withdrawing = false;
  }
  impl_->store = nullptr;
}

// A netfs, or a share below one.
bool FsCache::Impl::is_registered_locked(const Cookie& cookie) const {
  return cookie.parent == root || cookie.parent->parent == root;
}

Result<CookieRef> FsCache::register_netfs(std::string_view name, std::uint32_t version) {
  std::string aux;
  for (unsigned i = 0; i < 4; ++i) aux += static_cast<char>(version >> (8 * i) & 0xff);
  CookieRef cookie =
      impl_->acquire(impl_->root, kNetfsDefinition, std::as_bytes(std::span(name)),
                     {aux, ByteCount{0}}, reinterpret_cast<void*>(std::uintptr_t{version}), 0);
  if (!cookie) return fail(ErrorCode::kInvalid);
  return cookie;
}

void FsCache::unregister_netfs(const CookieRef& primary_index) {
  relinquish(primary_index, Retire::kNo);
}

CookieRef FsCache::acquire(const CookieRef& parent, const CookieDefinition& definition,
                           std::span<const std::byte> key, std::span<const std::byte> aux,
                           ByteCount size, void* netfs_data, std::uint64_t shown_as) {
  impl_->tree->counters.acquires.add();
  if (!parent) {
    impl_->tree->counters.acquires_null.add();
    return nullptr;
  }
  CookieRef cookie =
      impl_->acquire(parent, definition, key, {to_key(aux), size}, netfs_data, shown_as);
  if (cookie) impl_->tree->counters.acquires_ok.add();
  return cookie;
}

CookieRef FsCache::Impl::acquire(const CookieRef& parent, const CookieDefinition& definition,
                                 Bytes key, Version version, void* netfs_data,
                                 std::uint64_t shown_as) {
  if (key.empty() || key.size() > kMaxKey || version.aux.size() > kMaxAux) return nullptr;
  Counters& counters = tree->counters;
  const bool is_index = definition.type == ObjectType::kIndex;
  CookieRef cookie(new Cookie(parent, definition, key, std::move(version), netfs_data, shown_as));
  ObjectPtr object;
  {
    MutexLock lock(tree->mutex);
    if (parent->has(kCookieRelinquished)) return nullptr;
    if (!tree->cookies.insert(cookie).second) {
      counters.duplicates.add();
      return nullptr;
    }
    ++parent->n_children;
    if (is_registered_locked(*cookie)) tree->registered.push_back(cookie);
    counters.cookies_live.add();
    (is_index ? counters.cookies_index : counters.cookies_data).add();
    if (is_index) return cookie;  // an index gets its object when something below it needs one
    if (!tree->backend || tree->withdrawing) {
      counters.acquires_no_cache.add();
      return cookie;
    }
    object = tree->attach_locked(*cookie);
  }
  if (object) {
    object->raise(Event::kRequeue);
  } else {
    counters.acquires_no_object.add();
  }
  return cookie;
}

void FsCache::relinquish(CookieRef cookie, Retire retire) {
  Tree& tree = *impl_->tree;
  tree.counters.relinquishes.add();
  if (!cookie) return tree.counters.relinquishes_null.add();
  if (retire == Retire::kYes) tree.counters.relinquishes_retired.add();
  ObjectPtr object;
  ObjectPtr parent_object;
  {
    MutexLock tree_lock(tree.mutex);
    check(cookie->n_children == 0, "the children of a cookie are relinquished before it");
    check(!cookie->has(kCookieRelinquished), "a cookie is relinquished once");
    // What was never looked up is deleted too: by an object of its own.
    if (retire == Retire::kYes && !has_object(*cookie) && tree.attach_locked(*cookie)) {
      MutexLock lock(cookie->parent->mutex);
      parent_object = cookie->parent->object;
    }
    if (!cookie->replaced) tree.cookies.erase(cookie);
    if (impl_->is_registered_locked(*cookie)) std::erase(tree.registered, cookie);
    --cookie->parent->n_children;
    tree.counters.cookies_live.sub();
    bool waited = false;
    for (;;) {
      {
        MutexLock lock(cookie->mutex);
        cookie->set(kCookieRelinquished);  // from here on no check begins
        cookie->clear(kCookieEnabled);
        if (!cookie->checking) {
          cookie->netfs_data = nullptr;
          object = std::move(cookie->object);
          break;
        }
      }
      if (!std::exchange(waited, true)) tree.counters.relinquishes_waited.add();
      tree.changed.wait(tree.mutex);
    }
  }
  if (object) object->raise(retire == Retire::kYes ? Event::kRetire : Event::kRelease);
  if (parent_object)
    parent_object->raise(Event::kRequeue);  // so that no object stays that nobody kicked
}

void FsCache::update(const CookieRef& cookie, std::span<const std::byte> aux, ByteCount size) {
  Counters& counters = impl_->tree->counters;
  counters.updates.add();
  if (!cookie) return counters.updates_null.add();
  ObjectPtr object;
  {
    MutexLock lock(cookie->mutex);
    cookie->version = {to_key(aux), size};
    object = cookie->object;
  }
  if (object) object->raise(Event::kUpdate);
}

void FsCache::invalidate(const CookieRef& cookie, std::span<const std::byte> aux, ByteCount size) {
  Tree& tree = *impl_->tree;
  tree.counters.invalidates.add();
  if (!cookie) return;
  ObjectPtr object;
  {
    MutexLock lock(cookie->mutex);
    cookie->version = {to_key(aux), size};
    ++cookie->invalidations;
    if (cookie->object) {
      cookie->set(kCookieInvalidating);
      object = cookie->object;
    } else {
      // It could not be cached; another version is a reason to try again, but not too often.
      const Nanoseconds now_ns = tree.clock.mono_ns();
      if (now_ns < cookie->retry_mono_ns || cookie->definition.type == ObjectType::kIndex) return;
      cookie->retry_mono_ns = now_ns + kRetry_ns;
    }
  }
  if (object) return object->raise(Event::kInvalidate);
  {
    MutexLock tree_lock(tree.mutex);
    object = tree.attach_locked(*cookie);
  }
  if (object) object->raise(Event::kRequeue);
}

void FsCache::rename(const CookieRef& cookie, const CookieRef& new_parent,
                     std::span<const std::byte> new_key) {
  impl_->tree->counters.renames.add();
  if (!cookie || !new_parent || new_key.empty() || new_key.size() > kMaxKey) return;
  start_rename(impl_->tree, cookie, new_parent, new_key,
               [impl = impl_.get()](Cookie& index) { return impl->bring_up(index); });
}

Submitted FsCache::submit(const CookieRef& cookie, Operation& operation) {
  if (!cookie) return Submitted::kNever;
  MutexLock lock(cookie->mutex);
  if (cookie->object && !cookie->has(kCookieInvalidating)) return cookie->object->submit(operation);
  KindCounters& counters = impl_->tree->counters.of(operation.kind);
  counters.submitted.add();
  counters.refused.add();
  return Submitted::kNever;
}

void FsCache::complete(Operation& operation) { operation.object->complete(operation); }

bool FsCache::cancel(Operation& operation) {
  return operation.state.load(std::memory_order_acquire) == OperationState::kPending &&
         operation.object->cancel(operation);
}

store::Store& FsCache::store_of(const Operation& operation) {
  return *operation.object->tree().backend->store();
}

const boost::intrusive_ptr<store::Object>& FsCache::data_of(const Operation& operation) {
  return operation.object->handle_of_operation();
}

ObjectPtr FsCache::Impl::bring_up(Cookie& cookie) {
  std::vector<ObjectPtr> chain;
  {
    MutexLock lock(tree->mutex);
    if (!tree->attach_locked(cookie)) return nullptr;
    for (Cookie* at = &cookie; at != nullptr; at = at->parent.get()) {
      MutexLock cookie_lock(at->mutex);
      chain.push_back(at->object);
    }
  }
  for (auto at = chain.rbegin(); at != chain.rend(); ++at) {
    Object& object = **at;
    if (object.is_up()) continue;
    object.kick_and_drive();
    if (!object.is_up()) return nullptr;
  }
  return chain.front();
}

boost::intrusive_ptr<store::Object> FsCache::index_of(const CookieRef& cookie) {
  if (!cookie) return nullptr;
  {
    MutexLock lock(cookie->mutex);
    if (cookie->object) {
      if (store::ObjectRef handle = cookie->object->handle_if_up()) return handle;
    }
  }
  const ObjectPtr object = impl_->bring_up(*cookie);
  return object ? object->handle_if_up() : nullptr;
}

store::Store* FsCache::store() const { return impl_->store.load(); }

std::string FsCache::stats_text() const {
  Backend::Pages pages;
  {
    MutexLock lock(impl_->tree->mutex);
    if (impl_->tree->backend) pages = impl_->tree->backend->pages();
  }
  return cache::stats_text(impl_->tree->counters, pages);
}

std::string FsCache::histogram_text() const {
  return cache::histogram_text(impl_->tree->histograms);
}

void FsCache::register_in(stats::Registry& registry) {
  impl_->tree->counters.register_in(registry);
}

}  // namespace larder::cache
