// SPDX-License-Identifier: Apache-2.0
// FS-Cache: what a netfs's user sees of the cache floor. Cookies, operations, and what they show.
//
// A netfs registers by name and index version and gets the cookie of its index. Below it, it
// acquires index cookies (share, directories) and data cookies (files), each with a key that is
// unique below its parent and aux data that say which version of the file the cached pages belong
// to. Behind a cookie is an *object* with a state machine of its own (src/cache/object_states.cc):
// looking it up in the store, creating it, invalidating it, letting it go all happen later, on the
// machine queue. Nobody waits for that: an operation that comes too early is queued on the object
// and resumed.
//
// A null cookie is legal in every call and means "not cached". No call returns an error that a
// reader could see: what cannot be cached is `kNever`. An object that fails takes nobody along: its
// cookie caches nothing for a second, then the next operation tries again; with each failure in a
// row the pause doubles, to a minute at most.
//
// Operations (src/cache/operation.h has the rules): MYTHREAD runs on the submitting thread, FAST on
// a request or answer thread and may not block, SLOW on the machine queue and may block on the
// store. An operation may change its type between runs. They are shareable or exclusive; an object
// runs them in strict FIFO order with exclusive ones as barriers. An Operation is the caller's own
// record, embedded in what it works for: submitting never allocates. Thread: any, for all calls.
#pragma once

#include <larder/clock.h>
#include <larder/pager.h>
#include <larder/records.h>
#include <larder/result.h>
#include <larder/stats.h>
#include <larder/units.h>
#include <larder/work_queue.h>

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace larder::store {
class Store;
class Object;
}  // namespace larder::store

namespace larder::cache {

class Backend;
class Cookie;
void intrusive_ptr_add_ref(Cookie* cookie);
void intrusive_ptr_release(Cookie* cookie);
using CookieRef = boost::intrusive_ptr<Cookie>;

enum class AuxCheck : std::uint8_t { kOkay, kNeedsUpdate, kObsolete };

// What the cookies of one kind have in common. Lives as long as any of them.
struct CookieDefinition {
  const char* name;  // up to 16 characters: "larder.file"
  ObjectType type = ObjectType::kIndex;
  // Is what the store holds of the version that the netfs knows? Called during look-up on the
  // machine queue (or in index_of and withdraw), with no lock held; must not block, nor call
  // relinquish, index_of or withdraw. Null: always kOkay.
  AuxCheck (*check_aux)(void* netfs_data, std::span<const std::byte> stored_aux,
                        ByteCount stored_size) = nullptr;
};

enum class OperationType : std::uint8_t { kMyThread, kFast, kSlow };
enum class Sharing : std::uint8_t { kShareable, kExclusive };
enum class OperationState : std::uint8_t {
  kBlank,
  kInitialised,
  kPending,
  kInProgress,
  kComplete,
  kCancelled,
  kDead
};
enum class OperationKind : std::uint8_t { kRead, kFill, kSession, kTruncate, kAttrChanged, kOther };

class Object;
void intrusive_ptr_add_ref(Object* object);
void intrusive_ptr_release(Object* object);

// Owned by the submitter, who keeps it until it is complete or was cancelled.
struct Operation {
  OperationType type = OperationType::kMyThread;
  Sharing sharing = Sharing::kShareable;
  OperationKind kind = OperationKind::kOther;
  // kFast, kSlow, and a kMyThread that had to wait: the work itself, when the object gives the go.
  // It, or whatever it starts, calls FsCache::complete() once. A kMyThread without run() is never
  // queued: kLater then means "not taken, it would have to wait" (the warm read tries so first,
  // from its stack).
  void (*run)(Operation& self) = nullptr;
  // It was cancelled before it ran: the object died or was invalidated. Instead of run(); no
  // complete(). Called on the answer queue, never on a caller's stack; so is the run() of a
  // kMyThread that had to wait.
  void (*cancelled)(Operation& self) = nullptr;

  // The cache's, readable by all.
  std::atomic<OperationState> state{OperationState::kBlank};
  std::uint32_t id = 0;
  Nanoseconds submitted_mono_ns = 0;
  boost::intrusive_ptr<Object> object;  // kept until the record is used again or destroyed
  Operation* next = nullptr;
  Operation* previous = nullptr;
  bool is_counted = false;         // in the limits of FsCacheOptions
  std::atomic<bool> begun{false};  // a posted one: its run() has been called
  Work work;
};

enum class Submitted : std::uint8_t {
  kNow,    // kMyThread: go on, here; then complete(). Others: queued to their threads
  kLater,  // waits for look-up or behind an exclusive operation; run() or cancelled() will be
           // called
  kNever,  // nothing can be cached there; the operation was not taken
};

enum class Retire : std::uint8_t { kNo, kYes };

// Whether a cancel() takes back an operation in progress too.
enum class Cancel : std::uint8_t { kPending, kInProgress };

enum class Enable : std::uint8_t { kNo, kYes };

// Not an errno: it cannot be read the wrong way round.
enum class Consistency : std::uint8_t {
  kConsistent,  // what is cached is of the version asked about
  kStale,       // it is of another
  kUnknown,     // nothing is cached, or it cannot be told without waiting
};

// An index in a store, for names. The store stays in memory as long as this does: closed, if its
// cache was withdrawn meanwhile.
struct IndexPlace {
  std::shared_ptr<store::Store> store;
  boost::intrusive_ptr<store::Object> object;
  explicit operator bool() const { return object != nullptr; }
  friend bool operator==(const IndexPlace&, const IndexPlace&) = default;
};

// A cache at one moment, to show.
struct CacheFigures {
  std::string tag;
  std::uint32_t objects = 0;
  bool withdrawing = false;
};

struct FsCacheOptions {
  std::string tag = "larder";
  // Operations that wait or are on a queue's thread. Above, what would have to wait or to be posted
  // is refused (kNever), and counted: its owner does without the cache. A kMyThread operation that
  // can go at once is never refused.
  std::uint32_t operations_per_object = 4096;
  std::uint32_t operations = 65536;
  // Objects in memory, 0 for any number; in percent of them, when idle ones are closed: below
  // `fcull` free, until `frun` are; below `fstop` no new one is made.
  std::uint32_t objects = 0;
  unsigned frun = 10, fcull = 7, fstop = 3;
};

enum class Culled : std::uint8_t {
  kYes,
  kNothing,  // there is nothing to be culled
  kInUse,    // an operation is under way
};

class FsCache {
 public:
  // `machine` runs object machines and SLOW operations; `answer` FAST ones.
  FsCache(WorkQueue& machine, WorkQueue& answer, const Clock& clock, FsCacheOptions options);
  ~FsCache();  // REQUIRES: withdraw() has returned if a cache was added

  // Any number of caches, each with a tag of its own; no tag is FsCacheOptions::tag. Cookies
  // acquired before are bound to one when something below them is acquired or they are invalidated.
  // Errors: kInvalid when there is a cache of this tag.
  Status add_cache(store::Store& store, std::string_view tag = {});  // which outlives the cache
  Status add_cache(std::shared_ptr<store::Store> store, std::string_view tag = {});
  // The same for tests of this floor alone.
  Status add_backend(std::unique_ptr<Backend> backend, std::string_view tag = {});
  // Takes a cache, or all, away from under all cookies: every object goes to WITHDRAWING and is
  // dropped, its data kept; what is queued is cancelled. Blocks until no object is left, that is
  // until all operations in progress are complete; never on a queue's thread. It runs the machines
  // itself: with nothing in progress it needs no thread but the caller's. One call at a time for
  // each cache.
  // Errors: kNotFound.
  void withdraw();
  Status withdraw(std::string_view tag);
  // What lies below `index` is cached in the cache of this tag, unless what it lies below has an
  // object in another one already. The tag may be asked for before there is such a cache: until
  // then nothing is cached there. Empty: in the first cache, as without a call.
  void select_cache(const CookieRef& index, std::string_view tag);
  // In the order in which they were added.
  std::vector<CacheFigures> caches() const;

  // Errors: kInvalid when the name is registered. A version found different on the store discards
  // the subtree.
  Result<CookieRef> register_netfs(std::string_view name, std::uint32_t version);
  void unregister_netfs(const CookieRef& primary_index);

  // Never an error; null without a parent, where a live cookie has the key (counted), or where key
  // (1 to 255 bytes) or aux (at most 255) has another length. An index gets no object; any other
  // cookie starts its look-up and its ancestors', unless it is acquired disabled. `netfs_data` is
  // for check_aux, valid until relinquish returns; `shown_as` is NETFS_DATA in `objects`.
  CookieRef acquire(const CookieRef& parent, const CookieDefinition& definition,
                    std::span<const std::byte> key, std::span<const std::byte> aux, ByteCount size,
                    void* netfs_data, std::uint64_t shown_as, Enable enable = Enable::kYes);
  // A disabled cookie keeps its place and its version and caches nothing. Disabling lets its
  // objects go as relinquish does (kYes deletes what is cached; the same promise about check_aux);
  // enabling looks them up again. Both do nothing where it is done already.
  void enable(const CookieRef& cookie, std::span<const std::byte> aux, ByteCount size);
  void disable(const CookieRef& cookie, Retire retire);
  // kYes deletes what is cached. REQUIRES: the children were relinquished. Does not wait for
  // operations: those in progress finish, those pending are cancelled. Waits for a check_aux of
  // this cookie that is running, and none runs afterwards: hold no lock that check_aux takes.
  void relinquish(CookieRef cookie, Retire retire);
  // Deletes what is cached for it; the cookie stays, and caches again from its next use on.
  Culled cull(const CookieRef& cookie);
  // New aux data and size for the same pages; asynchronous.
  void update(const CookieRef& cookie, std::span<const std::byte> aux, ByteCount size);
  // The content changed: from this call on, submit() is kNever until the barrier stands; what was
  // cached goes; aux and size are the new version's. Never waits, legal in every state.
  void invalidate(const CookieRef& cookie, std::span<const std::byte> aux, ByteCount size);
  // The file is now `size` bytes long, by our own doing: an exclusive operation behind all that was
  // submitted before; what is submitted later waits for it. Errors: kNoBufs.
  Status attr_changed(const CookieRef& cookie, ByteCount size);
  // Is what is cached of the version that `aux` names? Asks the store, never the netfs.
  Consistency check_consistency(const CookieRef& cookie, std::span<const std::byte> aux);
  // To another parent and key; what is there is retired. The cookies move at once, the store's
  // objects in an exclusive operation of their own; should that fail, what was cached is deleted.
  void rename(const CookieRef& cookie, const CookieRef& new_parent,
              std::span<const std::byte> new_key);

  // No allocation, no hand-off, no lock held behind it. Thread: any.
  Submitted submit(const CookieRef& cookie, Operation& operation);
  void complete(Operation& operation);
  // Instead of complete(): what it found means that the object is broken. The object dies, its
  // cookie tries again after a pause; the operation counts as cancelled.
  void abort(Operation& operation);
  // An operation in progress runs again, as `type`: FAST and SLOW are posted to their queue once
  // more, as often as there is work; MYTHREAD goes on where it is.
  void run_again(Operation& operation, OperationType type);
  // Takes a pending operation back; false when it runs or ran: then run() has been or will be
  // called. With kInProgress, one that is not waiting in a queue is taken back too, by its owner,
  // in place of complete().
  bool cancel(Operation& operation, Cancel what = Cancel::kPending);
  // Of an operation in progress.
  static store::Store& store_of(const Operation& operation);
  static const boost::intrusive_ptr<store::Object>& data_of(const Operation& operation);

  // Which of the cookie's objects an operation is on; which it has now, 0: none. The numbers of
  // `objects`, never used twice.
  static std::uint32_t object_number(const Operation& operation);
  static std::uint32_t object_number(const CookieRef& cookie);

  // An index object of the store for `cookie`'s directory or share, created now if need be: for
  // names. Null when nothing can be cached. Blocks on the store at most; machine and answer threads
  // only. Hold no lock that a check_aux takes.
  IndexPlace index_of(const CookieRef& cookie);
  // Of the cookie's object, the short name as in `objects`; "none" where there is no object.
  std::string_view state_of(const CookieRef& cookie) const;

  // The control files, in the kernel's layouts (docs/operating.md). They never block. Those that
  // may be long come in pieces, so that nobody waits while a million objects are shown.
  std::string stats_text() const;
  std::string histogram_text() const;
  // `filter`: the kernel's letters, K and A for key and aux; unknown ones are ignored. Empty:
  // everything is shown, key and aux too, as the kernel does where there is no filter.
  Pager objects(std::string_view filter) const;
  // One line per operation that is under way: what it is, since when, what it waits for.
  Pager operations() const;
  // One line per netfs and share.
  std::string netfs_text() const;
  // The counters, as "cache.lookups". The registry must not be read after this FsCache.
  void register_in(stats::Registry& registry);
  struct Counters& counters();  // for this floor's own parts

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace larder::cache
