// SPDX-License-Identifier: Apache-2.0
// A cache floor on a real store, on a simulated device and one thread.
#pragma once

#include <larder/buffer.h>
#include <larder/cookie.h>
#include <larder/store.h>

#include <memory>
#include <string>

#include "support/catch.h"
#include "support/sim_clock.h"
#include "support/sim_engine.h"
#include "support/step_queue.h"

namespace larder::test {

using namespace larder::cache;

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// The version that the netfs knows: stored aux data that differ are obsolete.
struct File {
  std::string version;
  static AuxCheck check(void* self, std::span<const std::byte> aux, ByteCount) {
    const std::string& version = static_cast<File*>(self)->version;
    const std::string stored(reinterpret_cast<const char*>(aux.data()), aux.size());
    return stored == version ? AuxCheck::kOkay : AuxCheck::kObsolete;
  }
};

inline const CookieDefinition kIndexKind{"test.index", ObjectType::kIndex, nullptr};
inline const CookieDefinition kFileKind{"test.file", ObjectType::kData, File::check};

class Rig {
 public:
  explicit Rig(FsCacheOptions with = {}) : options(std::move(with)) { start(); }
  ~Rig() { stop(); }

  void start(std::uint32_t netfs_version = 1) {
    store::Device device;
    device.size = engine->image().size();
    device.path = "simulated";
    store::Options of_store;
    of_store.commit_by = store::CommitBy::kSync;
    auto opened = store::Store::open(std::move(device), of_store, through ? *through : *engine,
                                     machine, clock, Seed{7});
    REQUIRE(opened);
    store = std::move(*opened);
    fs = std::make_unique<FsCache>(machine, answer, clock, options);
    REQUIRE(fs->add_cache(*store));
    netfs = *fs->register_netfs("posix", netfs_version);
    share = fs->acquire(netfs, kIndexKind, bytes_of("share"), {}, ByteCount{0}, nullptr, 1);
  }
  void stop() {
    if (!fs) return;
    settle();
    fs->withdraw();
    settle();
    share = netfs = nullptr;
    fs.reset();
    store->close();
    store.reset();
  }
  void restart(std::uint32_t netfs_version = 1) {
    stop();
    engine = std::make_unique<SimEngine>(engine->image());
    start(netfs_version);
  }
  void settle() {
    while (machine.run_all() + answer.run_all() > 0) {
    }
  }

  CookieRef acquire(const std::string& key) {
    CookieRef cookie = fs->acquire(share, kFileKind, bytes_of(key), bytes_of(file.version),
                                   ByteCount{kPageSize * 4}, &file, 2);
    settle();
    return cookie;
  }
  // Fills four pages as a fill operation does; the store's answer.
  Status fill(const CookieRef& cookie, std::uint64_t generations_old = 0) {
    Operation operation;
    operation.kind = OperationKind::kFill;
    if (fs->submit(cookie, operation) != Submitted::kNow) return larder::fail(ErrorCode::kNoBufs);
    AlignedBuffer buffer(4 * kPageSize);
    for (std::byte& byte : buffer.span()) byte = std::byte{7};
    struct Filling : store::Fill {
      Status status = larder::fail(ErrorCode::kCancelled);
    } filling;
    filling.object = FsCache::data_of(operation);
    filling.generation = FsCache::store_of(operation).generation(filling.object) - generations_old;
    filling.first = PageIndex{0};
    filling.data = buffer.span();
    filling.file_size = ByteCount{4 * kPageSize};
    filling.done = [](store::Fill& self, Status status) {
      static_cast<Filling&>(self).status = status;
    };
    FsCache::store_of(operation).fill(filling);
    settle();
    filling.object = nullptr;
    fs->complete(operation);
    return filling.status;
  }
  // How many of the first four pages a read operation finds.
  std::uint64_t cached(const CookieRef& cookie) {
    Operation operation;
    operation.kind = OperationKind::kRead;
    if (fs->submit(cookie, operation) != Submitted::kNow) return 0;
    AlignedBuffer buffer(4 * kPageSize);
    const PageCount found = FsCache::store_of(operation).read_now(
        FsCache::data_of(operation), {PageIndex{0}, PageCount{4}}, buffer.span());
    fs->complete(operation);
    if (found.value() > 0) CHECK(buffer.span()[0] == std::byte{7});
    return found.value();
  }

  const FsCacheOptions options;
  SimClock clock;
  StepQueue machine;
  StepQueue answer;
  std::unique_ptr<SimEngine> engine = std::make_unique<SimEngine>(store::kSmallestStore);
  IoEngine* through = nullptr;  // to it, for who watches; from the next start on
  std::unique_ptr<store::Store> store;
  std::unique_ptr<FsCache> fs;
  CookieRef netfs;
  CookieRef share;
  File file{"v1"};
};

}  // namespace larder::test
