// SPDX-License-Identifier: Apache-2.0
// The host of several mounts, without any: a cache that is withdrawn while something is under way
// in it that does not end.
#include <larder/host.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "support/catch.h"
#include "vfs/host_impl.h"

using namespace larder;

namespace {

struct Folder {
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "larder-host-XXXXXX").string();
    check(::mkdtemp(name.data()) != nullptr, "a temporary folder");
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};

MountOptions options_in(const Folder& folder, const std::string& mount) {
  MountOptions options;
  options.share = folder.path / "share";
  options.mountpoint = folder.path / mount;
  options.store = folder.path / "store";
  options.size = ByteCount{16u << 20};
  options.engine = EngineChoice::kThreads;
  return options;
}

// On a queue's thread, once; what it does is done.
void wait_for_look_up(cache::FsCache& cache, const cache::CookieRef& cookie) {
  while (cache.state_of(cookie) != "ACTV") std::this_thread::yield();
}

}  // namespace

TEST_CASE("a withdrawal that does not end holds up neither who asked for it nor another mount") {
  const Folder folder;
  Host host;
  Host::Impl& inside = host.impl();
  REQUIRE(inside.join(options_in(folder, "first")));
  cache::FsCache& cache = *inside.cache;
  static const cache::CookieDefinition kKind{"test.file", ObjectType::kData, nullptr};
  cache::CookieRef netfs = *inside.enter_netfs("test", 1);
  const std::string key = "f";
  cache::CookieRef file =
      cache.acquire(netfs, kKind, std::as_bytes(std::span(key)), {}, ByteCount{1}, nullptr, 1);
  wait_for_look_up(cache, file);
  auto hangs = std::make_unique<cache::Operation>();  // on a disk that does not answer
  REQUIRE(cache.submit(file, *hangs) == cache::Submitted::kNow);

  std::atomic<int> gone{0};
  inside.withdrawal_patience_ns = 20 * kMillisecond;
  const SetUp<std::string> first = host.withdraw_cache("larder", [&] { ++gone; });
  REQUIRE_FALSE(first.has_value());
  CHECK(first.error().line.find("larder is withdrawn from all mounts, but") == 0);
  CHECK(gone == 0);
  // Nothing is held: others come in, look, and ask again.
  CHECK(inside.join(options_in(folder, "second")));
  CHECK(inside.caches_text().find("withdrawing") != std::string::npos);
  CHECK_FALSE(host.withdraw_cache("larder", [&] { ++gone; }).has_value());
  CHECK(host.stores().size() == 1);
  cache::Operation other;
  CHECK(cache.submit(file, other) == cache::Submitted::kNever);  // and nobody waits for it

  cache.complete(*hangs);
  hangs.reset();
  while (gone == 0) std::this_thread::yield();
  CHECK(host.stores().empty());
  CHECK(host.withdraw_cache("larder", [] {}).error().line ==
        "there is no cache larder; there is none");
  // It comes back, and goes as one does that nothing holds.
  REQUIRE(host.add_cache({"larder", folder.path / "store", ByteCount{16u << 20}}));
  inside.withdrawal_patience_ns = 60 * kSecond;
  CHECK(host.withdraw_cache("larder", [&] { ++gone; }).has_value());
  CHECK(gone == 2);
  cache.relinquish(std::move(file), cache::Retire::kNo);
  netfs = nullptr;
  inside.leave_netfs("test");
  host.close();
}
