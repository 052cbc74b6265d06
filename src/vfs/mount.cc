// SPDX-License-Identifier: Apache-2.0
// Puts a mount together, floor by floor, and takes it apart in the other order.
#include <larder/mount.h>

#include <fmt/format.h>
#include <larder/log.h>
#include <larder/store.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "io/thread_pool.h"
#include "netfs/posix.h"
#include "netfs/share_pool.h"
#include "vfs/host_impl.h"
#include "vfs/metrics.h"
#include "vfs/store_path.h"
#include "vfs/vfs.h"

namespace larder {
namespace {

ShareCallsOptions share_options(const MountOptions& options) {
  return {.deadline_ns = options.share_deadline_ns, .slow_ns = options.share_slow_ns};
}

ByteCount memory_of(const MountOptions& options) {
  if (options.memory != ByteCount{0}) return options.memory;
  constexpr std::uint64_t kLeast = 64 << 20, kMost = 1 << 30;
  const auto machine = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                       static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return ByteCount{std::clamp(machine / 16, kLeast, kMost)};
}

struct ShareAtMount {
  Attributes root;
  struct statvfs figures {};
};

}  // namespace

// In the order in which it comes up; close() goes through it backwards.
struct Mount::Impl {
  Impl(Host& h, MountOptions o) : host(h.impl()), options(std::move(o)), policy(options.settings) {}

  SetUp<std::monostate> open();
  SetUp<std::monostate> open_share();
  SetUp<std::monostate> enter_cache();
  void leave_cache();
  void add_control_files();
  std::string stats_text() const;
  std::string stats_json() const;
  std::string metrics() const;
  std::string status_text() const;
  std::string transport_name() const {
    MutexLock lock(transport_mutex);
    return transport;
  }

  Host::Impl& host;
  const MountOptions options;
  const Clock& clock = host.clock;
  const Nanoseconds began_mono_ns = clock.mono_ns();
  Policy policy;
  stats::Registry registry;
  std::vector<std::string> notes;
  TransportStats transport_stats;
  mutable Mutex transport_mutex{Rank::kLeaf};
  std::string transport GUARDED_BY(transport_mutex) = "none";

  netfs::SharePool share_pool{{.threads = options.share_threads}};
  std::unique_ptr<ShareCalls> share;
  ShareAtMount at_mount;
  std::string netfs_entered, share_entered;  // names at the host; empty: not entered
  cache::CookieRef share_cookie;
  std::unique_ptr<Control> control;
  std::unique_ptr<Vfs> vfs;
};

Mount::Mount(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Mount::~Mount() = default;

SetUp<std::unique_ptr<Mount>> Mount::open(Host& host, const MountOptions& options) {
  auto impl = std::make_unique<Impl>(host, options);
  TRY_OK(impl->open());
  return std::unique_ptr<Mount>(new Mount(std::move(impl)));
}

Filesystem& Mount::filesystem() { return *impl_->vfs; }
void Mount::set_kernel_cache(KernelCache& kernel) { impl_->vfs->set_kernel_cache(kernel); }
void Mount::set_pass_through(std::shared_ptr<PassThrough> kernel) {
  impl_->vfs->set_pass_through(std::move(kernel));
}
void Mount::set_transport(std::string name) {
  MutexLock lock(impl_->transport_mutex);
  impl_->transport = std::move(name);
}
TransportStats& Mount::transport_stats() { return impl_->transport_stats; }
const std::vector<std::string>& Mount::notes() const { return impl_->notes; }

SetUp<std::monostate> Mount::Impl::open() {
  if (options.creds == Creds::kCaller && ::geteuid() != 0)
    return complain(ErrorCode::kPermission,
                    "creds=caller needs root, which alone may call the share as somebody else; "
                    "leave it out, or mount as root");
  SetUp<std::monostate> opened = open_share();
  if (opened) opened = enter_cache();
  if (!opened) {
    if (share) share->drain();
    leave_cache();
    share_pool.stop();
    return opened;
  }
  control = std::make_unique<Control>(options.control, ::getuid(), ::getgid(), clock);
  vfs = std::make_unique<Vfs>(
      VfsParts{*share, *host.cache, share_cookie, host.answer, host.timers, clock, policy,
               *control},
      VfsOptions{
          .share = options.share,
          .share_slow_ns = options.share_slow_ns,
          .memory_bytes = memory_of(options).value(),
          .writeback_cache = options.writeback_cache,
          .share_locks = options.locks == Locks::kShare,
          .direct_io = options.direct_io,
          .store_reads = options.store_reads,
          .skip_flush = options.kernel.skip_flush,
          .cache_directories = options.kernel.cache_directories,
          .gives_files_away = ::geteuid() == 0 && options.creds == Creds::kLarder,
          .as_caller = options.creds == Creds::kCaller,
          .nocache = {options.nocache, share->traits().folds_case ? PathPatterns::Case::kFolds
                                                                  : PathPatterns::Case::kTells},
          .passes_through = wants_pass_through(options),
          .store_deadline_ns = options.store_deadline_ns,
          .verify = options.verify},
      at_mount.root, at_mount.figures);
  vfs->register_in(registry);
  transport_stats.register_in(registry);
  registry.add("stage.share_ns", stats::Unit::kNanoseconds, "time of calls to the share",
               share->counters().latency_ns);
  share->counters().register_in(registry);
  host.register_stores(registry);
  host.cache->register_in(registry);
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
  share = std::make_unique<ShareCalls>(std::move(netfs), share_pool, host.answer, host.timers,
                                       clock, share_options(options));
  return std::monostate{};
}

SetUp<std::monostate> Mount::Impl::enter_cache() {
  static const cache::CookieDefinition kShareDefinition{"larder.share", ObjectType::kIndex,
                                                        nullptr};
  TRY(const std::vector<std::string> lines, host.join(options));
  notes.insert(notes.end(), lines.begin(), lines.end());
  const Traits& traits = share->traits();
  const std::string key = share_key(traits.share);
  TRY_OK(host.enter_share(key, options.mountpoint));
  share_entered = key;
  const Result<cache::CookieRef> netfs = host.enter_netfs(traits.netfs, traits.version);
  if (!netfs)
    return complain(ErrorCode::kStoreIo, "the cache cannot be set up: " + to_text(netfs.error()));
  netfs_entered = traits.netfs;
  share_cookie = host.cache->acquire(*netfs, kShareDefinition, std::as_bytes(std::span(key)), {},
                                     ByteCount{0}, nullptr, at_mount.root.inode);
  host.cache->select_cache(share_cookie, policy.root().select_cache);
  return std::monostate{};
}

void Mount::Impl::leave_cache() {
  if (share_cookie)
    host.cache->relinquish(std::exchange(share_cookie, nullptr), cache::Retire::kNo);
  if (!netfs_entered.empty()) host.leave_netfs(netfs_entered);
  if (!share_entered.empty()) host.leave_share(share_entered);
}

void Mount::stop_answering_later() {
  impl_->vfs->end_waiting();
  impl_->share->drain();
}

void Mount::close() {
  Impl& m = *impl_;
  m.share->drain();
  m.vfs->close();
  m.leave_cache();
  m.share_pool.stop();
}

const std::string& Mount::mountpoint() const { return impl_->options.mountpoint; }
Pager Mount::control_file(std::string_view name) const { return impl_->control->text_of(name); }

// -- control files

void Mount::Impl::add_control_files() {
  control->add("stats", 0444, [this] { return stats_text(); });
  control->add("stats.json", 0444, [this] { return stats_json(); });
  control->add("status", 0444, [this] { return status_text(); });
  control->add("version", 0444, [] { return fmt::format("larder {}\n", kVersion); });
  control->add("options", 0444, [this] {
    MountOptions now = options;
    now.debug = debug_mask();  // which larderctl may have changed
    return options_text(now);
  });
  control->add("busy", 0400, [this] { return vfs->busy_text(); });
  control->add("histogram", 0400, [this] { return host.cache->histogram_text(); });
  control->add_filtered("objects", 0400,
                        [this](std::string_view letters) { return host.cache->objects(letters); });
  control->add_paged("ops", 0400, [this] { return host.cache->operations(); });
  control->add("metrics", 0444, [this] { return metrics(); });
  control->add("netfs", 0400, [this] { return host.cache->netfs_text(); });
  control->add("verify", 0400, [this] { return host.verify(); });
  control->add("caches", 0400, [this] { return host.caches_text(); });
}

// The kernel's lines first, then ours.
std::string Mount::Impl::stats_text() const {
  return host.cache->stats_text() + "\n" + registry.to_text();
}

namespace {

// "Objects: alc=3 nal=0" -> {"Objects": {"alc": 3, "nal": 0}}; lines of one name are one.
nlohmann::json fscache_json(const std::string& stats) {
  nlohmann::json json = nlohmann::json::object();
  std::istringstream lines(stats);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;  // the heading
    const std::string name = line.substr(0, line.find_first_of(" :"));
    std::istringstream figures(line.substr(colon + 1));
    for (std::string figure; figures >> figure;) {
      const std::size_t equals = figure.find('=');
      json[name][figure.substr(0, equals)] = std::stoull(figure.substr(equals + 1));
    }
  }
  return json;
}

}  // namespace

std::string Mount::Impl::stats_json() const {
  const ShareIdentity& identity = share->traits().share;
  nlohmann::json json = nlohmann::json::parse(registry.to_json());
  json["fscache"] = fscache_json(host.cache->stats_text());
  json["version"] = kVersion;
  json["uptime_s"] = (clock.mono_ns() - began_mono_ns) / kSecond;
  json["mountpoint"] = options.mountpoint;
  json["transport"] = transport_name();
  json["engine"] = host.engine.engine->name();
  json["share"] = {{"path", options.share},
                   {"identity", fmt::format("{} {}{}{}", identity.type, identity.source,
                                            identity.below.empty() ? "" : " ", identity.below)},
                   {"state", larder::to_text(share->state())},
                   {"netfs", share->traits().netfs}};
  for (const HostCache& open : host.caches()) {
    const nlohmann::json one = {{"tag", open.tag},
                                {"path", open.path},
                                {"state", to_text(open.store->state())},
                                {"uuid", open.store->uuid()}};
    if (json["store"].is_null()) json["store"] = one;
    json["caches"].push_back(one);
  }
  return json.dump(1) + "\n";
}

std::string Mount::Impl::metrics() const {
  MetricsOf about{.mountpoint = options.mountpoint,
                  .version = kVersion,
                  .uptime_ns = clock.mono_ns() - began_mono_ns,
                  .share_state = larder::to_text(share->state()),
                  .stores = {}};
  for (const HostCache& open : host.caches()) {
    about.stores.emplace_back(open.tag, to_text(open.store->state()));
  }
  return metrics_text(about, registry);
}

std::string Mount::Impl::status_text() const {
  std::string text =
      fmt::format("share {} is {}\ntransport {}\nengine {}\n", options.share,
                  larder::to_text(share->state()), transport_name(), host.engine.reason);
  for (const HostCache& open : host.caches()) {
    text += fmt::format("store {} is {}\n{}", open.path, to_text(open.store->state()),
                        open.store->to_text());
  }
  return text;
}

}  // namespace larder
