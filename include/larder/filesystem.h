// SPDX-License-Identifier: Apache-2.0
// Filesystem: what the kernel asks for, without FUSE. One method per request.
//
// Every method takes the Reply that the request is owed and either answers before it returns (all
// that is cached and trusted is) or moves it into what the answer waits for: a flight, a call to
// the share. None blocks, whatever the share does. Errors are values in the Reply; fuse/ makes an
// errno of them.
//
// Life of a read and of a write: docs/architecture.md.
// Thread: every method from any thread, any number at once.
#pragma once

#include <larder/fd.h>
#include <larder/netfs.h>
#include <larder/reply.h>
#include <larder/units.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace larder {

struct Caller {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t pid = 0;
  std::uint32_t umask = 0;  // not applied yet
};

struct SetAttributes : AttributeChange {
  HandleId handle{};  // kNoHandle: by name
};

// Whose a lock is, as the kernel numbers them: a process, or an open file.
struct LockOwner : Strong<LockOwner> {
  using Strong::Strong;
};
enum class Waits : std::uint8_t { kNo, kYes };

struct FilePlace {
  NodeId node{};
  HandleId handle{};
  ByteOffset offset{};
};

// Tells the kernel to forget. Implemented by fuse/notifier.h: queued, never waits, no reply waits
// for it.
class KernelCache {
 public:
  virtual ~KernelCache() = default;
  virtual void drop_pages(NodeId node) = 0;
  virtual void drop_attributes(NodeId node) = 0;
  // At once, on this thread. REQUIRES: the kernel is waiting for the answer to an open of `node`,
  // so that it holds the inode and nothing that this could wait for.
  virtual void drop_attributes_of_opening(NodeId node) = 0;
  virtual void drop_name(NodeId parent, std::string_view name) = 0;
};

// Lets the kernel read and write a file of the share by itself (FUSE passthrough). Implemented by
// fuse/backing_files.h. Thread: any.
class PassThrough {
 public:
  virtual ~PassThrough() = default;
  // False: the kernel, or what larder may do, does not allow it at all.
  virtual bool available() const = 0;
  // `file`: may be one that only stands for it. The kernel keeps it until close(). Errors: kSystem,
  // where this file cannot be passed through.
  virtual Result<BackingId> open(const Fd& file) = 0;
  virtual void close(BackingId id) = 0;
};

// A write(2), or the kernel: pages that were mapped, or that it gathered. Those go to their place
// through any handle that can write, one that appends too.
enum class WrittenBy : std::uint8_t { kCall, kKernel };

class Filesystem {
 public:
  virtual ~Filesystem() = default;

  // names
  virtual void lookup(NodeId parent, std::string_view name, Reply reply) = 0;
  virtual void forget(NodeId node, std::uint64_t lookups) = 0;
  virtual void read_link(NodeId node, Reply reply) = 0;
  virtual void make_directory(NodeId parent, std::string_view name, std::uint32_t mode,
                              Caller caller, Reply reply) = 0;
  virtual void make_node(NodeId parent, std::string_view name, std::uint32_t mode,
                         std::uint64_t rdev, Caller caller, Reply reply) = 0;
  virtual void make_symlink(NodeId parent, std::string_view name, std::string_view target,
                            Caller caller, Reply reply) = 0;
  virtual void make_link(NodeId node, NodeId new_parent, std::string_view new_name,
                         Reply reply) = 0;
  virtual void remove_file(NodeId parent, std::string_view name, Reply reply) = 0;
  virtual void remove_directory(NodeId parent, std::string_view name, Reply reply) = 0;
  virtual void rename(NodeId parent, std::string_view name, NodeId new_parent,
                      std::string_view new_name, unsigned flags, Reply reply) = 0;

  // attributes
  virtual void get_attributes(NodeId node, HandleId handle, Reply reply) = 0;
  virtual void set_attributes(NodeId node, const SetAttributes& change, Reply reply) = 0;
  virtual void access(NodeId node, int mask, Reply reply) = 0;
  virtual void stat_fs(NodeId node, Reply reply) = 0;
  // `size` 0 asks for the size only.
  virtual void get_xattr(NodeId node, std::string_view name, std::size_t size, Reply reply) = 0;
  virtual void list_xattr(NodeId node, std::size_t size, Reply reply) = 0;
  virtual void set_xattr(NodeId node, std::string_view name, std::span<const std::byte> value,
                         int flags, Reply reply) = 0;
  virtual void remove_xattr(NodeId node, std::string_view name, Reply reply) = 0;

  // files
  virtual void open(NodeId node, int flags, Caller caller, Reply reply) = 0;
  virtual void create(NodeId parent, std::string_view name, int flags, std::uint32_t mode,
                      Caller caller, Reply reply) = 0;
  // O_TMPFILE: a file in `directory` that has no name until make_link() gives it one.
  virtual void create_unnamed(NodeId directory, int flags, std::uint32_t mode, Caller caller,
                              Reply reply) = 0;
  virtual void read(NodeId node, HandleId handle, ByteOffset offset, ByteCount count,
                    Reply reply) = 0;
  // `data` lies in the reply's own buffer: valid until the answer.
  virtual void write(NodeId node, HandleId handle, ByteOffset offset,
                     std::span<const std::byte> data, WrittenBy by, Reply reply) = 0;
  // A close(2): what `owner` has locked of the file is free again.
  virtual void flush(NodeId node, HandleId handle, LockOwner owner, Reply reply) = 0;
  virtual void sync(NodeId node, HandleId handle, SyncWhat what, Reply reply) = 0;
  virtual void release(NodeId node, HandleId handle, Reply reply) = 0;
  // `mode`: FALLOC_FL_*.
  virtual void allocate(NodeId node, HandleId handle, int mode, ByteOffset offset, ByteCount length,
                        Reply reply) = 0;
  // `whence`: SEEK_DATA or SEEK_HOLE.
  virtual void seek(NodeId node, HandleId handle, ByteOffset offset, int whence, Reply reply) = 0;
  // Locks come here only with locks=share.
  virtual void get_lock(NodeId node, HandleId handle, LockOwner owner, const LockRange& range,
                        Reply reply) = 0;
  virtual void set_lock(NodeId node, HandleId handle, LockOwner owner, const LockRange& range,
                        Waits waits, Reply reply) = 0;
  virtual void lock_whole(NodeId node, HandleId handle, LockType type, Waits waits,
                          Reply reply) = 0;
  virtual void copy_range(const FilePlace& from, const FilePlace& to, ByteCount length,
                          Reply reply) = 0;

  // directories
  virtual void open_directory(NodeId node, Reply reply) = 0;
  virtual void read_directory(NodeId node, HandleId handle, std::uint64_t offset, std::size_t size,
                              Reply reply) = 0;
  virtual void read_directory_plus(NodeId node, HandleId handle, std::uint64_t offset,
                                   std::size_t size, Reply reply) = 0;
  virtual void sync_directory(NodeId node, SyncWhat what, Reply reply) = 0;
  virtual void release_directory(NodeId node, HandleId handle, Reply reply) = 0;
};

}  // namespace larder
