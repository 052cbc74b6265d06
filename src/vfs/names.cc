// SPDX-License-Identifier: Apache-2.0
#include "vfs/names.h"

#include <algorithm>
#include <utility>

namespace larder {
namespace {

// Deeper than any path that a share can hold; a loop of links, which would be a fault of ours, ends
// here.
constexpr unsigned kDepthMax = 2048;

}  // namespace

Result<std::string> NameTree::path_locked(const Inode& inode) const {
  if (&inode == &root_) return std::string();
  if (inode.links.empty()) return fail(ErrorCode::kShareStale);
  return path_locked(inode.links.front());
}

Result<std::string> NameTree::path_locked(const Link& last) const {
  std::string path = last.name;
  const Inode* at = last.parent.get();
  for (unsigned depth = 1; at != &root_; ++depth) {
    if (at->links.empty() || depth == kDepthMax) return fail(ErrorCode::kShareStale);
    const Link& link = at->links.front();
    path = link.name + "/" + path;
    at = link.parent.get();
  }
  return path;
}

std::vector<std::string> NameTree::paths_of(const Inode& inode) const {
  MutexLock lock(mutex_);
  std::vector<std::string> paths;
  for (const Link& link : inode.links)
    if (Result<std::string> path = path_locked(link)) paths.push_back(std::move(*path));
  return paths;
}

Result<std::string> NameTree::path_of(const Inode& inode) const {
  MutexLock lock(mutex_);
  return path_locked(inode);
}

Result<std::string> NameTree::path_of(const Inode& directory, std::string_view name) const {
  MutexLock lock(mutex_);
  TRY(std::string path, path_locked(directory));
  if (!path.empty()) path += '/';
  path += name;
  return path;
}

NameTree::Found NameTree::find(const Inode& directory, std::string_view name) const {
  MutexLock lock(mutex_);
  std::string room;
  const auto found = directory.children.find(keys_.key(name, room));
  if (found == directory.children.end()) return {};
  Inode& inode = *found->second.inode;
  bool as_spelled = true;
  if (keys_.folds()) {
    const auto link = link_of_locked(inode, directory, name);
    as_spelled = link != inode.links.end() && link->name == name;
  }
  return {inode.reference_if_alive(), found->second.trusted_until_mono_ns, as_spelled};
}

std::vector<Link>::iterator NameTree::link_of_locked(Inode& inode, const Inode& directory,
                                                     std::string_view name) const {
  return std::ranges::find_if(inode.links, [&](const Link& link) {
    return link.parent.get() == &directory && keys_.same(link.name, name);
  });
}

std::vector<Link> NameTree::links_of(const Inode& inode) const {
  MutexLock lock(mutex_);
  return inode.links;
}

// `dropped` takes the links that go: they may hold a directory's last reference, which must fall
// outside the lock.
InodeRef NameTree::remove_locked(Inode& directory, std::string_view name,
                                 std::vector<Link>& dropped) {
  std::string room;
  const auto found = directory.children.find(keys_.key(name, room));
  if (found == directory.children.end()) return nullptr;
  Inode& inode = *found->second.inode;
  directory.children.erase(found);
  InodeRef alive = inode.reference_if_alive();
  const auto link = link_of_locked(inode, directory, name);
  if (link != inode.links.end()) {
    dropped.push_back(std::move(*link));
    inode.links.erase(link);
  }
  return alive;
}

void NameTree::link_locked(Inode& directory, std::string_view name, Inode& inode, Child child) {
  child.inode = &inode;
  directory.children[keys_.key(name)] = child;
  // The newest name is the one that paths are made of: it was seen last.
  inode.links.insert(inode.links.begin(), Link{InodeRef(&directory), std::string(name)});
}

InodeRef NameTree::put(Inode& directory, std::string_view name, Inode& inode,
                       Nanoseconds trusted_until_mono_ns) {
  Dropped dropped;
  put(directory, name, inode, trusted_until_mono_ns, dropped);
  return std::move(dropped.inode);
}

void NameTree::put(Inode& directory, std::string_view name, Inode& inode,
                   Nanoseconds trusted_until_mono_ns, Dropped& dropped) {
  MutexLock lock(mutex_);
  std::string room;
  const auto found = directory.children.find(keys_.key(name, room));
  if (found != directory.children.end() && found->second.inode == &inode) {
    Child& child = found->second;
    const auto link = link_of_locked(inode, directory, name);
    // Another spelling takes the place of this one when the kernel trusts it no more.
    if (keys_.folds() && child.told_until_mono_ns <= clock_.mono_ns()) link->name = name;
    child.trusted_until_mono_ns = trusted_until_mono_ns;
    child.told_until_mono_ns = std::max(child.told_until_mono_ns, trusted_until_mono_ns);
    // Seen last: paths are made of this name now.
    std::rotate(inode.links.begin(), link, std::next(link));
    return;
  }
  dropped.inode = remove_locked(directory, name, dropped.links);
  link_locked(directory, name, inode, {nullptr, trusted_until_mono_ns, trusted_until_mono_ns});
}

void NameTree::remove(Inode& directory, std::string_view name, Dropped& dropped) {
  MutexLock lock(mutex_);
  dropped.inode = remove_locked(directory, name, dropped.links);
}

// The kernel moves what it knows along with the time for which it trusts that.
NameTree::Moved NameTree::move(Inode& from, std::string_view name, Inode& to,
                               std::string_view new_name) {
  Moved moved;
  MutexLock lock(mutex_);
  const Nanoseconds told_until_mono_ns = told_until_locked(from, name);
  moved.from.inode = remove_locked(from, name, moved.from.links);
  moved.to.inode = remove_locked(to, new_name, moved.to.links);
  if (moved.from.inode)
    link_locked(to, new_name, *moved.from.inode, {nullptr, 0, told_until_mono_ns});
  return moved;
}

NameTree::Moved NameTree::exchange(Inode& a, std::string_view a_name, Inode& b,
                                   std::string_view b_name) {
  Moved moved;
  MutexLock lock(mutex_);
  const Nanoseconds a_until_mono_ns = told_until_locked(a, a_name);
  const Nanoseconds b_until_mono_ns = told_until_locked(b, b_name);
  moved.from.inode = remove_locked(a, a_name, moved.from.links);
  moved.to.inode = remove_locked(b, b_name, moved.to.links);
  if (moved.from.inode) link_locked(b, b_name, *moved.from.inode, {nullptr, 0, a_until_mono_ns});
  if (moved.to.inode) link_locked(a, a_name, *moved.to.inode, {nullptr, 0, b_until_mono_ns});
  return moved;
}

Nanoseconds NameTree::told_until_locked(const Inode& directory, std::string_view name) const {
  std::string room;
  const auto found = directory.children.find(keys_.key(name, room));
  return found == directory.children.end() ? 0 : found->second.told_until_mono_ns;
}

void NameTree::distrust(Inode& inode) {
  MutexLock lock(mutex_);
  std::string room;
  Inode* at = &inode;
  for (unsigned depth = 0; !at->links.empty() && depth < kDepthMax; ++depth) {
    for (const Link& link : at->links) {
      const auto found = link.parent->children.find(keys_.key(link.name, room));
      if (found != link.parent->children.end() && found->second.inode == at)
        found->second.trusted_until_mono_ns = 0;
    }
    at = at->links.front().parent.get();
  }
  // The next path is made of another name, where there is one.
  if (inode.links.size() > 1)
    std::rotate(inode.links.begin(), std::next(inode.links.begin()), inode.links.end());
}

void NameTree::detach(Inode& inode) {
  std::vector<Link> dropped;
  {
    MutexLock lock(mutex_);
    std::string room;
    for (Link& link : inode.links) {
      const auto found = link.parent->children.find(keys_.key(link.name, room));
      // The name may be another inode's by now: one that replaced this while it was on its way out.
      if (found != link.parent->children.end() && found->second.inode == &inode)
        link.parent->children.erase(found);
    }
    dropped = std::exchange(inode.links, {});
  }
}

}  // namespace larder
