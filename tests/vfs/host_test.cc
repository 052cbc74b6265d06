// SPDX-License-Identifier: Apache-2.0
// The host of several mounts, without any: a cache that is withdrawn, and a process that ends,
// while something is under way that does not end; a cache that comes slowly.
#include <fmt/format.h>
#include <larder/device.h>
#include <larder/host.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <optional>
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

// Its thread may be late.
void wait_for_withdrawal(Host::Impl& host) {
  while (host.caches_text().find("withdrawing") == std::string::npos) std::this_thread::yield();
}

const cache::CookieDefinition kKind{"test.file", ObjectType::kData, nullptr};

// A host with a mount, of which an operation is on a disk that does not answer.
struct Hanging {
  Hanging() {
    REQUIRE(inside.join(options_in(folder, "first")));
    netfs = *inside.enter_netfs("test", 1);
    const std::string key = "f";
    file = inside.cache->acquire(netfs, kKind, std::as_bytes(std::span(key)), {}, ByteCount{1},
                                 nullptr, 1);
    wait_for_look_up(*inside.cache, file);
    REQUIRE(inside.cache->submit(file, *hangs) == cache::Submitted::kNow);
  }
  void answer() {
    inside.cache->complete(*hangs);
    hangs.reset();
  }
  void leave() {
    inside.cache->relinquish(std::move(file), cache::Retire::kNo);
    netfs = nullptr;
    inside.leave_netfs("test");
  }

  const Folder folder;
  Host host;
  Host::Impl& inside = host.impl();
  std::unique_ptr<cache::Operation> hangs = std::make_unique<cache::Operation>();
  cache::CookieRef netfs, file;
};

}  // namespace

TEST_CASE("a withdrawal that does not end holds up neither who asked for it nor another mount") {
  Hanging hanging;
  Host& host = hanging.host;
  Host::Impl& inside = hanging.inside;
  cache::FsCache& cache = *inside.cache;
  const Folder& folder = hanging.folder;

  std::atomic<int> gone{0};
  inside.withdrawal_patience_ns = 20 * kMillisecond;
  const SetUp<std::string> first = host.withdraw_cache("larder", [&] { ++gone; });
  REQUIRE_FALSE(first.has_value());
  CHECK(first.error().line.find("larder is withdrawn from all mounts, but") == 0);
  CHECK(gone == 0);
  // Nothing is held: others come in, look, and ask again.
  CHECK(inside.join(options_in(folder, "second")));
  wait_for_withdrawal(inside);
  CHECK_FALSE(host.withdraw_cache("larder", [&] { ++gone; }).has_value());
  CHECK(host.stores().size() == 1);
  cache::Operation other;
  CHECK(cache.submit(hanging.file, other) == cache::Submitted::kNever);  // and nobody waits for it

  hanging.answer();
  while (gone == 0) std::this_thread::yield();
  CHECK(host.stores().empty());
  CHECK(host.withdraw_cache("larder", [] {}).error().line ==
        "there is no cache larder; there is none");
  // It comes back, and goes as one does that nothing holds.
  REQUIRE(host.add_cache({"larder", folder.path / "store", ByteCount{16u << 20}}));
  inside.withdrawal_patience_ns = 60 * kSecond;
  CHECK(host.withdraw_cache("larder", [&] { ++gone; }).has_value());
  CHECK(gone == 2);
  hanging.leave();
  CHECK(host.close());
}

TEST_CASE("caches: a line for each, whatever becomes of it") {
  Hanging hanging;
  const std::string path = hanging.folder.path / "store";
  const std::string size = size_text(hanging.inside.caches().front().store->capacity());
  const auto line = [&](const std::string& state) {
    return fmt::format("larder           {:<11}        3        3          0 {:>10} {}\n", state,
                       size, path);
  };
  const std::string head =
      "TAG              STATE        OBJECTS   STORED       USED       SIZE STORE\n"
      "================ =========== ======== ======== ========== ========== =====\n";
  CHECK(hanging.inside.caches_text() == head + line("open"));
  hanging.inside.withdrawal_patience_ns = kMillisecond;
  CHECK_FALSE(hanging.host.withdraw_cache("larder", [] {}).has_value());
  wait_for_withdrawal(hanging.inside);
  CHECK(hanging.inside.caches_text() == head + line("withdrawing"));
  CHECK(hanging.host.make_room(ByteCount{1u << 30}).error().line ==
        "larder is left as it is: it holds " + size + " in all, and 1G cannot be free there");
  CHECK(*hanging.host.make_room(ByteCount{1u << 20}) == "larder has " + size + " free of " + size);
  hanging.answer();
  hanging.leave();
  CHECK(hanging.host.close());
  CHECK(hanging.inside.caches_text() == head);
}

TEST_CASE("the end of a process waits for a store that hangs, but not for ever") {
  Hanging hanging;
  hanging.inside.options.store_deadline_ns = hanging.inside.ending_patience_ns = 20 * kMillisecond;
  std::atomic<bool> unmounted{false};
  CHECK_FALSE(hanging.host.ends([&] {  // as a mount that waits for its fills
    while (hanging.hangs->state != cache::OperationState::kComplete) std::this_thread::yield();
    unmounted = true;
  }));
  CHECK_FALSE(hanging.host.close());  // at once: it is known
  CHECK(hanging.host.stores().size() == 1);
  hanging.inside.cache->complete(*hanging.hangs);
  while (!unmounted) std::this_thread::yield();
  hanging.hangs.reset();
  hanging.leave();
  hanging.inside.ending_patience_ns = 60 * kSecond;
  while (!hanging.host.close()) std::this_thread::yield();
  CHECK(hanging.host.stores().empty());
}

TEST_CASE("the withdrawal of all caches at the end is given up where one hangs, and ends later") {
  Hanging hanging;
  hanging.inside.options.store_deadline_ns = hanging.inside.ending_patience_ns = 20 * kMillisecond;
  CHECK_FALSE(hanging.host.close());
  wait_for_withdrawal(hanging.inside);
  CHECK(hanging.host.add_cache({"late", hanging.folder.path / "late", ByteCount{16u << 20}})
            .error()
            .line == "this larder is about to end");
  hanging.answer();
  hanging.leave();
  hanging.inside.ending_patience_ns = 60 * kSecond;
  while (!hanging.host.close()) std::this_thread::yield();
  CHECK(hanging.host.stores().empty());
}

TEST_CASE("a cache whose store is long in opening holds up no mount that comes") {
  const Folder folder;
  Host host;
  Host::Impl& inside = host.impl();
  REQUIRE(inside.join(options_in(folder, "first")));
  std::filesystem::create_directory(folder.path / "share");
  // Whoever adds the tag a second time is told so; where it is not taken, the place is refused.
  const auto is_told = [](const SetUp<std::string>& added) {
    return !added && added.error().line.find("is being added just now") != std::string::npos;
  };
  const auto is_coming = [&] {
    return is_told(host.add_cache({"late", folder.path / "share/s", ByteCount{16u << 20}}));
  };
  store::DeviceOptions late;
  late.path = folder.path / "late";
  late.size = ByteCount{16u << 20};
  bool was_held_up = true;
  for (int attempt = 0; was_held_up && attempt < 20; ++attempt) {
    // Somebody has its lock, so it is waited for.
    std::optional<store::Device> locked = std::move(*store::open_device(late));
    std::atomic<bool> ended{false};
    std::thread adds([&] {
      while (is_told(host.add_cache({"late", late.path, late.size}))) {
      }
      ended = true;
    });
    while (!ended && !is_coming()) std::this_thread::yield();
    CHECK(inside.join(options_in(folder, "second")));
    CHECK(host.stores().size() == 1);
    was_held_up = !is_coming();
    locked.reset();
    adds.join();
    if (host.stores().size() == 2) CHECK(host.withdraw_cache("late", [] {}).has_value());
  }
  CHECK_FALSE(was_held_up);
  CHECK(host.close());
}
