// SPDX-License-Identifier: Apache-2.0
// A cache floor without a store: a scripted backend that keeps keys, aux data and sizes in a map,
// fails and calls back when the test says so, and one thread that the test steps.
#pragma once

#include <larder/cookie.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <larder/backend.h>
#include "base/mutex.h"
#include "cache/object.h"
#include "support/sim_clock.h"
#include "support/step_queue.h"

namespace larder::test {

// Knows objects by number only: the handles that it gives out are null, so the store need not
// exist. One key is one object wherever it lies; the tests use each key once.
class ScriptedBackend final : public cache::Backend {
 public:
  struct Kept {
    ObjectType type;
    std::string aux;
    std::uint64_t size;
  };

  store::ObjectRef root() override { return nullptr; }
  Result<store::ObjectRef> find(const store::ObjectRef&, cache::Bytes key) override {
    const std::string name = cache::to_key(key);
    if (on_find) on_find(name);
    MutexLock lock(mutex);
    ++finds;
    if (fail_finds) return fail(ErrorCode::kStoreIo);
    last_found_ = name;
    if (!kept.contains(name)) {
      if ((at_work + "/").find("/" + name + "/") != std::string::npos) outdated.erase(at_work);
      return fail(ErrorCode::kNotFound);
    }
    return store::ObjectRef();
  }
  ObjectRecord record(const store::ObjectRef&) override {
    MutexLock lock(mutex);
    ObjectRecord record;
    // Handles are null, so with many threads this may be of another; or of none.
    const auto found = kept.find(last_found_);
    if (found == kept.end()) return record;
    const Kept& object = found->second;
    record.type = object.type;
    const auto bytes = std::as_bytes(std::span(object.aux));
    record.aux.assign(bytes.begin(), bytes.end());
    record.size = ByteCount{object.size};
    return record;
  }
  Result<store::ObjectRef> create(const store::ObjectRef&, ObjectType type, cache::Bytes key,
                                  cache::Bytes aux, ByteCount size) override {
    MutexLock lock(mutex);
    if (fail_creates) return fail(ErrorCode::kStoreFull);
    kept[cache::to_key(key)] = {type, cache::to_key(aux), size.value()};
    outdated.erase(at_work);
    return store::ObjectRef();
  }
  void update(const store::ObjectRef&, cache::Bytes aux, ByteCount) override {
    if (on_update) on_update();
    MutexLock lock(mutex);
    updates.push_back(cache::to_key(aux));
  }
  void invalidate(const store::ObjectRef&, cache::Bytes aux, ByteCount) override {
    MutexLock lock(mutex);
    outdated.erase(at_work);
    invalidates.push_back(cache::to_key(aux));
  }
  Status attr_changed(const store::ObjectRef&, ByteCount size) override {
    MutexLock lock(mutex);
    if (fail_changes) return fail(ErrorCode::kStoreIo);
    sizes.push_back(size.value());
    return {};
  }
  void retire(const store::ObjectRef&) override {
    MutexLock lock(mutex);
    ++retires;
    outdated.erase(at_work);
  }
  Status rename(const store::ObjectRef&, const store::ObjectRef&, cache::Bytes) override {
    if (fail_renames) return fail(ErrorCode::kStoreIo);
    MutexLock lock(mutex);
    ++renames;
    return {};
  }
  Pages pages() const override { return {}; }
  store::Store* store() override { return nullptr; }

  std::function<void(const std::string&)> on_find;
  std::function<void()> on_update;
  bool fail_finds = false;
  bool fail_creates = false;
  bool fail_renames = false;
  bool fail_changes = false;
  mutable Mutex mutex{Rank::kLeaf};
  std::map<std::string, Kept> kept;
  std::vector<std::string> updates;
  std::vector<std::string> invalidates;
  std::vector<std::uint64_t> sizes;
  int finds = 0, retires = 0, renames = 0;
  // For who says at which place the object is whose machine or operation is at work: where content
  // is stored that must not be served, since it was invalidated or is to be deleted.
  std::string at_work;
  std::set<std::string> outdated;

 private:
  std::string last_found_;
};

inline cache::Bytes bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

// An operation that notes what becomes of it.
struct NotedOperation : cache::Operation {
  explicit NotedOperation(cache::OperationType t = cache::OperationType::kMyThread,
                          cache::Sharing s = cache::Sharing::kShareable,
                          cache::OperationKind k = cache::OperationKind::kRead) {
    type = t;
    sharing = s;
    kind = k;
    run = [](cache::Operation& self) { ++static_cast<NotedOperation&>(self).runs; };
    cancelled = [](cache::Operation& self) { ++static_cast<NotedOperation&>(self).cancels; };
  }
  int runs = 0;
  int cancels = 0;
};

struct World {
  explicit World(cache::FsCacheOptions options = {}) : fs(machine, answer, clock, options) {
    auto made = std::make_unique<ScriptedBackend>();
    backend = made.get();
    if (!fs.add_backend(std::move(made))) std::abort();
    netfs = *fs.register_netfs("posix", 1);
  }
  ~World() {
    settle();
    fs.withdraw();
    settle();
  }

  cache::CookieRef index(const cache::CookieRef& parent, const std::string& key) {
    return fs.acquire(parent, index_definition, bytes_of(key), {}, ByteCount{0}, nullptr, 2);
  }
  cache::CookieRef data(const cache::CookieRef& parent, const std::string& key,
                        const std::string& aux = "v1") {
    return fs.acquire(parent, data_definition, bytes_of(key), bytes_of(aux), ByteCount{1}, this, 3);
  }
  // Until no queue holds anything.
  void settle() {
    while (machine.run_all() + answer.run_all() > 0) {
    }
  }
  static cache::ObjectPtr object_of(const cache::CookieRef& cookie) {
    MutexLock lock(cookie->mutex);
    return cookie->object();
  }
  static cache::Tree& tree_of(const cache::CookieRef& cookie) { return object_of(cookie)->tree(); }

  SimClock clock;
  StepQueue machine;
  StepQueue answer;
  cache::CookieDefinition index_definition{"test.index", ObjectType::kIndex, nullptr};
  cache::CookieDefinition data_definition{"test.data", ObjectType::kData,
                                          [](void* self, cache::Bytes, ByteCount) {
                                            return static_cast<World*>(self)->answer_to_check;
                                          }};
  cache::AuxCheck answer_to_check = cache::AuxCheck::kOkay;
  cache::FsCache fs;
  ScriptedBackend* backend = nullptr;
  cache::CookieRef netfs;
};

}  // namespace larder::test
