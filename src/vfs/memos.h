// SPDX-License-Identifier: Apache-2.0
// Memos: what the share is being asked, by whom, and what is kept of its answers.
//
// Names and attributes that were found live in NameTree and Inode, where the kernel's references
// hold them; here they are only shared while they are asked for. Listings, link targets, xattrs and
// "no such name" are kept here, and give way to others when there is no room.
//
// One guard numbers them all. A key begins with the file that it is about, and its type; what is
// kept of a file goes with its inode, since the share may give its number to another one:
//   file, "names", name     what a name of this directory is (its key: vfs/name_keys.h)
//   file, "list"            its listing
//   file, "attr", n         its attributes, asked for behind its n-th change of our own
//   file, "link"            a symbolic link's target
//   file, "xattr", name     one extended attribute; an empty name: their list
// With creds=caller, who asked stands behind each of these: what is invalidated is so for all.
// What we change ourselves is invalidated behind the share's answer and before ours. So an answer
// of the share that was asked for before, and came after, tells who waited and is not kept.
#pragma once

#include <larder/netfs.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "memo/cache.h"
#include "vfs/inode.h"
#include "vfs/listed.h"

namespace larder {

// What a name was found to be.
struct Looked {
  InodeRef inode;                 // null: no such name
  Nanoseconds until_mono_ns = 0;  // trusted until then
};

// What the share said, and when it was asked.
struct Text {
  std::string text;
  int sys_errno = 0;  // not 0: instead of the text
  Nanoseconds asked_mono_ns = 0;
};

struct Memos {
  static constexpr std::size_t kAbsentBytes = 512;  // one absent name with its key
  static constexpr std::size_t kAbsentNames = 64 << 10;
  static constexpr std::size_t kListingBytes = 32 << 20;
  static constexpr std::size_t kTextBytes = 16 << 20;

  using OnStale = std::function<void(std::string_view what)>;
  OnStale on_stale;  // what was kept is another by now; set by verify()

  memo::SequenceGuard guard;
  memo::Cache<Looked> names{
      guard,
      {.name = "names",
       .capacity = kAbsentNames,
       .keeps = [](const auto& looked) { return looked && !looked->inode; },
       .equal = [](const Looked& a, const Looked& b) { return a.inode == b.inode; },
       .on_stale = [this](const memo::TreeKey&) { on_stale("an absent name"); }}};
  memo::Cache<Attributes> attributes{guard, {.name = "attributes", .capacity = 0}};
  memo::Cache<Listed> listings{
      guard,
      {.name = "listings",
       .capacity = kListingBytes,
       .weigh =
           [](const Listed& listed) {
             std::size_t bytes = sizeof(Listed);
             for (const Dirent& entry : listed.entries)
               bytes += sizeof(Dirent) + sizeof(std::uint64_t) + entry.name.size();
             return bytes;
           },
       .equal =
           [](const Listed& a, const Listed& b) {
             return std::ranges::equal(a.entries, b.entries, {}, &Dirent::name, &Dirent::name);
           },
       .on_stale = [this](const memo::TreeKey&) { on_stale("a listing"); }}};
  memo::Cache<Text> links{guard, texts("links", "a link's target")};
  memo::Cache<Text> xattrs{guard, texts("xattrs", "an extended attribute")};

  Memos() = default;
  Memos(const Memos&) = delete;  // its caches know where it is
  Memos& operator=(const Memos&) = delete;

  // Before the first question: nothing kept is answered without asking the share again.
  void verify(OnStale told) {
    on_stale = std::move(told);
    names.set_verify(memo::Verify::kServe);
    listings.set_verify(memo::Verify::kServe);
    links.set_verify(memo::Verify::kServe);
    xattrs.set_verify(memo::Verify::kServe);
  }
  // `what`: what a stale one is called.
  memo::Cache<Text>::Options texts(const char* name, const char* what) {
    return {.name = name,
            .capacity = kTextBytes,
            .weigh = weight_of,
            .equal = same_text,
            .on_stale = [this, what](const memo::TreeKey&) { on_stale(what); }};
  }
  static bool same_text(const Text& a, const Text& b) {
    return a.text == b.text && a.sys_errno == b.sys_errno;
  }
  static std::size_t weight_of(const Text& text) { return 256 + text.text.size(); }
  // What they take, about.
  std::size_t bytes() const {
    return names.weight() * kAbsentBytes + listings.weight() + links.weight() + xattrs.weight();
  }
  void forget(const Inode& inode);
  // Lets go of about so many bytes, of what costs least to ask for again last.
  void shed(std::size_t bytes) {
    listings.shed(bytes);
    links.shed(bytes / 8);
    xattrs.shed(bytes / 8);
    names.shed(bytes / 8 / kAbsentBytes);
  }
  void register_in(stats::Registry& registry) const {
    names.register_in(registry);
    attributes.register_in(registry);
    listings.register_in(registry);
    links.register_in(registry);
    xattrs.register_in(registry);
  }
};

template <class... Parts>
memo::TreeKey key_of(const Inode& inode, const Parts&... parts) {
  const FileId& file = inode.file_id;
  return memo::TreeKey::of(file.inode, file.device, file.generation, inode.type_bits, parts...);
}

// Only what there can be of its type: this is done for each inode that goes.
inline void Memos::forget(const Inode& inode) {
  const memo::TreeKey all = key_of(inode);
  xattrs.invalidate(all);
  if (inode.is_symlink()) links.invalidate(all);
  if (!inode.is_directory()) return;
  names.invalidate(all);
  listings.invalidate(all);
}

}  // namespace larder
