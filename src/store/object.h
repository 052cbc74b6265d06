// SPDX-License-Identifier: Apache-2.0
// Object: what the index is made of, as small as it can be: a store has millions of them.
//
// Its key and aux data lie in one allocation. What few objects have (children, names, a value,
// fills in flight, a write session) is allocated when it is needed and freed when it is not.
#pragma once

#include <absl/container/btree_set.h>
#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
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
#include <vector>

#include "base/mutex.h"
#include "store/extent.h"
#include "store/format.h"

namespace larder::store {

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

// The key and the aux data of an object, each of at most 255 bytes.
class Labels {
 public:
  std::string_view key() const { return {bytes_.get() + 2, length(0)}; }
  std::string_view aux() const { return {bytes_.get() + 2 + length(0), length(1)}; }
  void set(std::string_view key, std::string_view aux);

 private:
  std::size_t length(std::size_t of) const { return static_cast<unsigned char>(bytes_[of]); }
  // Both lengths, then both of them.
  std::unique_ptr<char[]> bytes_ = std::make_unique<char[]>(2);
};

class Object {
 public:
  Object(ObjectId an_id, ObjectType a_type) : id(an_id), type(a_type) {}
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  struct KeyHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view key) const { return TextHash{}(key); }
    std::size_t operator()(const ObjectRef& object) const { return TextHash{}(object->key()); }
  };
  struct KeyEqual {
    using is_transparent = void;
    static std::string_view key(std::string_view key) { return key; }
    static std::string_view key(const ObjectRef& object) { return object->key(); }
    template <class A, class B>
    bool operator()(const A& a, const B& b) const {
      return key(a) == key(b);
    }
  };
  using Children = absl::flat_hash_set<ObjectRef, KeyHash, KeyEqual>;
  using Names = absl::flat_hash_map<std::string, NameRecord, TextHash, std::equal_to<>>;
  using Fills = boost::intrusive::list<
      FillInFlight, boost::intrusive::member_hook<
                        FillInFlight, boost::intrusive::list_member_hook<>, &FillInFlight::hook>>;
  using Extents = absl::btree_set<Extent, ByFirstPage>;

  // What an index object may have.
  struct Folder {
    Children children;
    Names names;
  };

  // What an object has that is being filled or written.
  struct Busy {
    Fills fills;
    // In session: the record that made the pages of before obsolete; 0: there were none.
    std::uint64_t mark = 0;
    std::vector<PageRange> changed;  // since the session began, at most kManyRanges
  };
  static constexpr std::size_t kManyRanges = 64;

  // Constant.
  const ObjectId id;
  std::uint32_t slot = 0;  // in the index, while it is in it

  // Own synchronisation. They change under the index's lock only.
  std::atomic<std::uint32_t> refs{0};
  std::atomic<std::uint64_t> generation{1};
  const ObjectType type;
  std::atomic<bool> retired{false};

  // Its extents stay for as long as others can go. Changed under the index's lock.
  std::atomic<bool> pinned{false};

  // Under the index's lock.
  bool in_session : 1 = false;
  bool consulted : 1 = false;  // its names or value, since eviction came by

  // Behind the last read, its low bits: who goes on there reads on, and does not come back. Under
  // its own lock.
  std::uint32_t read_up_to = 0;

  // Under the index's lock.
  Labels labels;
  ByteCount size{};
  // The file size at which the cached page with the file's end was filled; 0: no such page.
  ByteCount tail_size{};
  Object* parent = nullptr;
  std::unique_ptr<Folder> folder;
  std::unique_ptr<StoredValue> value;
  std::unique_ptr<Busy> busy;

  // Changed under both locks, so that either is enough to read.
  Extents extents;
  std::uint64_t cached_pages = 0;

  Busy& made_busy() {
    if (!busy) busy = std::make_unique<Busy>();
    return *busy;
  }
  void tidy_busy() {
    if (busy && busy->fills.empty() && !in_session) busy.reset();
  }
  // In session: these pages are not what they were.
  void note_change(PageRange range);
  void end_session() {
    in_session = false;
    if (busy) busy->mark = 0;
    if (busy) busy->changed.clear();
    tidy_busy();
  }

  std::string_view key() const { return labels.key(); }
  std::string_view aux() const { return labels.aux(); }
  // Of the extents: one lock serves many objects, and no two are held at once.
  Mutex& mutex() const;

  // The extent that holds `page`, or null. REQUIRES: a lock that is enough to read. Valid for as
  // long as it is held.
  const Extent* find(PageIndex page) const;
  Extents::const_iterator find_from(PageIndex page) const;  // the first that ends behind `page`
};
static_assert(sizeof(Object) <= 120);

}  // namespace larder::store
