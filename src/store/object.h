// SPDX-License-Identifier: Apache-2.0
// Extent and Object: what the index is made of.
//
// Extent: a run of pages of one object, the blocks that they lie in, a CRC32C each. It never
// changes: to cut it is to put its pieces in its place. `pins` counts the reads that are under way
// on its blocks; a read pins under the object's lock and lets go without any, so an extent that has
// left its object under that lock and shows no pins will never have one again. A piece of an extent
// that was pinned when it was cut knows that one as its `parent`: the same blocks are being read
// through it.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/flat_hash_map.h>
#include <larder/records.h>
#include <larder/store.h>
#include <larder/units.h>

#include <atomic>
#include <boost/intrusive/list.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/mutex.h"
#include "store/format.h"

namespace larder::store {

struct Extent;
void intrusive_ptr_add_ref(Extent* extent);
void intrusive_ptr_release(Extent* extent);
using ExtentRef = boost::intrusive_ptr<Extent>;

struct Extent {
  using Order =
      boost::intrusive::list_member_hook<boost::intrusive::link_mode<boost::intrusive::safe_link>>;

  PageRange range;
  std::uint64_t block = kNoBlock;  // of the data area; kNoBlock: zeros
  std::unique_ptr<std::uint32_t[]> sums;
  ExtentRef parent;
  Object* owner = nullptr;  // valid while it is in the owner's extents
  Order order;              // by age, for eviction; the index's
  std::atomic<std::uint32_t> refs{0};
  std::atomic<std::uint32_t> pins{0};

  bool zeros() const { return block == kNoBlock; }
  std::uint32_t pages() const { return static_cast<std::uint32_t>(range.count.value()); }
  // False only where no read can be under way on its blocks, now or later (see above).
  bool pinned() const {
    for (const Extent* e = this; e != nullptr; e = e->parent.get()) {
      if (e->pins.load(std::memory_order_acquire) != 0) return true;
    }
    return false;
  }
};

// A fill between its start and its end, in its object's list: drop, truncate and later fills of the
// same pages revoke it.
struct FillInFlight {
  boost::intrusive::list_member_hook<> hook;
  PageRange range;
  bool revoked = false;
};

// Strings are looked up by views, without a copy.
struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>{}(text);
  }
};

class Object {
 public:
  Object(ObjectId an_id, ObjectType a_type) : id(an_id), type(a_type) {}
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  using Children = absl::flat_hash_map<std::string, ObjectRef, TextHash, std::equal_to<>>;
  using Names = absl::flat_hash_map<std::string, NameRecord, TextHash, std::equal_to<>>;
  using Fills = boost::intrusive::list<
      FillInFlight, boost::intrusive::member_hook<
                        FillInFlight, boost::intrusive::list_member_hook<>, &FillInFlight::hook>>;
  using Extents = absl::btree_map<std::uint64_t, ExtentRef>;  // by first page

  // Constant.
  const ObjectId id;
  const ObjectType type;

  // Own synchronisation. They change under the index's lock only.
  std::atomic<std::uint64_t> generation{1};
  std::atomic<bool> retired{false};
  std::atomic<std::uint32_t> refs{0};

  // Under the index's lock.
  bool in_session = false;
  std::uint64_t mark = 0;  // in session: the record that made the pages of before obsolete; 0: none
  ByteCount size{};
  // The file size at which the cached page with the file's end was filled; 0: no such page.
  ByteCount tail_size{};
  Object* parent = nullptr;
  std::string key;
  std::string aux;
  std::unique_ptr<Children> children;
  std::unique_ptr<Names> names;
  std::unique_ptr<StoredValue> value;
  Fills fills;

  // Changed under both locks, so that either is enough to read.
  mutable Mutex mutex{Rank::kStoreObject};
  Extents extents;
  std::uint64_t cached_pages = 0;

  // The extent that holds `page`, or null. REQUIRES: a lock that is enough to read.
  Extent* find(PageIndex page) const;
};

}  // namespace larder::store
