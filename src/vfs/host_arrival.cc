// SPDX-License-Identifier: Apache-2.0
// A cache comes: with the first mount, or while mounts go on.
//
// Its store is opened with no lock held: a disk that is slow, or hangs, holds up neither another
// mount that comes nor whoever asks about the caches. Meanwhile its tag is taken, and the lock on
// its file, so that nobody else comes with either.
#include <fmt/format.h>
#include <larder/log.h>

#include <utility>

#include "store/place.h"
#include "vfs/host_impl.h"

namespace larder {

SetUp<std::string> Host::Impl::add_cache(const CacheSpec& wanted) {
  std::vector<std::string> forbidden;
  {
    MutexLock lock(mutex_);
    if (!cache) return complain(ErrorCode::kInvalid, "nothing is mounted yet");
    TRY_OK(expect_locked(wanted));
    forbidden = forbidden_;
  }
  SetUp<Opened> opened = open_store(wanted, forbidden);
  const std::shared_ptr<store::Store> store = opened ? opened->store : nullptr;
  const auto arrive = [&] {
    MutexLock lock(mutex_);
    return arrive_locked(wanted, std::move(opened));
  };
  SetUp<std::string> arrived = arrive();
  if (!arrived && store) store->close();
  return arrived;
}

SetUp<std::monostate> Host::Impl::expect_locked(const CacheSpec& wanted) {
  if (closing_) return complain(ErrorCode::kShutdown, "this larder is about to end");
  for (const HostCache& open : caches()) {
    if (open.tag == wanted.tag)
      return complain(
          ErrorCode::kInvalid,
          fmt::format("there is a cache {} already, {}: choose another tag, or withdraw "
                      "that one first",
                      open.tag, open.path));
    if (open.path == wanted.store)
      return complain(
          ErrorCode::kInvalid,
          fmt::format("{} is the store of the cache {}: choose another one, or withdraw "
                      "that cache first",
                      open.path, open.tag));
  }
  if (!coming_.insert(wanted.tag).second)
    return complain(
        ErrorCode::kInvalid,
        fmt::format("a cache {} is being added just now: choose another tag, or wait", wanted.tag));
  return std::monostate{};
}

SetUp<Host::Impl::Opened> Host::Impl::open_store(const CacheSpec& wanted,
                                                 const std::vector<std::string>& forbidden) {
  const store::DeviceOptions device_options{.path = wanted.store,
                                            .size = wanted.size,
                                            .preallocate = options.preallocate,
                                            .forbidden = forbidden};
  TRY(store::Device device,
      store::wait_for_lock(clock, [&] { return store::open_device(device_options); }));
  Opened opened;
  opened.note = fmt::format("the store is {}, {}", device.path, size_text(device.size));
  if (!device.note.empty()) opened.note += "; " + device.note;
  const bool resizes = wanted.size.value() != 0 && wanted.size != device.size;
  TRY(opened.store, store::Store::open(
                        std::move(device),
                        {.commit_ns = options.commit_ns,
                         .culling = options.culling,
                         .deadline_ns = options.store_deadline_ns,
                         .index_memory = options.index_memory,
                         .sums = options.check_sums ? store::Sums::kChecked : store::Sums::kIgnored,
                         .expire_ns = options.expire_ns,
                         .min_free = options.min_free},
                        *engine.engine, machine, clock, Seed{}));
  // Another size= than it has. Where that cannot be, it is used as it is.
  if (resizes) {
    const SetUp<std::string> done = opened.store->resize(wanted.size);
    opened.note += done ? "; " + *done
                        : fmt::format("; size={} is not applied to it: {}", size_text(wanted.size),
                                      done.error().line);
  }
  return opened;
}

SetUp<std::string> Host::Impl::arrive_locked(const CacheSpec& wanted, SetUp<Opened> opened) {
  coming_.erase(wanted.tag);
  arrived_.notify_all();
  if (!opened) return tl::make_unexpected(opened.error());
  // What may have come about while it was opened.
  if (closing_) return complain(ErrorCode::kShutdown, "this larder is about to end");
  TRY(const std::string place, store::real_place(wanted.store));
  TRY_OK(store::check_forbidden(place, forbidden_));
  {
    MutexLock lock(list_mutex_);
    caches_.push_back(
        {wanted.tag, wanted.store, opened->store, figures_of(opened->store->counters())});
  }
  const Status added = cache->add_cache(opened->store, wanted.tag);
  check(added.has_value(), "a tag that the host does not have is free");
  log(LogLevel::kInfo, "cache {}: {}", wanted.tag, opened->note);
  return std::move(opened->note);
}

// Behind the last mount: none comes any more.
void Host::Impl::wait_for_arrivals() {
  MutexLock lock(mutex_);
  closing_ = true;
  while (!coming_.empty()) arrived_.wait(mutex_);
}

}  // namespace larder
