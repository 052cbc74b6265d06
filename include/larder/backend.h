// SPDX-License-Identifier: Apache-2.0
// Backend: what the cache floor asks of the store that backs an object, and nothing else of the
// store. The one production implementation hands each call on (src/cache/backend.cc); tests and
// larder-bench put a scripted one in its place, so that each state of the machine can be reached,
// and measured, without a device.
//
// Thread: every call from any thread; the machine makes them with no lock held.
#pragma once

#include <larder/records.h>
#include <larder/result.h>
#include <larder/store.h>
#include <larder/units.h>

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace larder::cache {

using Bytes = std::span<const std::byte>;

class Backend {
 public:
  virtual ~Backend() = default;

  virtual store::ObjectRef root() = 0;
  // Errors: kNotFound is "not there", any other one that the store cannot say.
  virtual Result<store::ObjectRef> find(const store::ObjectRef& parent, Bytes key) = 0;
  virtual ObjectRecord record(const store::ObjectRef& object) = 0;
  // Is any page of it cached? For choosing what to close, so a guess will do.
  virtual bool has_pages(const store::ObjectRef&) { return true; }
  virtual Result<store::ObjectRef> create(const store::ObjectRef& parent, ObjectType type,
                                          Bytes key, Bytes aux, ByteCount size) = 0;
  virtual void update(const store::ObjectRef& object, Bytes aux, ByteCount size) = 0;
  virtual void invalidate(const store::ObjectRef& object, Bytes aux, ByteCount size) = 0;
  // The file behind the object has another size by our own doing.
  virtual Status attr_changed(const store::ObjectRef& object, ByteCount size) = 0;
  virtual void retire(const store::ObjectRef& object) = 0;
  virtual Status rename(const store::ObjectRef& object, const store::ObjectRef& new_parent,
                        Bytes new_key) = 0;
  // What the pages of `stats` are counted from.
  struct Pages {
    std::uint64_t filled = 0;
    std::uint64_t dropped = 0;
  };
  virtual Pages pages() const = 0;
  // Null where there is none.
  virtual store::Store* store() = 0;
  // The same, for who may go on using it when the cache was withdrawn. Null where there is none.
  virtual std::shared_ptr<store::Store> keep_store() { return nullptr; }
};

std::unique_ptr<Backend> backend_on(std::shared_ptr<store::Store> store);

}  // namespace larder::cache
