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
#include <larder/log.h>

#include <algorithm>
#include <utility>

#include "cache/impl.h"
#include "cache/object.h"

namespace larder::cache {
namespace {

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

constexpr CookieDefinition kNetfsDefinition{"FSDEF.netfs", ObjectType::kIndex, check_version};

}  // namespace

FsCache::Impl::Impl(WorkQueue& machine, WorkQueue& answer, const Clock& clock,
                    FsCacheOptions the_options)
    : tree(std::make_shared<Tree>(
          machine, answer, clock,
          Limits{.per_object = std::min(the_options.operations_per_object, Limits::kMost),
                 .all = the_options.operations,
                 .objects = the_options.objects,
                 .frun = the_options.frun,
                 .fcull = the_options.fcull,
                 .fstop = the_options.fstop})),
      options(std::move(the_options)),
      root(new Cookie(nullptr, kRootDefinition, {}, {}, ByteCount{0}, nullptr, 0)) {}

FsCache::FsCache(WorkQueue& machine, WorkQueue& answer, const Clock& clock, FsCacheOptions options)
    : impl_(std::make_unique<Impl>(machine, answer, clock, std::move(options))) {}

FsCache::~FsCache() {
  MutexLock lock(impl_->tree->mutex);
  check(impl_->tree->caches.empty(), "the caches were withdrawn");
  impl_->tree->cookies.clear();
  impl_->tree->registered.clear();
}

Status FsCache::add_cache(store::Store& store, std::string_view tag) {
  return add_cache(std::shared_ptr<store::Store>(std::shared_ptr<void>(), &store), tag);
}

Status FsCache::add_cache(std::shared_ptr<store::Store> store, std::string_view tag) {
  return add_backend(backend_on(std::move(store)), tag);
}

Status FsCache::add_backend(std::unique_ptr<Backend> backend, std::string_view tag) {
  const std::string name(tag.empty() ? std::string_view(impl_->options.tag) : tag);
  MutexLock lock(impl_->tree->mutex);
  for (const CachePtr& cache : impl_->tree->caches) {
    if (cache->tag == name) return fail(ErrorCode::kInvalid);
  }
  impl_->tree->caches.emplace_back(new Cache(impl_->tree, name, std::move(backend)));
  impl_->tree->n_caches.fetch_add(1);
  trace(Part::kCache, Moment::kWithin, "cache {}: added", name);
  return {};
}

void FsCache::select_cache(const CookieRef& index, std::string_view tag) {
  if (!index) return;
  MutexLock lock(impl_->tree->mutex);
  if (tag.empty()) {
    impl_->tree->selected.erase(index.get());
  } else if (!index->has(kCookieRelinquished)) {
    impl_->tree->selected[index.get()] = tag;
  }
}

std::vector<CacheFigures> FsCache::caches() const {
  std::vector<CacheFigures> all;
  MutexLock lock(impl_->tree->mutex);
  for (const CachePtr& cache : impl_->tree->caches) {
    all.push_back({cache->tag, cache->n_objects, cache->withdrawing});
  }
  return all;
}

void FsCache::withdraw() {
  for (;;) {
    CachePtr cache;
    {
      MutexLock lock(impl_->tree->mutex);
      if (impl_->tree->caches.empty()) return;
      cache = impl_->tree->caches.back();
    }
    impl_->withdraw(*cache);
  }
}

Status FsCache::withdraw(std::string_view tag) {
  CachePtr found;
  {
    MutexLock lock(impl_->tree->mutex);
    for (const CachePtr& cache : impl_->tree->caches) {
      if (cache->tag == tag) found = cache;
    }
  }
  if (!found) return fail(ErrorCode::kNotFound);
  impl_->withdraw(*found);
  return {};
}

void FsCache::Impl::withdraw(Cache& cache) {
  {
    MutexLock lock(tree->mutex);
    // No object is made any more. Whoever withdraws it a second time waits with the first.
    if (!std::exchange(cache.withdrawing, true)) tree->n_caches.fetch_sub(1);
  }
  // A parent that is driven before its children goes in a later round.
  for (std::size_t before = ~std::size_t{0};;) {
    const std::vector<ObjectPtr> all = tree->objects_of(cache);
    if (all.size() >= before || all.empty()) break;
    before = all.size();
    for (const ObjectPtr& object : all) object->raise(Event::kWithdraw);
    for (const ObjectPtr& object : all) object->drive();
  }
  std::unique_ptr<Backend> backend;
  MutexLock lock(tree->mutex);
  while (cache.n_objects > 0 || cache.n_guests > 0) tree->changed.wait(tree->mutex);
  backend = std::move(cache.backend);
  std::erase_if(tree->caches, [&](const CachePtr& at) { return at.get() == &cache; });
  tree->changed.notify_all();
  trace(Part::kCache, Moment::kWithin, "cache {}: withdrawn", cache.tag);
}

// A netfs, or a share below one.
bool FsCache::Impl::is_registered_locked(const Cookie& cookie) const {
  return cookie.is_index() && (cookie.parent == root || cookie.parent->parent == root);
}

Result<CookieRef> FsCache::register_netfs(std::string_view name, std::uint32_t version) {
  std::string aux;
  for (unsigned i = 0; i < 4; ++i) aux += static_cast<char>(version >> (8 * i) & 0xff);
  CookieRef cookie =
      impl_->acquire(impl_->root, kNetfsDefinition, to_bytes(name), to_bytes(aux), ByteCount{0},
                     reinterpret_cast<void*>(std::uintptr_t{version}), 0, Enable::kYes);
  trace(Part::kCache, Moment::kWithin, "netfs {} version {}: {}", name, version,
        cookie ? "registered" : "refused");
  if (!cookie) return fail(ErrorCode::kInvalid);
  return cookie;
}

void FsCache::unregister_netfs(const CookieRef& primary_index) {
  relinquish(primary_index, Retire::kNo);
}

Submitted FsCache::submit(const CookieRef& cookie, Operation& operation) {
  if (!cookie) return Submitted::kNever;
  for (bool tried = false;; tried = true) {
    {
      MutexLock lock(cookie->mutex);
      Object* const object = cookie->object();
      if (object != nullptr && !cookie->has(kCookieInvalidating)) return object->submit(operation);
      if (object != nullptr || tried || !impl_->may_retry_locked(*cookie)) break;
    }
    if (!impl_->retry(*cookie)) break;
  }
  KindCounters& counters = impl_->tree->counters.of(operation.kind);
  counters.submitted.add();
  counters.refused.add();
  return Submitted::kNever;
}

void FsCache::complete(Operation& operation) { operation.object->complete(operation); }
void FsCache::abort(Operation& operation) { operation.object->abort(operation); }
void FsCache::run_again(Operation& operation, OperationType type) {
  operation.object->run_again(operation, type);
}

bool FsCache::cancel(Operation& operation, Cancel what) {
  const OperationState state = operation.state.load(std::memory_order_acquire);
  return (state == OperationState::kPending || state == OperationState::kInProgress) &&
         operation.object->cancel(operation, what);
}

store::Store& FsCache::store_of(const Operation& operation) {
  return *operation.object->cache().backend->store();
}

const boost::intrusive_ptr<store::Object>& FsCache::data_of(const Operation& operation) {
  return operation.object->handle_of_operation();
}

ObjectPtr FsCache::Impl::bring_up(Cookie& cookie, Cache* cache) {
  std::vector<ObjectPtr> chain;
  {
    MutexLock lock(tree->mutex);
    const ObjectPtr object =
        cache ? tree->attach_locked(cookie, *cache) : tree->attach_locked(cookie);
    for (ObjectPtr at = object; at; at = at->parent_locked()) chain.push_back(at);
  }
  for (auto at = chain.rbegin(); at != chain.rend(); ++at) {
    Object& object = **at;
    if (object.is_up()) continue;
    object.kick_and_drive();
    if (!object.is_up()) return nullptr;
  }
  return chain.empty() ? nullptr : chain.front();
}

std::uint32_t FsCache::object_number(const Operation& operation) { return operation.object->id(); }

std::uint32_t FsCache::object_number(const CookieRef& cookie) {
  if (!cookie) return 0;
  MutexLock lock(cookie->mutex);
  const Object* const object = cookie->object();
  return object ? object->id() : 0;
}

IndexPlace FsCache::index_of(const CookieRef& cookie) {
  if (!cookie) return {};
  ObjectPtr object;
  {
    MutexLock lock(cookie->mutex);
    object = cookie->object();
  }
  if (!object || !object->handle_if_up()) object = impl_->bring_up(*cookie);
  if (!object) return {};
  // Under the lock, since a withdrawal takes the backend away.
  MutexLock lock(impl_->tree->mutex);
  const Cache& cache = object->cache();
  if (!cache.backend) return {};
  return {cache.backend->keep_store(), object->handle_if_up()};
}

std::string_view FsCache::state_of(const CookieRef& cookie) const {
  if (!cookie) return "none";
  MutexLock lock(cookie->mutex);
  const Object* const object = cookie->object();
  return object ? table_of(object->state()).short_name : "none";
}

std::string FsCache::stats_text() const {
  Backend::Pages pages;
  {
    MutexLock lock(impl_->tree->mutex);
    for (const CachePtr& cache : impl_->tree->caches) {
      const Backend::Pages more = cache->backend->pages();
      pages.filled += more.filled;
      pages.dropped += more.dropped;
    }
  }
  return cache::stats_text(impl_->tree->counters, pages);
}

std::string FsCache::histogram_text() const {
  return cache::histogram_text(impl_->tree->histograms);
}

void FsCache::register_in(stats::Registry& registry) {
  impl_->tree->counters.register_in(registry);
  registry.add("cache.fill_ns", stats::Unit::kNanoseconds,
               "time of fills, from their submission on", impl_->tree->histograms.fills);
}

Counters& FsCache::counters() { return impl_->tree->counters; }

}  // namespace larder::cache
