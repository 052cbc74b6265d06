// SPDX-License-Identifier: Apache-2.0
// Vfs: the Filesystem over a share and a cache. Joins netfs and cache, which never meet.
//
// Each method answers from what is cached and trusted, or asks the share and goes on in a callback
// on the answer queue. Where the share is slow or away, what is cached is served without asking;
// unreachable is never "deleted".
//
//   lookup.cc      names and what the share says of them
//   version.cc     which version of a file is current
//   attributes.cc  stat, chmod, truncate, xattrs, statfs names_ops.cc   mkdir, unlink, rename, link
//                  ...
//   open.cc        open, create, flush, release
//   stale_answers.cc  verify: what is kept, compared with the share
//   memory.cc      what may be kept in memory
//   read.cc        the warm read, and the parked one
//   fetch.cc       flights and fills
//   write.cc       write-through, truncate
//   locks.cc       locks on the share
//   pass_through.cc  what is not cached, and the kernel's own way to it
//   ranges.cc      fallocate, copy_file_range, lseek
//   sessions.cc    the sessions around writes
//   directory.cc   listings
//   own_xattrs.cc  user.larder.*
//   control.cc     .larder
#pragma once

#include <larder/clock.h>
#include <larder/cookie.h>
#include <larder/filesystem.h>
#include <larder/options.h>
#include <larder/settings.h>
#include <larder/share_calls.h>
#include <larder/stats.h>
#include <larder/store.h>
#include <larder/timers.h>
#include <larder/work_queue.h>

#include <absl/functional/any_invocable.h>

#include <atomic>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "vfs/busy_files.h"
#include "vfs/control.h"
#include "vfs/handle.h"
#include "vfs/inode.h"
#include "vfs/leaving.h"
#include "vfs/memos.h"
#include "vfs/names.h"
#include "vfs/share_clock.h"
#include "vfs/store_waits.h"
#include "vfs/target.h"
#include "vfs/vfs_counters.h"
#include "vfs/vfs_options.h"

namespace larder {

struct ParkedRead;

struct VfsParts {
  ShareCalls& share;
  cache::FsCache& cache;
  cache::CookieRef share_cookie;  // index of this share; null: nothing is cached
  WorkQueue& answer;
  Timers& timers;
  const Clock& clock;
  const Policy& policy;
  Control& control;
};

class Vfs final : public Filesystem {
 public:
  // `root` as the share showed it at mount.
  Vfs(VfsParts parts, VfsOptions options, const Attributes& root, const struct statvfs& figures);
  ~Vfs() override;  // REQUIRES: no request is under way

  // Behind the last request that comes in: whoever waits for a lock is told that the mount ends.
  void end_waiting();
  // Behind the last request: lets go of every inode that the kernel still held.
  void close();

  // Before the first request.
  void set_kernel_cache(KernelCache& kernel) { kernel_ = &kernel; }
  // Before the first request; null: no file can be passed through.
  void set_pass_through(std::shared_ptr<PassThrough> kernel) { pass_through_ = std::move(kernel); }
  VfsCounters& counters() { return counters_; }
  void register_in(stats::Registry& registry);
  std::uint64_t memory_used() const;
  // The control file `busy`.
  std::string busy_text() const { return busy_.to_text(); }

  void lookup(NodeId parent, std::string_view name, Reply reply) override;
  void forget(NodeId node, std::uint64_t lookups) override;
  void read_link(NodeId node, Reply reply) override;
  void make_directory(NodeId parent, std::string_view name, std::uint32_t mode, Caller caller,
                      Reply reply) override;
  void make_node(NodeId parent, std::string_view name, std::uint32_t mode, std::uint64_t rdev,
                 Caller caller, Reply reply) override;
  void make_symlink(NodeId parent, std::string_view name, std::string_view target, Caller caller,
                    Reply reply) override;
  void make_link(NodeId node, NodeId new_parent, std::string_view new_name, Reply reply) override;
  void remove_file(NodeId parent, std::string_view name, Reply reply) override;
  void remove_directory(NodeId parent, std::string_view name, Reply reply) override;
  void rename(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name,
              unsigned flags, Reply reply) override;

  void get_attributes(NodeId node, HandleId id, Reply reply) override;
  void set_attributes(NodeId node, const SetAttributes& change, Reply reply) override;
  void access(NodeId node, int mask, Reply reply) override;
  void stat_fs(NodeId node, Reply reply) override;
  void get_xattr(NodeId node, std::string_view name, std::size_t size, Reply reply) override;
  void list_xattr(NodeId node, std::size_t size, Reply reply) override;
  void set_xattr(NodeId node, std::string_view name, std::span<const std::byte> value, int flags,
                 Reply reply) override;
  void remove_xattr(NodeId node, std::string_view name, Reply reply) override;

  void open(NodeId node, int flags, Caller caller, Reply reply) override;
  void create(NodeId parent, std::string_view name, int flags, std::uint32_t mode, Caller caller,
              Reply reply) override;
  void create_unnamed(NodeId parent, int flags, std::uint32_t mode, Caller caller,
                      Reply reply) override;
  void read(NodeId node, HandleId id, ByteOffset offset, ByteCount count, Reply reply) override;
  void write(NodeId node, HandleId id, ByteOffset offset, std::span<const std::byte> data,
             WrittenBy by, Reply reply) override;
  void flush(NodeId node, HandleId id, LockOwner owner, Reply reply) override;
  void sync(NodeId node, HandleId id, SyncWhat what, Reply reply) override;
  void release(NodeId node, HandleId id, Reply reply) override;

  void allocate(NodeId node, HandleId id, int mode, ByteOffset offset, ByteCount length,
                Reply reply) override;
  void seek(NodeId node, HandleId id, ByteOffset offset, int whence, Reply reply) override;
  void copy_range(const FilePlace& from, const FilePlace& to, ByteCount length,
                  Reply reply) override;

  void get_lock(NodeId node, HandleId id, LockOwner owner, const LockRange& range,
                Reply reply) override;
  void set_lock(NodeId node, HandleId id, LockOwner owner, const LockRange& range, Waits waits,
                Reply reply) override;
  void lock_whole(NodeId node, HandleId id, LockType type, Waits waits, Reply reply) override;

  void open_directory(NodeId node, Reply reply) override;
  void read_directory(NodeId node, HandleId id, std::uint64_t offset, std::size_t size,
                      Reply reply) override;
  void read_directory_plus(NodeId node, HandleId id, std::uint64_t offset, std::size_t size,
                           Reply reply) override;
  void sync_directory(NodeId node, SyncWhat what, Reply reply) override;
  void release_directory(NodeId node, HandleId id, Reply reply) override;

 private:
  friend struct larder::ParkedRead;
  using NameCache = memo::Cache<Looked>;
  using AttributeCache = memo::Cache<Attributes>;
  using TextCache = memo::Cache<Text>;
  struct FillJob;       // fetch.cc
  struct WrittenJob;    // write.cc
  struct SessionJob;    // write.cc
  struct LateSettling;  // write.cc
  struct Listing;       // directory.cc
  struct OwnXattr;      // own_xattrs.cc

  // When a question was asked, and which of our own changes (of anything: they are numbered in the
  // order in which the share answered them) was the last one then. What is said of an inode that we
  // changed since is of before, and not believed; else it is trusted from when it was asked.
  // Nobody need know at the time which inode the answer will be about.
  struct Asked {
    Nanoseconds at_mono_ns = 0;
    std::uint64_t last_change = 0;
  };

  // -- lookup.cc
  InodeRef inode_of(NodeId node);
  NodeId node_of(const Inode& inode) const;
  InodeRef install(Inode& directory, std::string_view name, const Attributes& attributes,
                   const Asked& asked);
  InodeRef install_unnamed(const Attributes& attributes, const Asked& asked);
  FileId identify(Inode& directory, std::string_view name, const Attributes& attributes);
  Entry entry_of(Inode& inode, Nanoseconds entry_until_mono_ns);
  void answer_entry(Inode& inode, Nanoseconds entry_until_mono_ns, Reply reply);
  void hold(Inode& inode);
  void looked_up(Inode& directory, const std::string& name, const Asked& asked,
                 const Result<Attributes>& result, NameCache::Ticket ticket);
  void answer_looked(Inode& directory, std::string_view name, Inode* known,
                     const NameCache::Answer& answer, Reply reply);
  Nanoseconds kernel_trusts_until(const Inode& directory, std::string_view name,
                                  Nanoseconds until_mono_ns) const;
  void take_back_spelling(const NameTree::Dropped& dropped, std::string_view name);
  void answer_absent(Nanoseconds until_mono_ns, Reply reply) const;
  bool park(Reply& reply);
  bool park_question(Reply& reply);
  enum class LostTo : bool { kUs, kOthers };  // who removed it
  void forget_name(Inode& directory, std::string_view name, LostTo whom);
  void has_name(Inode& inode);
  Error lost_path(Inode& inode, const Error& error);
  void forget_given(Inode& directory, std::string_view name);
  bool still_is(Inode& inode, const Attributes& attributes);
  bool serve_unasked(const Inode& inode) const;
  bool may_serve_unasked(const Inode& inode) const;
  CallOptions asking(const Inode& about, bool known, CredentialsRef as) const;
  // As whom the share is asked for `reply`, and under which key, since answers are kept by caller.
  CredentialsRef caller_of(Reply& reply) const {
    return options_.as_caller ? reply.caller() : nullptr;
  }
  template <class... Parts>
  static memo::TreeKey key_for(const CredentialsRef& as, const Inode& inode,
                               const Parts&... parts) {
    return as ? key_of(inode, parts..., as->key()) : key_of(inode, parts...);
  }
  memo::TreeKey name_key(const CredentialsRef& as, const Inode& directory,
                         std::string_view name) const {
    std::string room;
    return key_for(as, directory, "names", names_.keys().key(name, room));
  }
  static CallOptions until_answered(CredentialsRef as) {
    return {.deadline_ns = CallOptions::kNone, .as = std::move(as)};
  }
  void probe();
  static bool unreachable(const Error& error);

  // -- version.cc
  Asked ask() const;
  Nanoseconds attr_trust_ns(const Inode& inode) const;
  Nanoseconds entry_trust_ns(const Inode& inode, std::string_view name) const;
  Nanoseconds absent_trust_ns(const Inode& directory) const;
  Nanoseconds listing_trust_ns(const Inode& directory) const;
  bool asks_at_open(const Inode& inode) const;
  bool asks_at_read(const Inode& inode) const;
  bool trusted(const Inode& inode) const;
  void learn(Inode& inode, const Attributes& attributes, const Asked& asked);
  static bool is_believed_locked(const Inode& inode, const Asked& asked) REQUIRES(inode.mutex);
  bool validate(Inode& inode, const Attributes& attributes, const Asked& asked);
  // What the share shows behind a change of our own that leaves the content alone, and before it
  // where that had to be known.
  struct Changed {
    std::optional<Attributes> before;
    Attributes now;
  };
  enum class Look : std::uint8_t { kFirst, kBehind };
  static Look look_at(const Inode& inode);
  static std::optional<Attributes> seen(Netfs& netfs, const Target& target, Look look);
  void adopt(Inode& inode, const Changed& by_us, const Asked& asked,
             const AttributeChange& change = {});
  void take_version_locked(Inode& inode, const Attributes& attributes) REQUIRES(inode.mutex);
  void new_version_locked(Inode& inode, const Identity& identity) REQUIRES(inode.mutex);
  void ensure_cookie_locked(Inode& inode) REQUIRES(inode.mutex);
  Attributes shown(const Inode& inode, const Attributes& attributes) const;
  std::pair<Attributes, Nanoseconds> attributes_of(const Inode& inode) const;
  static cache::AuxCheck check_aux(void* netfs_data, std::span<const std::byte> aux,
                                   ByteCount size);

  // -- attributes.cc
  void answer_attributes(const Inode& inode, Reply reply);
  void answer_question(const Inode& inode, NodeId node, Reply reply);
  static void answer_text(const Text& text, std::size_t size, Reply reply);
  // Answers from what is kept and trusted, or asks the share, once for all who wait.
  template <class Work, class Answer>
  void recall(TextCache& cache, std::string_view kind, std::string_view name, Inode& inode,
              Reply reply, Work work, Answer answer);
  static bool was_removed(Inode& inode);
  bool is_of_removed(const Inode& inode, NodeId node) const;
  static Error no_xattrs(Inode& inode, const Error& error);
  void change_removed(Inode& inode, NodeId node, const AttributeChange& change);
  static Target target_at(const Inode& inode, std::string path);
  Target target_by(const Inode& inode, std::shared_ptr<NetfsFile> file) const;
  Result<Target> target_of(const Inode& inode) const;
  Result<Target> named_or_open(const Inode& inode) const;
  // Parks, asks the share about the inode, and hands what it says to `answer`.
  template <class T, class Work, class Answer>
  void ask_share(Inode& inode, Reply reply, Work work, Answer answer);
  template <class T, class Work, class Answer>
  void ask_share_of(Inode& inode, Target target, CredentialsRef as, Reply reply, Work work,
                    Answer answer);
  // The same for a change of xattrs, which leaves the content alone: its result tells the identity.
  template <class Work>
  void change_xattrs(Inode& inode, Reply reply, Work work);

  // -- own_xattrs.cc
  static constexpr std::string_view kCullXattr = "user.larder.cull";
  static constexpr std::string_view kPinXattr = "user.larder.pin";  // "1" or "0"
  static bool is_own_xattr(std::string_view name);
  void cull(Inode& inode, Reply reply);
  void pin(const InodeRef& inode, std::span<const std::byte> value, Reply reply);
  void get_own_xattr(const InodeRef& inode, std::string_view name, std::size_t size, Reply reply);
  void ask_store(const InodeRef& inode, std::string_view name, std::size_t size, Reply reply);
  std::string validated_text(const Inode& inode) const;

  // -- names_ops.cc
  struct NewOwner {
    enum class Group : std::uint8_t { kCallers, kDirectorys };
    std::uint32_t uid = 0, gid = 0;
    Group group = Group::kCallers;
  };
  template <class Make>
  void make(NodeId parent, std::string_view name, Caller caller, Reply reply, Make make);
  template <class Remove>
  void take_out(NodeId parent, std::string_view name, Reply reply, Remove remove);
  void changed_directory(Inode& directory);
  void changed_name(Inode& directory, std::string_view name);
  void renamed(Inode& from, const std::string& name, Inode& to, const std::string& new_name,
               unsigned flags, const Changed& changed, const Asked& asked);
  void rename_given(Inode& from, const std::string& name, Inode& to, const std::string& new_name,
                    bool exchange);
  void lost_name(Inode& inode, LostTo whom);
  static void keep_open(Inode& inode, const std::shared_ptr<NetfsFile>& file);
  bool must_keep_file(const InodeRef& inode) const;
  static std::shared_ptr<NetfsFile> keep_file(Netfs& netfs, const std::string& path,
                                              const Inode& inode);
  cache::IndexPlace names_object(Inode& directory);
  static Result<Attributes> hand_over(Netfs& netfs, const std::string& path, NetfsFile* file,
                                      const Attributes& made, const std::optional<NewOwner>& owner);
  std::optional<NewOwner> owner_of_new(const Inode& directory, Caller caller) const;

  // -- directory.cc
  struct GoodListing {  // by the moment that it was made
    Nanoseconds now_mono_ns = 0, trust_ns = 0;
    bool unasked = false;
    bool operator()(const ListedRef& kept) const {
      return unasked || now_mono_ns - kept->asked_mono_ns < trust_ns;
    }
  };
  GoodListing good_listing(const Inode& directory) const;
  bool kernel_keeps_listings(const Inode& directory) const;
  static DirectoryState& state_locked(Inode& directory) REQUIRES(directory.mutex);
  void sync_names(const InodeRef& directory, SyncWhat what, const CredentialsRef& as, Reply reply);
  static void told_names(Inode& directory, const Listed& listed, Nanoseconds until_mono_ns);
  void take_listing(DirectoryHandle& handle, const ListedRef& listed);
  KernelListing::Offer offer_listing(Inode& directory, const CredentialsRef& as);
  template <class Then>
  void with_listing(DirectoryHandle& handle, std::uint64_t offset, Reply reply, Then then);
  static bool add_dots(Inode& directory, std::uint64_t& offset, std::size_t& used, std::size_t size,
                       ReplySlot& slot);
  static bool add_dots_plus(Inode& directory, std::uint64_t& offset, std::size_t& used,
                            std::size_t size, ReplySlot& slot);
  void gather(const std::shared_ptr<Listing>& listing);
  struct WantedName {
    std::string name;
    NameCache::Ticket ticket;
  };
  std::vector<WantedName> plan_names(Listing& listing, const CredentialsRef& as, std::size_t first,
                                     std::size_t count, NameCache::BulkWaiter waiter);
  void ask_names(const InodeRef& directory, const CredentialsRef& as,
                 std::vector<WantedName> wanted);
  std::size_t names_a_call() const;
  void took_a_name(Nanoseconds took_ns);
  void answer_listing(Listing& listing);

  struct Cut {  // a truncate that is under way (write.cc)
    std::uint64_t size = 0;
    std::uint64_t ticket = 0;  // of its range
    Asked asked{};
  };

  // -- open.cc
  int flags_for_share(int flags) const;
  bool may_open_unasked(const Inode& inode, int flags) const;
  static Result<OpenedFile> open_for(Netfs& netfs, const Target& target, int flags, Caller caller);
  enum class Lend : bool { kNo, kYes };
  static void lend_if(Lend lend, Netfs& netfs, OpenedFile& opened);
  struct Opening {
    int flags = 0;
    Asked asked{};
    std::optional<Cut> cut = std::nullopt;  // O_TRUNC
    NodeId node{};                          // that was opened; of what is made there is none yet
    bool excluded = false;                  // from caching, where this is the first open
    std::shared_ptr<BackingFile> backing = nullptr;
    // What is known will do where the share cannot be asked.
    bool may_fall_back() const { return (flags & O_ACCMODE) == O_RDONLY && !cut; }
  };
  void share_opened(Inode& inode, const Opening& opening, Result<OpenedFile> result, Reply reply);
  using ThenOpened = absl::AnyInvocable<void(Result<OpenedFile>)>;
  void hold_to_share(const InodeRef& inode, const Opening& opening, OpenedFile share,
                     unsigned attempts, ThenOpened then);
  void opened(Inode& inode, const Opening& opening, const OpenedFile* share, Reply reply,
              std::optional<Nanoseconds> created_until = std::nullopt);
  bool opened_what_was_before_locked(const Inode& inode, const Opening& opening) const
      REQUIRES(inode.mutex);
  static Handle& handle_of(HandleId id) { return *reinterpret_cast<Handle*>(id.value()); }

  // -- pass_through.cc
  bool is_excluded(const std::string& path) const;
  bool is_excluded(const Inode& inode) const;
  bool may_pass_through() const;
  std::shared_ptr<BackingFile> give_to_kernel(const OpenedFile& share);
  static std::shared_ptr<BackingFile> backing_of(Inode& inode);
  void leave_cache(Inode& inode);
  void choose_way_locked(Inode& inode, const Opening& opening, const Handle& handle,
                         OpenReply& answer) REQUIRES(inode.mutex);
  // What it gives goes where no lock is held.
  [[nodiscard]] static std::shared_ptr<BackingFile> leave_way_locked(Inode& inode)
      REQUIRES(inode.mutex);

  // -- read.cc
  struct Span {  // of a read, clipped to the file
    ByteOffset offset;
    ByteCount count;
    PageRange pages;
    std::uint64_t generation = 0;
    bool from_store = true;
    bool in_session = false;
  };
  bool is_of_session(Inode& inode, const cache::Operation& operation) const;
  Span span_of(Inode& inode, ByteOffset offset, ByteCount count);
  using ReadStep = void (Vfs::*)(std::unique_ptr<ParkedRead>, cache::Operation*);
  store::Store::AtOnce read_store_at_once(const cache::Operation& operation, PageRange pages,
                                          Reply& reply) const;
  ReadMode read_mode() const;
  ReadMode disk_read_mode() const;
  void time_read(Handle& handle, const Span& span, Nanoseconds began_ns, Nanoseconds looked_up_ns);
  static bool is_its(const Span& span, const Inode& inode, const cache::Operation& operation);
  void answer_warm(Inode& inode, const Span& span, Nanoseconds began_ns, Reply& reply);
  void park_read(Handle& handle, ByteOffset offset, ByteCount count, Nanoseconds began_ns,
                 Reply reply);
  PageCount read_store(const cache::Operation& operation, PageRange pages,
                       std::span<std::byte> into) const;
  void ask_then_read(std::unique_ptr<ParkedRead> read);
  void resume_read(std::unique_ptr<ParkedRead> read);
  void with_store(std::unique_ptr<ParkedRead> read, ReadStep then);
  void fetch_missing(std::unique_ptr<ParkedRead> read, cache::Operation* operation);
  void all_landed(std::unique_ptr<ParkedRead> read);
  void assemble(std::unique_ptr<ParkedRead> read, cache::Operation* operation);
  enum class Assembled : bool { kWhole, kNot };
  void assembled(std::unique_ptr<ParkedRead> read, cache::Operation& operation, Assembled outcome);
  void answer_read(std::unique_ptr<ParkedRead> read);
  void read_uncached(std::unique_ptr<ParkedRead> read);

  // -- stale_answers.cc
  void verify_all();
  void found_stale(std::string_view what, const std::string& path);
  bool would_have_lied_locked(const Inode& inode, const Attributes& now, const Asked& asked) const
      REQUIRES(inode.mutex);
  void compare_name(const Inode& directory, const std::string& name, const Inode* now,
                    const Asked& asked);
  void set_aside(ParkedRead& read, const cache::Operation& operation,
                 const std::vector<PageRange>& missing) const;
  static bool lies_aside(ParkedRead& read);
  void retire_liar(const ParkedRead& read);

  // -- warm_read.cc
  struct WarmRead;
  void read_from_disk(Handle& handle, const Span& span, ByteOffset offset, ByteCount count,
                      Nanoseconds began_ns, Reply reply);
  void came_from_disk(std::unique_ptr<WarmRead> read, PageCount served);
  void assemble_from_disk(std::unique_ptr<ParkedRead> read, cache::Operation& operation,
                          const std::vector<PageRange>& ranges);
  void one_from_disk(ParkedRead& parked);
  // -- memory.cc
  void keep_within_memory();
  bool has_room_ahead() const;
  std::shared_ptr<AlignedBuffer> fetch_buffer(std::size_t size) const;

  // -- fetch.cc
  struct Fetched {
    ByteCount count;
    std::optional<Attributes> after;  // none: it cannot have changed
    std::shared_ptr<NetfsFile> file;
  };
  enum class After : bool { kAsked, kTrusted };  // which version the bytes are of
  struct Launch {
    memo::FlightRef flight;
    ByteCount expected;  // bytes, by the size of the current version
  };
  void plan_flights_locked(Inode& inode, ParkedRead& read, const std::vector<PageRange>& missing,
                           const cache::Operation* operation, std::vector<Launch>& launches)
      REQUIRES(inode.mutex);
  void begin_flights_locked(Inode& inode, PageRange range, std::vector<Launch>& launches)
      REQUIRES(inode.mutex);
  void begin_ahead_locked(Inode& inode, const ParkedRead& read, const cache::Operation* operation,
                          std::vector<Launch>& launches) REQUIRES(inode.mutex);
  Target target_to_read(const Inode& inode, const FileSlot& slot) const;
  static void keep_to_read(Inode& inode, FileSlot& slot, const std::shared_ptr<NetfsFile>& file,
                           std::uint64_t of);
  void launch(Handle& handle, Launch launch);
  static Result<Fetched> fetch(Netfs& netfs, std::shared_ptr<NetfsFile> file, ByteOffset offset,
                               std::span<std::byte> into, After after);
  void landed(Inode& inode, const memo::FlightRef& flight,
              const std::shared_ptr<AlignedBuffer>& bytes, ByteCount expected,
              const Result<Fetched>& result, Nanoseconds began_share_ns);
  void fill(Inode& inode, memo::FlightRef flight);
  static void tell(const std::vector<memo::Flight::Waiter*>& waiters);

  // -- write.cc
  struct Written {
    ByteCount count;
    std::optional<Attributes> after;
  };
  void wrote(Inode& inode, ByteOffset offset, std::span<const std::byte> data, std::uint64_t ticket,
             const Result<Written>& result);
  // -- ranges.cc
  struct Rewriting {
    PageRange pages{};
    std::uint64_t ticket = 0;
    std::uint64_t last_change = 0;  // of the inode, when it began
  };
  Rewriting begin_rewrite(Inode& inode, ByteOffset offset, ByteCount length);
  void rewrote(Inode& inode, const Rewriting& range, std::uint64_t end,
               const Result<Attributes>& result);

  static void keep_seek(Inode& inode, const SeekAnswers::State& state,
                        const SeekAnswers::Question& question, Nanoseconds asked_mono_ns,
                        const Result<ByteOffset>& said);

  // -- locks.cc
  struct LockWait;
  std::shared_ptr<NetfsFile> lock_file_of(const Inode& inode, LockOwner owner) const;
  static std::shared_ptr<NetfsFile> take_lock_file(Inode& inode, LockOwner owner);
  std::shared_ptr<NetfsFile> note_lock_file(Inode& inode, LockOwner owner,
                                            const std::shared_ptr<NetfsFile>& file);
  void try_lock(std::unique_ptr<LockWait> wait);
  void pause_lock(std::unique_ptr<LockWait> wait);
  std::unique_ptr<LockWait> take_paused(const LockWait* wait);
  void resume_lock(const LockWait* paused);

  // -- write.cc, sessions.cc
  Cut begin_truncate(Inode& inode, std::uint64_t size, const Asked& asked);
  void truncated(Inode& inode, const Cut& cut, const Result<Attributes>& result);
  static void not_truncated(Inode& inode, const Cut& cut);
  void note_written_locked(Inode& inode) REQUIRES(inode.mutex);
  void note_sent(Inode& inode, const Asked& asked);
  void begin_write_session_locked(Inode& inode) REQUIRES(inode.mutex);
  void fetched_fresh_locked(Inode& inode, memo::Flight& flight) REQUIRES(inode.mutex);
  void begin_volatile_session_locked(Inode& inode) REQUIRES(inode.mutex);
  void end_volatile_session_locked(Inode& inode) REQUIRES(inode.mutex);
  void last_writer_gone(const InodeRef& inode, const std::shared_ptr<NetfsFile>& file,
                        bool speaks_for_it);
  void ask_to_settle(const InodeRef& inode, Target target);
  void settle_session(Inode& inode, const Result<Attributes>& now, const Asked& asked);
  Nanoseconds fresh_for_ns(const Attributes& now) const;
  void settle_late(Inode& inode, const Attributes& now, const Asked& asked, Nanoseconds after_ns);
  void settle_now(LateSettling& settling);
  void forget_pages_locked(Inode& inode) REQUIRES(inode.mutex);
  void begin_write_session_anew_locked(Inode& inode, const Attributes& now) REQUIRES(inode.mutex);
  bool explains_locked(const Inode& inode, const Attributes& now) const REQUIRES(inode.mutex);
  template <class Job>
  bool submit_locked(Inode& inode, std::unique_ptr<Job> job) REQUIRES(inode.mutex);
  static void inode_gone(void* context, Inode& inode);
  void relinquish_cookie(Inode& inode);

  VfsParts parts_;
  const VfsOptions options_;
  VfsCounters counters_;
  Leaving leaving_;
  StoreWaits store_waits_;
  BusyFiles busy_;
  KernelCache* kernel_ = nullptr;
  std::shared_ptr<PassThrough> pass_through_;
  InodeTable table_;
  InodeRef root_;
  NameTree names_;
  Memos memos_;
  const std::shared_ptr<std::atomic<std::uint64_t>> fetch_bytes_ =
      std::make_shared<std::atomic<std::uint64_t>>(0);  // in buffers that fetches came into
  std::atomic<std::uint64_t> copies_in_flight_bytes_{
      0};  // of written pages, on their way to the store
  Mutex waiting_locks_mutex_{Rank::kMount};
  std::vector<std::unique_ptr<LockWait>> waiting_locks_ GUARDED_BY(waiting_locks_mutex_);
  bool waiting_locks_end_ GUARDED_BY(waiting_locks_mutex_) = false;
  Mutex settling_mutex_{Rank::kMount};
  std::list<LateSettling> settling_ GUARDED_BY(settling_mutex_);
  ShareClock share_clock_{parts_.clock};
  Mutex given_mutex_{Rank::kMount};        // one giver of file ids at a time
  std::atomic<std::uint64_t> changes_{0};  // of our own, so far
  std::atomic<Nanoseconds> last_probe_mono_ns_{0};
  std::atomic<Nanoseconds> name_takes_ns_{kMillisecond / 20};  // one name of many, on the share
  Mutex figures_mutex_{Rank::kLeaf};
  struct statvfs figures_ GUARDED_BY(figures_mutex_);
  Nanoseconds figures_at_mono_ns_ GUARDED_BY(figures_mutex_) = 0;
};

}  // namespace larder
