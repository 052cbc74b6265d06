// SPDX-License-Identifier: Apache-2.0
// Reply: the answer that a request is owed. It owns the request's buffer and can be answered once.
//
// A buffer that a call may still touch is never given back: so the buffer belongs to the Reply, the
// Reply travels with the call (into a flight, into a share call's callback), and the kernel gets
// the buffer back only by an answer. A Reply that is dropped unanswered answers EIO and is counted:
// a request is never lost.
//
// No lock is held across an answer: the answer may be the kernel's last reference to an inode.
#pragma once

#include <larder/credentials.h>
#include <larder/netfs.h>
#include <larder/result.h>
#include <larder/units.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace larder {

// The kernel's name for an inode: our Inode's address, as FUSE suggests. 1 is the root.
struct NodeId : Strong<NodeId> {
  using Strong::Strong;
};
inline constexpr NodeId kRootNode{1};
// An open file or directory.
struct HandleId : Strong<HandleId> {
  using Strong::Strong;
};
inline constexpr HandleId kNoHandle{0};

// The kernel's number of a file of the share that it reads and writes by itself.
struct BackingId : Strong<BackingId> {
  using Strong::Strong;
};
inline constexpr BackingId kNoBacking{0};

// What the kernel learns of a name. `*_ttl_ns`: how long it may believe it, of larder's own trust
// what is left.
struct Entry {
  NodeId node{};  // 0: "no such name", believed for entry_ttl_ns
  std::uint64_t generation = 0;
  std::uint64_t inode = 0;  // st_ino
  Attributes attributes;
  Nanoseconds entry_ttl_ns = 0;
  Nanoseconds attr_ttl_ns = 0;
};

struct OpenReply {
  HandleId handle{};
  bool keep_cache = false;  // the kernel's pages are of the version that this open validated
  bool direct_io = false;   // the kernel keeps no pages
  bool cache_dir = false;   // the kernel may keep the listing
  bool no_flush = false;    // no FLUSH at close
  // The kernel reads and writes this one; with direct_io it only maps it, and asks for the rest.
  BackingId backing = kNoBacking;
};

// Implemented by each transport (fuse/request.h) and by tests. One object per request buffer,
// reused: no allocation per request.
class ReplySlot {
 public:
  virtual ~ReplySlot() = default;

  // Where the kernel takes the bytes of a read, listing, link or xattr from: page-aligned, and
  // larger than the largest request by a page, so that whole pages around any request fit. Valid
  // until the answer.
  virtual std::span<std::byte> payload() = 0;
  // The request leaves its thread and waits (for the share, a lock, a barrier). A transport whose
  // buffers are bounded makes another one ready; false: at the cap, the request must be refused
  // now.
  virtual bool park() = 0;
  // May the calling thread wait for the disk? One of those that read requests may, when another
  // takes its place there, which it does behind this.
  virtual bool may_wait_here() { return false; }
  // Whoever asked has been interrupted, and wants EINTR rather than wait longer.
  virtual bool interrupted() = 0;
  // Who asked, with all groups; a system call or two.
  virtual CredentialsRef caller() = 0;
  // Hears of that; at once where it has happened already. A null one: behind this, none is called
  // or still running. REQUIRES: not answered yet.
  struct Listener {
    void (*heard)(Listener& self) = nullptr;
  };
  virtual void listen(Listener*) {}
  // The thread that asks, by its number in /proc; 0: not known.
  virtual std::uint32_t asker() { return 0; }
  // From here on the answer is the owner's. False: whoever asked has left, nothing that is answered
  // reaches him, and payload() is not to be touched.
  virtual bool stay() { return true; }
  // Does whoever asked leave at all where he is interrupted?
  virtual bool is_guarded() const { return false; }
  // The other way: whoever asked may leave again, until the next stay(). REQUIRES: nobody uses
  // payload() any more.
  virtual void may_leave() {}

  // Each of these is the answer. Called at most once, by Reply only.
  virtual void error(Error error) = 0;
  virtual void ok() = 0;
  virtual void entry(const Entry& entry) = 0;
  virtual void attributes(std::uint64_t inode, const Attributes& attributes,
                          Nanoseconds ttl_ns) = 0;
  virtual void opened(const OpenReply& open) = 0;
  virtual void created(const Entry& entry, const OpenReply& open) = 0;
  virtual void data(std::size_t skip, ByteCount count) = 0;  // payload() from `skip` on
  virtual void written(ByteCount count) = 0;
  virtual void position(ByteOffset offset) = 0;
  virtual void lock(const LockRange& range) = 0;
  virtual void link(std::string_view target) = 0;
  virtual void xattr_size(ByteCount size) = 0;
  virtual void stat_fs(const struct statvfs& figures) = 0;

  // Appends to payload() an entry of a listing, `next` being the offset behind it; false when
  // `limit` bytes do not hold it. `used` grows. Then data(used) is the answer.
  virtual bool add_dirent(std::size_t& used, std::size_t limit, std::string_view name,
                          std::uint64_t inode, std::uint32_t mode, std::uint64_t next) = 0;
  virtual bool add_dirent_plus(std::size_t& used, std::size_t limit, std::string_view name,
                               const Entry& entry, std::uint64_t next) = 0;

  // The slot is free again: called by Reply after the answer.
  virtual void recycle() = 0;
};

class Reply {
 public:
  explicit Reply(ReplySlot& slot) : slot_(&slot) {}
  Reply(Reply&&) noexcept = default;
  Reply& operator=(Reply&&) = delete;
  // Answers EIO if nobody did.
  ~Reply() {
    if (slot_) error(Error{ErrorCode::kSystem, 5});
  }

  std::span<std::byte> payload() { return slot_->payload(); }
  bool park() { return slot_->park(); }
  bool may_wait_here() { return slot_->may_wait_here(); }
  bool interrupted() { return slot_->interrupted(); }
  CredentialsRef caller() { return slot_->caller(); }
  bool stay() { return slot_->stay(); }
  void may_leave() { slot_->may_leave(); }
  void swap(Reply& other) { slot_.swap(other.slot_); }

  void error(Error e) {
    answer([&](ReplySlot& s) { s.error(e); });
  }
  // The same, but the slot is never used again: a call that nobody waits for any more may still
  // read its payload. For the end of a mount.
  void error_and_keep(Error e);
  void ok() {
    answer([&](ReplySlot& s) { s.ok(); });
  }
  void status(const Status& s) { s ? ok() : error(s.error()); }
  void entry(const Entry& e) {
    answer([&](ReplySlot& s) { s.entry(e); });
  }
  void attributes(std::uint64_t inode, const Attributes& a, Nanoseconds ttl_ns) {
    answer([&](ReplySlot& s) { s.attributes(inode, a, ttl_ns); });
  }
  void opened(const OpenReply& o) {
    answer([&](ReplySlot& s) { s.opened(o); });
  }
  void created(const Entry& e, const OpenReply& o) {
    answer([&](ReplySlot& s) { s.created(e, o); });
  }
  void data(ByteCount count) { data(0, count); }
  void data(std::size_t skip, ByteCount count) {
    answer([&](ReplySlot& s) { s.data(skip, count); });
  }
  void written(ByteCount count) {
    answer([&](ReplySlot& s) { s.written(count); });
  }
  void position(ByteOffset offset) {
    answer([&](ReplySlot& s) { s.position(offset); });
  }
  void lock(const LockRange& range) {
    answer([&](ReplySlot& s) { s.lock(range); });
  }
  void link(std::string_view target) {
    answer([&](ReplySlot& s) { s.link(target); });
  }
  void xattr_size(ByteCount size) {
    answer([&](ReplySlot& s) { s.xattr_size(size); });
  }
  void stat_fs(const struct statvfs& f) {
    answer([&](ReplySlot& s) { s.stat_fs(f); });
  }

  // For listings, before data().
  ReplySlot& slot() { return *slot_; }

 private:
  struct Keep {
    void operator()(ReplySlot* slot) const noexcept { slot->recycle(); }
  };
  template <class F>
  void answer(F&& f) {
    check(slot_ != nullptr, "a reply is answered once");
    auto slot = std::move(slot_);  // recycled behind the answer, whatever it does
    f(*slot);
  }
  std::unique_ptr<ReplySlot, Keep> slot_;
};

}  // namespace larder
