// SPDX-License-Identifier: Apache-2.0
// Puts a mount together, floor by floor, and takes it apart in the other order.
#include <larder/mount.h>

#include <fmt/format.h>
#include <larder/store.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "io/thread_pool.h"
#include "netfs/posix.h"
#include "netfs/share_pool.h"
#include "vfs/metrics.h"
#include "vfs/store_path.h"
#include "vfs/vfs.h"

namespace larder {

void TransportStats::register_in(stats::Registry& registry) {
  using stats::Unit;
  registry.add("fuse.ring_entries", Unit::kGauge, "entries that the rings have", ring_entries);
  registry.add("fuse.copied_bytes", Unit::kBytes, "bytes of answers that were not in their place",
               copied_bytes);
  registry.add("fuse.refused", Unit::kCount, "requests that found no room to wait in", refused);
  registry.add("fuse.stale_answers", Unit::kCount, "answers that came twice or too late",
               stale_answers);
}

namespace {

constexpr Nanoseconds kLockPatience_ns = 2 * kSecond;
constexpr unsigned kMachineThreads = 4;
constexpr unsigned kAnswerThreads = 2;

ShareCallsOptions share_options(const MountOptions& options) {
  return {.deadline_ns = options.share_deadline_ns, .slow_ns = options.share_slow_ns};
}

struct ShareAtMount {
  Attributes root;
  struct statvfs figures {};
};

}  // namespace

// In the order in which it comes up; close() goes through it backwards.
struct Mount::Impl {
  explicit Impl(MountOptions o) : options(std::move(o)), policy(options.settings) {}

  SetUp<std::monostate> open();
  SetUp<std::monostate> open_share();
  SetUp<store::Device> open_device();
  SetUp<std::monostate> open_store();
  SetUp<std::monostate> open_cache();
  void add_control_files();
  std::string stats_text() const;
  std::string stats_json() const;
  std::string metrics() const;
  std::string status_text() const;
  std::string transport_name() const {
    MutexLock lock(transport_mutex);
    return transport;
  }

  const MountOptions options;
  const Clock& clock = system_clock();
  const Nanoseconds began_mono_ns = clock.mono_ns();
  Policy policy;
  stats::Registry registry;
  std::vector<std::string> notes;
  TransportStats transport_stats;
  mutable Mutex transport_mutex{Rank::kLeaf};
  std::string transport GUARDED_BY(transport_mutex) = "none";

  netfs::SharePool share_pool{{.threads = options.share_threads}};
  ThreadPool machine{{.name = "machine", .threads = kMachineThreads}};
  ThreadPool answer{{.name = "answer", .threads = kAnswerThreads}};
  Timers timers{clock};
  std::unique_ptr<ShareCalls> share;
  ShareAtMount at_mount;
  OpenedEngine engine;
  std::string store_path;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<cache::FsCache> cache;
  cache::CookieRef netfs_cookie;
  cache::CookieRef share_cookie;
  std::unique_ptr<Control> control;
  std::unique_ptr<Vfs> vfs;
};

Mount::Mount(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Mount::~Mount() = default;

SetUp<std::unique_ptr<Mount>> Mount::open(const MountOptions& options) {
  auto impl = std::make_unique<Impl>(options);
  TRY_OK(impl->open());
  return std::unique_ptr<Mount>(new Mount(std::move(impl)));
}

Filesystem& Mount::filesystem() { return *impl_->vfs; }
void Mount::set_kernel_cache(KernelCache& kernel) { impl_->vfs->set_kernel_cache(kernel); }
void Mount::set_transport(std::string name) {
  MutexLock lock(impl_->transport_mutex);
  impl_->transport = std::move(name);
}
TransportStats& Mount::transport_stats() { return impl_->transport_stats; }
const std::vector<std::string>& Mount::notes() const { return impl_->notes; }

SetUp<std::monostate> Mount::Impl::open() {
  set_debug_mask(options.debug);
  timers.start();
  SetUp<std::monostate> opened = open_share();
  if (opened) opened = open_store();
  if (opened) opened = open_cache();
  if (!opened) {
    if (share) share->drain();
    if (cache) cache->withdraw();
    if (store) store->close();
    answer.stop();
    machine.stop();
    timers.stop();
    return opened;
  }
  control = std::make_unique<Control>(options.control, ::getuid(), ::getgid(), clock);
  memo::set_size_factor(options.cache_factor);
  vfs = std::make_unique<Vfs>(
      VfsParts{*share, *cache, share_cookie, answer, timers, clock, policy, *control},
      VfsOptions{.share = options.share,
                 .share_slow_ns = options.share_slow_ns,
                 .direct_io = options.direct_io,
                 .gives_files_away = ::geteuid() == 0},
      at_mount.root, at_mount.figures);
  vfs->register_in(registry);
  transport_stats.register_in(registry);
  share->counters().register_in(registry);
  store->counters().register_in(registry);
  cache->register_in(registry);
  add_control_files();
  return std::monostate{};
}

SetUp<std::monostate> Mount::Impl::open_share() {
  netfs::PosixOptions posix;
  posix.share = options.share;
  posix.share_id = options.share_id;
  posix.inodes = options.share_inodes;
  posix.own_mountpoint =
      options.share == options.mountpoint ? netfs::OwnMountpoint::kYes : netfs::OwnMountpoint::kNo;
  posix.open_within_ns = options.share_deadline_ns;
  TRY(std::shared_ptr<Netfs> netfs, netfs::open_posix(posix, share_pool));
  // The root and its figures, so that neither `ls` nor `df` starts from nothing.
  using First = Result<ShareAtMount>;
  std::optional<First> first = share_pool.run_and_wait<First>(
      [netfs]() -> First {
        TRY(const Attributes root, netfs->stat("", Freshness::kServer));
        TRY(const struct statvfs figures, netfs->stat_fs());
        return ShareAtMount{root, figures};
      },
      options.share_deadline_ns);
  if (!first)
    return complain(ErrorCode::kShareDeadline,
                    fmt::format("the share {} did not answer within {}; is its server reachable?",
                                options.share, duration_text(options.share_deadline_ns)));
  if (!*first)
    return complain(
        first->error().code,
        fmt::format("the share {} cannot be read: {}", options.share, to_text(first->error())),
        first->error().sys_errno);
  at_mount = **first;
  if (posix.own_mountpoint == netfs::OwnMountpoint::kYes)
    notes.push_back(
        fmt::format("{} is covered by this mount: another mount there, below it, will not be seen",
                    options.share));
  share = std::make_unique<ShareCalls>(std::move(netfs), share_pool, answer, timers, clock,
                                       share_options(options));
  return std::monostate{};
}

// The last mount on this store may be on its way out: umount(8) returns before its daemon has
// ended.
SetUp<store::Device> Mount::Impl::open_device() {
  const store::DeviceOptions wanted{.path = store_path,
                                    .size = options.size,
                                    .preallocate = options.preallocate,
                                    .forbidden = {options.share, options.mountpoint}};
  const Nanoseconds until_ns = clock.mono_ns() + kLockPatience_ns;
  while (true) {
    SetUp<store::Device> device = store::open_device(wanted);
    const bool locked = !device && device.error().error.code == ErrorCode::kStoreLocked;
    if (!locked || clock.mono_ns() > until_ns) return device;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

SetUp<std::monostate> Mount::Impl::open_store() {
  const bool chosen = !options.store.empty();
  TRY(store_path, chosen ? SetUp<std::string>(options.store) : default_store_path(options.share));
  TRY(store::Device device, open_device());
  TRY(engine, open_engine({.choice = options.engine}));
  notes.push_back(fmt::format("the store is {}, {}", device.path, size_text(device.size)));
  if (!device.note.empty()) notes.push_back(device.note);
  notes.push_back("reads and writes it through " + engine.reason);
  TRY(store, store::Store::open(std::move(device),
                                {.commit_ns = options.commit_ns,
                                 .culling = options.culling,
                                 .deadline_ns = options.store_deadline_ns,
                                 .index_memory = options.index_memory},
                                *engine.engine, machine, clock, Seed{}));
  return std::monostate{};
}

SetUp<std::monostate> Mount::Impl::open_cache() {
  static const cache::CookieDefinition kShareDefinition{"larder.share", ObjectType::kIndex,
                                                        nullptr};
  cache = std::make_unique<cache::FsCache>(machine, answer, clock,
                                           cache::FsCacheOptions{.tag = options.tag});
  const Status added = cache->add_cache(*store);
  const Traits& traits = share->traits();
  Result<cache::CookieRef> registered = cache->register_netfs(traits.netfs, traits.version);
  if (!added || !registered)
    return complain(ErrorCode::kStoreIo, "the cache cannot be set up: " +
                                             to_text(added ? registered.error() : added.error()));
  netfs_cookie = *registered;
  const std::string key = share_key(traits.share);
  share_cookie = cache->acquire(netfs_cookie, kShareDefinition, std::as_bytes(std::span(key)), {},
                                ByteCount{0}, nullptr, at_mount.root.inode);
  return std::monostate{};
}

void Mount::stop_answering_later() { impl_->share->drain(); }

void Mount::close() {
  Impl& m = *impl_;
  m.share->drain();
  m.vfs->close();
  if (m.share_cookie)
    m.cache->relinquish(std::exchange(m.share_cookie, nullptr), cache::Retire::kNo);
  m.cache->withdraw();
  m.store->close();
  m.answer.stop();
  m.machine.stop();
  m.timers.stop();
  m.share_pool.stop();
}

// -- control files
// -----------------------------------------------------------------------------------------

void Mount::Impl::add_control_files() {
  control->add("stats", 0444, [this] { return stats_text(); });
  control->add("stats.json", 0444, [this] { return stats_json(); });
  control->add("status", 0444, [this] { return status_text(); });
  control->add("version", 0444, [] { return fmt::format("larder {}\n", kVersion); });
  control->add("options", 0444, [this] { return options_text(options); });
  control->add("histogram", 0400, [this] { return cache->histogram_text(); });
  control->add_filtered("objects", 0400,
                        [this](std::string_view letters) { return cache->objects(letters); });
  control->add_paged("ops", 0400, [this] { return cache->operations(); });
  control->add("metrics", 0444, [this] { return metrics(); });
  control->add("netfs", 0400, [this] { return cache->netfs_text(); });
}

// The kernel's lines first, then ours.
std::string Mount::Impl::stats_text() const {
  return cache->stats_text() + "\n" + registry.to_text();
}

namespace {

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

}  // namespace

std::string Mount::Impl::stats_json() const {
  const ShareIdentity& identity = share->traits().share;
  nlohmann::json json = nlohmann::json::parse(registry.to_json());
  json["version"] = kVersion;
  json["uptime_s"] = (clock.mono_ns() - began_mono_ns) / kSecond;
  json["mountpoint"] = options.mountpoint;
  json["transport"] = transport_name();
  json["engine"] = engine.engine->name();
  json["share"] = {{"path", options.share},
                   {"identity", fmt::format("{} {}{}{}", identity.type, identity.source,
                                            identity.below.empty() ? "" : " ", identity.below)},
                   {"state", larder::to_text(share->state())},
                   {"netfs", share->traits().netfs}};
  json["store"] = {
      {"path", store_path}, {"state", to_text(store->state())}, {"uuid", store->uuid()}};
  return json.dump(1) + "\n";
}

std::string Mount::Impl::metrics() const {
  return metrics_text({.mountpoint = options.mountpoint,
                       .version = kVersion,
                       .uptime_ns = clock.mono_ns() - began_mono_ns,
                       .share_state = larder::to_text(share->state()),
                       .store_state = to_text(store->state())},
                      registry);
}

std::string Mount::Impl::status_text() const {
  return fmt::format("share {} is {}\nstore {} is {}\ntransport {}\nengine {}\n{}", options.share,
                     larder::to_text(share->state()), store_path, to_text(store->state()),
                     transport_name(), engine.reason, store->to_text());
}

}  // namespace larder
