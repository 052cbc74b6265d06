// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <larder/host.h>
#include <larder/log.h>
#include <larder/mount_table.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <iterator>
#include <thread>
#include <utility>

#include "memo/size_factor.h"
#include "store/place.h"
#include "vfs/host_impl.h"
#include "vfs/store_path.h"

namespace larder {
namespace {

// Options that are the process's: a later mount cannot have its own.
constexpr auto kOfHost = std::to_array<std::string_view>(
    {"tag", "cache", "commit", "engine", "preallocate", "brun", "bcull", "bstop", "objects", "frun",
     "fcull", "fstop", "min_free", "expire", "index_memory", "store_deadline", "cache_factor",
     "check_sums", "log"});

// The caches that these options ask for, the first first.
SetUp<std::vector<CacheSpec>> wanted_caches(const MountOptions& options) {
  std::vector<CacheSpec> all;
  if (!options.store.empty() || options.caches.empty()) {
    TRY(const std::string path, Host::store_of(options));
    all.push_back({options.tag, path, options.size});
  }
  all.insert(all.end(), options.caches.begin(), options.caches.end());
  return all;
}

}  // namespace

std::vector<stats::Registry::Entry> figures_of(store::Counters& counters) {
  stats::Registry registry;
  counters.register_in(registry);
  return registry.entries();
}

std::string_view to_text(store::State state) {
  switch (state) {
    case store::State::kOpen:
      return "open";
    case store::State::kBypass:
      return "bypass";
    case store::State::kClosed:
      return "closed";
  }
  return "";
}

SetUp<std::string> Host::store_of(const MountOptions& options) {
  if (!options.store.empty()) return options.store;
  if (!options.caches.empty()) return options.caches.front().store;
  return default_store_path(options.share);
}

std::vector<std::string> Host::stores() const {
  std::vector<std::string> paths;
  for (const HostCache& cache : impl_->caches()) paths.push_back(cache.path);
  return paths;
}

SetUp<std::string> Host::add_cache(const CacheSpec& wanted) { return impl_->add_cache(wanted); }
SetUp<std::string> Host::make_room(ByteCount wanted) { return impl_->make_room(wanted); }
SetUp<std::string> Host::resize(const std::string& tag, ByteCount size) {
  TRY(const HostCache cache, impl_->cache_of(tag));
  return cache.store->resize(size);
}

SetUp<std::string> Host::clear(const std::string& tag) {
  TRY(const HostCache cache, impl_->cache_of(tag));
  const ByteCount gone = cache.store->clear();
  return fmt::format("{} is empty: {} MiB were let go", cache.tag, gone.value() >> 20);
}
SetUp<std::string> Host::withdraw_cache(const std::string& tag, Callback<> gone) {
  return impl_->withdraw_cache(tag, std::move(gone));
}

// -- coming in

SetUp<std::vector<std::string>> Host::Impl::join(const MountOptions& wanted) {
  MutexLock lock(mutex_);
  return cache ? fit_locked(wanted) : open_locked(wanted);
}

SetUp<std::vector<std::string>> Host::Impl::open_locked(const MountOptions& wanted) {
  if (!wanted.object_culling.makes_sense()) {
    return complain(ErrorCode::kInvalid,
                    fmt::format("frun={},fcull={},fstop={}: these are percentages of objects= that "
                                "are free, and fstop < fcull < frun < 100",
                                wanted.object_culling.run, wanted.object_culling.cull,
                                wanted.object_culling.stop));
  }
  TRY(const std::vector<CacheSpec> all, wanted_caches(wanted));
  forbidden_ = {wanted.share, wanted.mountpoint};
  options = wanted;
  TRY(engine, open_engine({.choice = wanted.engine}));
  memo::set_size_factor(wanted.cache_factor);
  set_debug_mask(wanted.debug);
  cache =
      std::make_unique<cache::FsCache>(machine, answer, clock,
                                       cache::FsCacheOptions{.tag = wanted.tag,
                                                             .objects = wanted.objects,
                                                             .frun = wanted.object_culling.run,
                                                             .fcull = wanted.object_culling.cull,
                                                             .fstop = wanted.object_culling.stop});
  std::vector<std::string> notes;
  for (const CacheSpec& spec : all) {
    TRY_OK(expect_locked(spec));
    SetUp<Opened> opened = open_store(spec, forbidden_);
    TRY(std::string note, arrive_locked(spec, std::move(opened)));
    notes.push_back(all.size() == 1 ? std::move(note) : "cache " + spec.tag + ": " + note);
  }
  notes.push_back(fmt::format("reads and writes {} through {}", all.size() == 1 ? "it" : "them",
                              engine.reason));
  return notes;
}

SetUp<std::vector<std::string>> Host::Impl::fit_locked(const MountOptions& wanted) {
  const MountOptions defaults;
  for (const OptionSpec& spec : option_table()) {
    if (std::find(kOfHost.begin(), kOfHost.end(), spec.name) == kOfHost.end()) continue;
    const std::string value = spec.get(wanted);
    if (value == spec.get(options) || value == spec.get(defaults)) continue;
    return complain(
        ErrorCode::kInvalid,
        fmt::format("the store is open already, by the larder that mounts {}, with {}={}: leave "
                    "{}={} out, or give this mount a store of its own",
                    mounts_locked(), spec.name, spec.get(options), spec.name, value));
  }
  for (const HostCache& open : caches()) {
    TRY(const std::string place, store::real_place(open.path));
    TRY_OK(store::check_forbidden(place, {wanted.share, wanted.mountpoint}));
  }
  if (wanted.debug != 0) set_debug_mask(wanted.debug);
  forbidden_.push_back(wanted.share);
  forbidden_.push_back(wanted.mountpoint);
  TRY(const std::string path, Host::store_of(wanted));
  return std::vector<std::string>{
      fmt::format("shares the store {} with the larder that mounts {}", path, mounts_locked())};
}

// Those of this moment; the first may be gone.
std::string Host::Impl::mounts_locked() const {
  std::string all;
  for (const auto& [key, mountpoint] : shares_) all += (all.empty() ? "" : ", ") + mountpoint;
  return all.empty() ? options.mountpoint : all;
}

Result<cache::CookieRef> Host::Impl::enter_netfs(const std::string& name, std::uint32_t version) {
  MutexLock lock(mutex_);
  Registered& registered = netfses_[name];
  if (registered.mounts == 0) {
    TRY(registered.cookie, cache->register_netfs(name, version));
    registered.version = version;
  }
  if (registered.version != version) return fail(ErrorCode::kInvalid);
  ++registered.mounts;
  return registered.cookie;
}

void Host::Impl::leave_netfs(const std::string& name) {
  MutexLock lock(mutex_);
  const auto found = netfses_.find(name);
  if (--found->second.mounts > 0) return;
  cache->unregister_netfs(found->second.cookie);
  netfses_.erase(found);
}

SetUp<std::monostate> Host::Impl::enter_share(const std::string& key,
                                              const std::string& mountpoint) {
  // What is unmounted already is about to leave: umount(8) does not wait for that.
  const Nanoseconds until_ns = clock.mono_ns() + store::kLockPatience_ns;
  while (true) {
    std::string there;
    {
      MutexLock lock(mutex_);
      const auto [found, is_new] = shares_.try_emplace(key, mountpoint);
      if (is_new) return std::monostate{};
      there = found->second;
    }
    if (type_mounted_at(there) == "fuse.larder" || clock.mono_ns() > until_ns)
      return complain(
          ErrorCode::kInvalid,
          fmt::format("this share is mounted at {} already, through the same store: use `mount "
                      "--bind {}`, or give this mount a share_id= of its own to cache it twice",
                      there, there));
    std::this_thread::sleep_for(store::kLockStep);
  }
}

void Host::Impl::leave_share(const std::string& key) {
  MutexLock lock(mutex_);
  shares_.erase(key);
}

// -- caches

std::vector<HostCache> Host::Impl::caches() const {
  MutexLock lock(list_mutex_);
  return caches_;
}

// A cache that can never have so much free is left as it is: for a slip in the unit nobody wants to
// lose all that is cached.
SetUp<std::string> Host::Impl::make_room(ByteCount wanted) {
  std::string text;
  bool is_done = false;
  for (const HostCache& open : caches()) {
    const ByteCount capacity = open.store->capacity();
    text += (text.empty() ? "" : "; ") + open.tag;
    if (wanted > capacity) {
      text += fmt::format(" is left as it is: it holds {} in all, and {} cannot be free there",
                          size_text(capacity), size_text(wanted));
      continue;
    }
    const ByteCount free = open.store->make_room(wanted);
    is_done = true;
    text += fmt::format(" has {} free of {}", size_text(ByteCount{free.value() >> 10 << 10}),
                        size_text(capacity));
  }
  if (text.empty()) text = "there is no cache";
  if (!is_done) return complain(ErrorCode::kInvalid, text);
  return text;
}

std::string Host::Impl::tags() const {
  std::string tags;
  for (const HostCache& open : caches()) tags += (tags.empty() ? "" : ", ") + open.tag;
  return tags.empty() ? "none" : tags;
}

SetUp<HostCache> Host::Impl::cache_named(const std::string& tag) const {
  for (const HostCache& open : caches())
    if (open.tag == tag) return open;
  return complain(ErrorCode::kInvalid,
                  fmt::format("there is no cache {}; there is {}", tag, tags()));
}

SetUp<HostCache> Host::Impl::cache_of(const std::string& tag) const {
  const std::vector<HostCache> all = caches();
  if (all.empty()) return complain(ErrorCode::kInvalid, "there is no cache");
  if (!tag.empty()) return cache_named(tag);
  if (all.size() == 1) return all.front();
  return complain(ErrorCode::kInvalid,
                  fmt::format("there are several caches ({}): name one with --tag", tags()));
}

std::uint64_t Host::Impl::figure(std::size_t index) const {
  MutexLock lock(list_mutex_);
  std::uint64_t sum = index < gone_.size() ? gone_[index] : 0;
  for (const HostCache& open : caches_) sum += open.figures[index].read();
  return sum;
}

void Host::Impl::register_stores(stats::Registry& registry) {
  verification.register_in(registry);
  store::Counters names;
  const std::vector<stats::Registry::Entry> entries = figures_of(names);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    registry.add(entries[i].name, entries[i].unit, entries[i].description,
                 [this, i] { return figure(i); });
  }
}

std::string Host::Impl::verify() {
  std::vector<std::shared_ptr<store::Store>> stores;
  for (const HostCache& open : caches()) stores.push_back(open.store);
  verification.start(std::move(stores));
  return verification.to_text();
}

std::string Host::Impl::caches_text() const {
  std::string text =
      "TAG              STATE        OBJECTS   STORED       USED       SIZE STORE\n"
      "================ =========== ======== ======== ========== ========== =====\n";
  const std::vector<HostCache> open = caches();
  for (const cache::CacheFigures& figures : cache->caches()) {
    const auto found = std::find_if(open.begin(), open.end(),
                                    [&](const HostCache& c) { return c.tag == figures.tag; });
    if (found == open.end()) continue;  // it comes or goes just now
    const store::Counters& counters = found->store->counters();
    fmt::format_to(
        std::back_inserter(text), "{:<16} {:<11} {:8} {:8} {:>10} {:>10} {}\n", figures.tag,
        figures.withdrawing ? "withdrawing" : to_text(found->store->state()), figures.objects,
        counters.objects.value(), size_text(ByteCount{counters.used_bytes.value()}),
        size_text(ByteCount{counters.capacity_bytes.value()}), found->path);
  }
  return text;
}

}  // namespace larder
