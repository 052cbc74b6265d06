// SPDX-License-Identifier: Apache-2.0
#include <larder/host.h>

#include <fmt/format.h>
#include <larder/log.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>
#include <utility>

#include "memo/size_factor.h"
#include "store/place.h"
#include "vfs/host_impl.h"
#include "vfs/store_path.h"

namespace larder {
namespace {

constexpr Nanoseconds kLockPatience_ns = 2 * kSecond;
constexpr unsigned kMachineThreads = 4;
constexpr unsigned kAnswerThreads = 2;

// Options that are the process's: a later mount cannot have its own.
constexpr auto kOfHost = std::to_array<std::string_view>({"tag", "commit", "engine", "preallocate",
                                                          "brun", "bcull", "bstop", "index_memory",
                                                          "store_deadline", "cache_factor", "log"});

}  // namespace

Host::Host() : impl_(std::make_unique<Impl>()) {}
Host::~Host() = default;

Host::Impl::Impl()
    : machine({.name = "machine", .threads = kMachineThreads}),
      answer({.name = "answer", .threads = kAnswerThreads}) {
  timers.start();
}

SetUp<std::string> Host::store_of(const MountOptions& options) {
  if (!options.store.empty()) return options.store;
  return default_store_path(options.share);
}

std::vector<std::string> Host::stores() const {
  if (!impl_->store) return {};
  return {impl_->store_path};
}

void Host::close() {
  Impl& host = *impl_;
  if (host.cache) host.cache->withdraw();
  if (host.store) host.store->close();
  host.answer.stop();
  host.machine.stop();
  host.timers.stop();
}

// -- coming in
// ---------------------------------------------------------------------------------------------

SetUp<std::vector<std::string>> Host::Impl::join(const MountOptions& wanted) {
  MutexLock lock(mutex_);
  return store ? fit_locked(wanted) : open_locked(wanted);
}

// The last mount on this store may be on its way out: umount(8) returns before its daemon has
// ended.
SetUp<store::Device> Host::Impl::open_device(const MountOptions& wanted) {
  const store::DeviceOptions device_options{.path = store_path,
                                            .size = wanted.size,
                                            .preallocate = wanted.preallocate,
                                            .forbidden = {wanted.share, wanted.mountpoint}};
  const Nanoseconds until_ns = clock.mono_ns() + kLockPatience_ns;
  while (true) {
    SetUp<store::Device> device = store::open_device(device_options);
    const bool locked = !device && device.error().error.code == ErrorCode::kStoreLocked;
    if (!locked || clock.mono_ns() > until_ns) return device;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

SetUp<std::vector<std::string>> Host::Impl::open_locked(const MountOptions& wanted) {
  std::vector<std::string> notes;
  TRY(store_path, store_of(wanted));
  TRY(store::Device device, open_device(wanted));
  TRY(engine, open_engine({.choice = wanted.engine}));
  notes.push_back(fmt::format("the store is {}, {}", device.path, size_text(device.size)));
  if (!device.note.empty()) notes.push_back(device.note);
  notes.push_back("reads and writes it through " + engine.reason);
  TRY(store, store::Store::open(std::move(device),
                                {.commit_ns = wanted.commit_ns,
                                 .culling = wanted.culling,
                                 .deadline_ns = wanted.store_deadline_ns,
                                 .index_memory = wanted.index_memory},
                                *engine.engine, machine, clock, Seed{}));
  memo::set_size_factor(wanted.cache_factor);
  cache = std::make_unique<cache::FsCache>(machine, answer, clock,
                                           cache::FsCacheOptions{.tag = wanted.tag});
  const Status added = cache->add_cache(*store);
  check(bool(added), "a new host has no cache yet");
  options = wanted;
  set_debug_mask(wanted.debug);
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
        fmt::format("the store {} is open already, by the larder that mounts {}, with {}={}: leave "
                    "{}={} out, or give this mount a store of its own",
                    store_path, options.mountpoint, spec.name, spec.get(options), spec.name,
                    value));
  }
  if (wanted.debug != 0) set_debug_mask(wanted.debug);
  TRY(const std::string place, store::real_place(store_path));
  TRY_OK(store::check_forbidden(place, {wanted.share, wanted.mountpoint}));
  return std::vector<std::string>{
      fmt::format("shares the store {} with the mount at {}", store_path, options.mountpoint)};
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
  MutexLock lock(mutex_);
  const auto [found, is_new] = shares_.try_emplace(key, mountpoint);
  if (is_new) return std::monostate{};
  return complain(
      ErrorCode::kInvalid,
      fmt::format("this share is mounted at {} already, through the same store: use `mount --bind "
                  "{}`, or give this mount a share_id= of its own to cache it twice",
                  found->second, found->second));
}

void Host::Impl::leave_share(const std::string& key) {
  MutexLock lock(mutex_);
  shares_.erase(key);
}

}  // namespace larder
