// SPDX-License-Identifier: Apache-2.0
#include "vfs/control.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

namespace larder {
namespace {

const std::string& text_of(HandleId handle) {
  return *reinterpret_cast<const std::string*>(handle.value());
}

}  // namespace

Control::Control(std::string name, std::uint32_t uid, std::uint32_t gid, const Clock& clock)
    : name_(std::move(name)), uid_(uid), gid_(gid), made_wall_ns_(clock.wall_ns()) {}

void Control::add(std::string name, std::uint32_t mode, std::function<std::string()> render) {
  files_.push_back(
      {std::move(name), mode, [render = std::move(render)](std::string_view) { return render(); }});
}

void Control::add_filtered(std::string name, std::uint32_t mode,
                           std::function<std::string(std::string_view)> render) {
  filtered_ = files_.size();
  files_.push_back({std::move(name), mode, std::move(render)});
}

const Control::File& Control::file_of(NodeId node) const {
  return files_[node.value() >= kFirstFilter ? filtered_ : node.value() - kFirstFile];
}

Attributes Control::attributes_of(NodeId node) const {
  Attributes attributes;
  attributes.inode = node.value();
  attributes.uid = uid_;
  attributes.gid = gid_;
  attributes.atime_ns = attributes.mtime_ns = attributes.ctime_ns = made_wall_ns_;
  if (node.value() == kDirectory) {
    attributes.mode = S_IFDIR | 0700;
    attributes.nlink = 2;
  } else {
    attributes.mode = S_IFREG | file_of(node).mode;
  }
  return attributes;
}

Entry Control::entry_of(NodeId node) const {
  Entry entry;
  entry.node = node;
  entry.generation = 1;
  entry.inode = node.value();
  entry.attributes = attributes_of(node);
  entry.entry_ttl_ns = entry.attr_ttl_ns = kSecond;
  return entry;
}

void Control::lookup(NodeId parent, std::string_view name, Reply reply) const {
  if (parent == kRootNode) return reply.entry(entry_of(NodeId{kDirectory}));
  for (std::size_t i = 0; i < files_.size(); ++i)
    if (files_[i].name == name) return reply.entry(entry_of(NodeId{kFirstFile + i}));
  const std::size_t colon = name.find(':');
  if (colon == name.npos || filtered_ == SIZE_MAX ||
      name.substr(0, colon) != files_[filtered_].name)
    return reply.error({ErrorCode::kNotFound, ENOENT});
  // As in the kernel, letters that mean nothing are passed over.
  std::uint64_t mask = 0;
  for (const char letter : name.substr(colon + 1)) {
    const std::size_t bit = kLetters.find(letter);
    if (bit != kLetters.npos) mask |= std::uint64_t{1} << bit;
  }
  reply.entry(entry_of(NodeId{kFirstFilter + mask}));
}

void Control::get_attributes(NodeId node, Reply reply) const {
  reply.attributes(node.value(), attributes_of(node), kSecond);
}

void Control::open(NodeId node, Reply reply) const {
  if (node.value() == kDirectory) return reply.opened({.handle = HandleId{1}});
  std::string letters;
  if (node.value() >= kFirstFilter)
    for (std::size_t bit = 0; bit < kLetters.size(); ++bit)
      if ((node.value() - kFirstFilter) >> bit & 1) letters.push_back(kLetters[bit]);
  auto text = std::make_unique<std::string>(file_of(node).render(letters));
  // Its size is not known before it is opened, so the kernel must not go by it.
  reply.opened({.handle = HandleId{reinterpret_cast<std::uintptr_t>(text.release())},
                .direct_io = true,
                .no_flush = true});
}

void Control::read(HandleId handle, ByteOffset offset, ByteCount count, Reply reply) const {
  const std::string& text = text_of(handle);
  const std::size_t from = std::min<std::size_t>(offset.value(), text.size());
  const std::size_t length = std::min<std::size_t>(count.value(), text.size() - from);
  std::memcpy(reply.payload().data(), text.data() + from, length);
  reply.data(ByteCount{length});
}

// Calls `add(name, node, mode, next)` for each entry from `offset` on, until it is refused.
template <class Add>
void Control::list(std::uint64_t offset, Add add) const {
  const auto entry = [&](std::string_view name, std::uint64_t node, std::uint32_t mode,
                         std::uint64_t next) {
    return offset >= next || add(name, node, mode, next);
  };
  bool room = entry(".", kDirectory, S_IFDIR, 1) && entry("..", kRootNode.value(), S_IFDIR, 2);
  for (std::size_t i = 0; room && i < files_.size(); ++i)
    room = entry(files_[i].name, kFirstFile + i, S_IFREG, i + 3);
}

void Control::read_directory(std::uint64_t offset, std::size_t size, Reply reply) const {
  std::size_t used = 0;
  list(offset,
       [&](std::string_view name, std::uint64_t node, std::uint32_t mode, std::uint64_t next) {
         return reply.slot().add_dirent(used, size, name, node, mode, next);
       });
  reply.data(ByteCount{used});
}

void Control::read_directory_plus(std::uint64_t offset, std::size_t size, Reply reply) const {
  std::size_t used = 0;
  list(offset,
       [&](std::string_view name, std::uint64_t node, std::uint32_t mode, std::uint64_t next) {
         Entry entry;  // node 0: a name only, looked up when it is used
         entry.inode = node;
         entry.attributes.mode = mode;
         return reply.slot().add_dirent_plus(used, size, name, entry, next);
       });
  reply.data(ByteCount{used});
}

void Control::release(HandleId handle, Reply reply) const {
  if (handle.value() != 1) {
    const std::unique_ptr<const std::string> gone(&text_of(handle));
  }
  reply.ok();
}

}  // namespace larder
