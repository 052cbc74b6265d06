// SPDX-License-Identifier: Apache-2.0
// Flights and the sequence guard: results that are still being computed, and what was invalidated
// since.
//
// A *flight* is one computation of one key (a look-up, a listing, the attributes of a file) that
// runs on the share while any number of callers wait for it. The first caller is its leader and
// must land it; those who come meanwhile join it. What lands is told to all and kept by nobody
// here: keeping is the store's business, and it may only keep what no invalidation has touched
// since the flight began. That is what the *sequence guard* knows.
//
// The guard numbers keys and all prefixes of keys: a key is a path of parts (file id, "names",
// "a.txt"). begin(key) gives a stamp; invalidate(prefix) counts up the number of that node of the
// tree; a stamp is unchanged while its key and all of its ancestors still have the numbers that it
// saw. So one log file that is written all the time keeps only its own fetches out, and one call
// drops a whole directory.
//
// Invariants of the guard:
//   S1 a stamp is unchanged if and only if no prefix of its key was invalidated since its begin();
//      the key itself and the empty key count as prefixes
//   S2 numbers only rise while somebody may remember them, so it is enough to compare their sum
//      along the path
//   S3 a node exists exactly while a stamp is out for its key or for one below: memory is bounded
//      by the stamps that are out, and to invalidate what nobody holds a stamp of costs a look and
//      leaves nothing
//   S4 keep_if_unchanged() runs its function with invalidations held off: an invalidation comes
//      either before, and then nothing is kept, or after, and then it finds what was kept. Whoever
//      invalidates calls invalidate() first and drops what is kept second
//
// Invariants of flights (src/memo/flights.h):
//   F1 at most one flight of a key can be joined at any moment
//   F2 a caller never joins a flight that began before an invalidation of its key (or of a prefix)
//      which returned before the call: it leads a new one, and the older one lands for its own
//   F3 each caller is told exactly once, with the result of the flight that it joined or leads, on
//      the thread that lands, in the order of joining, with no lock held: so it may join again
//   F4 each flight lands exactly once. A ticket that is dropped lands with kCancelled: on no path
//      does a caller wait for ever
//   F5 failures are told and forgotten: the next caller leads a new flight
//   F6 between "not in the store" and join() a flight may have landed and been kept; so a leader
//      looks into the store once more before it asks the share, and keeps before it lands
//
// Thread: all calls from any thread. Not here: flights of page ranges (src/memo/range_flights.h).
#pragma once

#include <absl/functional/function_ref.h>

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace larder::memo {

// A number or a name. A number is never equal to a name.
class KeyPart {
 public:
  template <std::unsigned_integral N>
  requires(!std::same_as<N, bool>) explicit KeyPart(N number) : number_(number) {}
  explicit KeyPart(std::string_view name) : is_name_(true), name_(name) {}

  std::string_view name() const { return name_; }  // empty where it is a number

  friend bool operator==(const KeyPart&, const KeyPart&) = default;
  friend auto operator<=>(const KeyPart&, const KeyPart&) = default;  // numbers before names
  template <class H>
  friend H AbslHashValue(H hash, const KeyPart& part) {
    return H::combine(std::move(hash), part.is_name_, part.number_, part.name_);
  }

 private:
  // Not a variant: gcc 12 warns of moving one.
  bool is_name_ = false;
  std::uint64_t number_ = 0;
  std::string name_;
};

// A path of parts. The empty key is a prefix of every key.
class TreeKey {
 public:
  TreeKey() = default;
  // TreeKey::of(file_id, "names", name)
  template <class... Parts>
  static TreeKey of(const Parts&... parts) {
    TreeKey key;
    key.parts_.reserve(sizeof...(parts));
    (key.parts_.push_back(KeyPart(parts)), ...);
    return key;
  }

  const std::vector<KeyPart>& parts() const { return parts_; }
  bool begins_with(const TreeKey& prefix) const;

  friend bool operator==(const TreeKey&, const TreeKey&) = default;
  // Part by part, so that what begins with a prefix stands together, right behind the prefix.
  friend auto operator<=>(const TreeKey&, const TreeKey&) = default;
  template <class H>
  friend H AbslHashValue(H hash, const TreeKey& key) {
    return H::combine(std::move(hash), key.parts_);
  }

 private:
  std::vector<KeyPart> parts_;
};

class SequenceGuard {
  struct Impl;
  struct Node;

 public:
  // What the numbers of a key were. Movable; to be let go before the guard ends.
  class Stamp {
   public:
    Stamp() = default;  // of nothing
    Stamp(Stamp&& other) noexcept
        : guard_(std::exchange(other.guard_, nullptr)),
          node_(std::exchange(other.node_, nullptr)),
          sum_(other.sum_) {}
    Stamp& operator=(Stamp&& other) noexcept {
      std::swap(guard_, other.guard_);
      std::swap(node_, other.node_);
      std::swap(sum_, other.sum_);
      return *this;
    }
    ~Stamp() { reset(); }
    void reset();

   private:
    friend class SequenceGuard;
    Stamp(Impl* guard, Node* node, std::uint64_t sum) : guard_(guard), node_(node), sum_(sum) {}
    Impl* guard_ = nullptr;
    Node* node_ = nullptr;
    std::uint64_t sum_ = 0;
  };

  SequenceGuard();
  ~SequenceGuard();  // REQUIRES: no stamp is out
  SequenceGuard(const SequenceGuard&) = delete;
  SequenceGuard& operator=(const SequenceGuard&) = delete;

  [[nodiscard]] Stamp begin(const TreeKey& key);
  // Of `prefix` itself and of all keys below; the empty key: of all.
  void invalidate(const TreeKey& prefix);

  // REQUIRES: `stamp` is of this guard.
  bool unchanged(const Stamp& stamp) const;
  // Runs `keep` if `stamp` is unchanged and says whether it did. Invalidations and begins wait
  // meanwhile, so `keep` only puts something in its place: it must not block, nor call this guard.
  bool keep_if_unchanged(const Stamp& stamp, absl::FunctionRef<void()> keep) const;

  // Nodes of the tree beside its root; for tests and `stats`.
  std::size_t nodes() const;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace larder::memo
