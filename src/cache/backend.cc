// SPDX-License-Identifier: Apache-2.0
#include <larder/backend.h>

#include <utility>

namespace larder::cache {
namespace {

class OnStore final : public Backend {
 public:
  explicit OnStore(std::shared_ptr<store::Store> store) : keep_(std::move(store)), store_(*keep_) {}

  store::ObjectRef root() override { return store_.root(); }
  Result<store::ObjectRef> find(const store::ObjectRef& parent, Bytes key) override {
    return store_.find(parent, key);
  }
  ObjectRecord record(const store::ObjectRef& object) override { return store_.record(object); }
  bool has_pages(const store::ObjectRef& object) override {
    return store_.cached_pages(object).value() > 0;
  }
  Result<store::ObjectRef> create(const store::ObjectRef& parent, ObjectType type, Bytes key,
                                  Bytes aux, ByteCount size) override {
    return store_.create(parent, type, key, aux, size);
  }
  void update(const store::ObjectRef& object, Bytes aux, ByteCount size) override {
    store_.update(object, aux, size);
  }
  void invalidate(const store::ObjectRef& object, Bytes aux, ByteCount size) override {
    store_.invalidate(object, aux, size);
  }
  Status attr_changed(const store::ObjectRef& object, ByteCount size) override {
    store_.truncate(object, size);
    return {};
  }
  void retire(const store::ObjectRef& object) override { store_.retire(object); }
  Status rename(const store::ObjectRef& object, const store::ObjectRef& new_parent,
                Bytes new_key) override {
    return store_.rename(object, new_parent, new_key);
  }
  Pages pages() const override {
    const store::Counters& counters = store_.counters();
    return {counters.fill_bytes.value() / kPageSize,
            (counters.evicted_bytes.value() + counters.quarantined_bytes.value()) / kPageSize};
  }
  store::Store* store() override { return &store_; }
  std::shared_ptr<store::Store> keep_store() override { return keep_; }

 private:
  const std::shared_ptr<store::Store> keep_;
  store::Store& store_;
};

}  // namespace

std::unique_ptr<Backend> backend_on(std::shared_ptr<store::Store> store) {
  return std::make_unique<OnStore>(std::move(store));
}

}  // namespace larder::cache
