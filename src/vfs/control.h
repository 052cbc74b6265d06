// SPDX-License-Identifier: Apache-2.0
// Control: the directory `.larder` in the root of the mount, not listed, and its files.
//
// A file is made while it is read, piece by piece (<larder/pager.h>), from counters and tables that
// never wait for the share or the store; so neither open nor read blocks, however long the file is.
// A handle keeps the piece that is being read: reading on is cheap, going back makes the file anew.
// `objects:LETTERS` is `objects` with a filter.
//
// Nodes below kNodesEnd are ours: an inode's address is never that small.
// Thread: any, once all files are added.
#pragma once

#include <larder/clock.h>
#include <larder/filesystem.h>
#include <larder/pager.h>
#include <larder/reply.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace larder {

class Control {
 public:
  // `name` of the directory; `uid`, `gid` own it.
  Control(std::string name, std::uint32_t uid, std::uint32_t gid, const Clock& clock);

  // REQUIRES: before the mount. `render` must not block. `mode`: permissions.
  void add(std::string name, std::uint32_t mode, std::function<std::string()> render);
  // One that may be long.
  void add_paged(std::string name, std::uint32_t mode, std::function<Pager()> begin);
  // One that takes a filter behind a colon. REQUIRES: at most one.
  void add_filtered(std::string name, std::uint32_t mode,
                    std::function<Pager(std::string_view letters)> begin);

  // The file's text, for who reaches it by name ("objects:KB"); null: there is none.
  Pager text_of(std::string_view name) const;

  bool owns(NodeId node) const { return node != kRootNode && node.value() < kNodesEnd; }
  bool is_name(std::string_view name) const { return name == name_; }

  void lookup(NodeId parent, std::string_view name, Reply reply) const;
  void get_attributes(NodeId node, Reply reply) const;
  void open(NodeId node, Reply reply) const;
  void read(HandleId handle, ByteOffset offset, ByteCount count, Reply reply) const;
  void read_directory(std::uint64_t offset, std::size_t size, Reply reply) const;
  void read_directory_plus(std::uint64_t offset, std::size_t size, Reply reply) const;
  void release(HandleId handle, Reply reply) const;

 private:
  struct File {
    std::string name;
    std::uint32_t mode;
    std::function<Pager(std::string_view)> begin;
  };
  static constexpr std::uint64_t kDirectory = 2;
  static constexpr std::uint64_t kFirstFile = 3;
  static constexpr std::uint64_t kFirstFilter = 4096;  // + one bit a letter of kLetters
  static constexpr std::string_view kLetters = "KACcBbWwRrSs";
  static constexpr std::uint64_t kNodesEnd = kFirstFilter + (1u << kLetters.size());

  template <class Add>
  void list(std::uint64_t offset, Add add) const;
  Attributes attributes_of(NodeId node) const;
  Entry entry_of(NodeId node) const;
  const File& file_of(NodeId node) const;
  // The node of a name; 0: there is none.
  std::uint64_t find(std::string_view name) const;
  Pager begin(NodeId node) const;

  const std::string name_;
  const std::uint32_t uid_, gid_;
  const Nanoseconds made_wall_ns_;
  std::vector<File> files_;
  std::size_t filtered_ = SIZE_MAX;  // index of the file that takes a filter
};

}  // namespace larder
