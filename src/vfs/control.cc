// SPDX-License-Identifier: Apache-2.0
#include "vfs/control.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "base/mutex.h"

namespace larder {
namespace {

// A file that is being read. `text` is of the bytes from `start` on; `more` makes what follows.
struct Reading {
  std::function<Pager()> begin;
  Mutex mutex{Rank::kControl};
  Pager more GUARDED_BY(mutex);  // null: that was all
  std::string text GUARDED_BY(mutex);
  std::uint64_t start GUARDED_BY(mutex) = 0;

  // Makes the text reach from `from` to `end`, or to its end.
  void reach(std::uint64_t from, std::uint64_t end) REQUIRES(mutex);
};

// What lies before `from` is let go, except for what one read may still ask for again.
constexpr std::size_t kKept = 1 << 20;

void Reading::reach(std::uint64_t from, std::uint64_t end) {
  if (from < start) {
    more = begin();
    text.clear();
    start = 0;
  }
  while (more && start + text.size() < end) {
    if (from > start + 2 * kKept && text.size() > 2 * kKept) {
      const std::size_t gone = std::min<std::size_t>(from - start, text.size()) - kKept;
      text.erase(0, gone);
      start += gone;
    }
    if (!more(text)) more = nullptr;
  }
}

Reading& reading_of(HandleId handle) { return *reinterpret_cast<Reading*>(handle.value()); }

}  // namespace

Control::Control(std::string name, std::uint32_t uid, std::uint32_t gid, const Clock& clock)
    : name_(std::move(name)), uid_(uid), gid_(gid), made_wall_ns_(clock.wall_ns()) {}

void Control::add(std::string name, std::uint32_t mode, std::function<std::string()> render) {
  files_.push_back({std::move(name), mode,
                    [render = std::move(render)](std::string_view) { return one_page(render()); }});
}

void Control::add_paged(std::string name, std::uint32_t mode, std::function<Pager()> begin) {
  files_.push_back(
      {std::move(name), mode, [begin = std::move(begin)](std::string_view) { return begin(); }});
}

void Control::add_filtered(std::string name, std::uint32_t mode,
                           std::function<Pager(std::string_view)> begin) {
  filtered_ = files_.size();
  files_.push_back({std::move(name), mode, std::move(begin)});
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

std::uint64_t Control::find(std::string_view name) const {
  for (std::size_t i = 0; i < files_.size(); ++i)
    if (files_[i].name == name) return kFirstFile + i;
  const std::size_t colon = name.find(':');
  if (colon == name.npos || filtered_ == SIZE_MAX ||
      name.substr(0, colon) != files_[filtered_].name)
    return 0;
  // As in the kernel, letters that mean nothing are passed over.
  std::uint64_t mask = 0;
  for (const char letter : name.substr(colon + 1)) {
    const std::size_t bit = kLetters.find(letter);
    if (bit != kLetters.npos) mask |= std::uint64_t{1} << bit;
  }
  return kFirstFilter + mask;
}

void Control::lookup(NodeId parent, std::string_view name, Reply reply) const {
  if (parent == kRootNode) return reply.entry(entry_of(NodeId{kDirectory}));
  const std::uint64_t node = find(name);
  if (node == 0) return reply.error({ErrorCode::kNotFound, ENOENT});
  reply.entry(entry_of(NodeId{node}));
}

Pager Control::text_of(std::string_view name) const {
  const std::uint64_t node = find(name);
  return node == 0 ? Pager() : begin(NodeId{node});
}

Pager Control::begin(NodeId node) const {
  std::string letters;
  if (node.value() >= kFirstFilter)
    for (std::size_t bit = 0; bit < kLetters.size(); ++bit)
      if ((node.value() - kFirstFilter) >> bit & 1) letters.push_back(kLetters[bit]);
  return file_of(node).begin(letters);
}

void Control::get_attributes(NodeId node, Reply reply) const {
  reply.attributes(node.value(), attributes_of(node), kSecond);
}

void Control::open(NodeId node, Reply reply) const {
  if (node.value() == kDirectory) return reply.opened({.handle = HandleId{1}});
  auto reading = std::make_unique<Reading>();
  reading->begin = [this, node] { return begin(node); };
  {
    MutexLock lock(reading->mutex);
    reading->more = reading->begin();
  }
  // Its size is not known before it is read, so the kernel must not go by it.
  reply.opened({.handle = HandleId{reinterpret_cast<std::uintptr_t>(reading.release())},
                .direct_io = true,
                .no_flush = true});
}

void Control::read(HandleId handle, ByteOffset offset, ByteCount count, Reply reply) const {
  Reading& reading = reading_of(handle);
  std::size_t length = 0;
  {
    MutexLock lock(reading.mutex);
    reading.reach(offset.value(), offset.value() + count.value());
    const std::uint64_t end = reading.start + reading.text.size();
    const std::uint64_t from = std::min(offset.value(), end);
    length = std::min<std::size_t>(count.value(), end - from);
    std::memcpy(reply.payload().data(), reading.text.data() + (from - reading.start), length);
  }
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
    const std::unique_ptr<Reading> gone(&reading_of(handle));
  }
  reply.ok();
}

}  // namespace larder
