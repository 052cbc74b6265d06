// SPDX-License-Identifier: Apache-2.0
// verify: whatever would be answered from what is kept is asked for all the same, and the two are
// compared. Where they differ the share's is served, what was kept goes, and a line says so. For
// finding a cache that lies, or a share whose changes do not show (docs/operating.md).
//
// Names and attributes are compared where the share's answers come in (looked_up, learn), what
// memos keep where it lands (memo/cache.h, M6), and pages here: what the store holds of a read is
// set aside, the same is fetched, and the bytes that the read asked for are compared.
#include <larder/log.h>

#include <algorithm>
#include <cstring>
#include <tuple>

#include "vfs/parked_read.h"
#include "vfs/vfs.h"

namespace larder {
namespace {

// Who mounts an unsuited share should see why, and not fill a disk with it.
constexpr std::uint64_t kLinesMost = 1000;

bool same(const Attributes& a, const Attributes& b) {
  const auto told = [](const Attributes& of) {
    return std::tuple(of.mode, of.uid, of.gid, of.rdev, of.size, of.mtime_ns, of.ctime_ns);
  };
  return told(a) == told(b) && (a.is_directory() || a.nlink == b.nlink);
}

}  // namespace

void Vfs::verify_all() {
  memos_.verify([this](std::string_view what) { found_stale(what, "some file"); });
}

void Vfs::found_stale(std::string_view what, const std::string& path) {
  counters_.stale_answers.add();
  if (counters_.stale_answers.value() > kLinesMost) return;
  log(LogLevel::kWarn, "verify: {} of {} would have been answered as it was kept, and is another",
      what, path);
}

// `now` is what the share said behind a time for which what was known was trusted.
bool Vfs::would_have_lied_locked(const Inode& inode, const Attributes& now,
                                 const Asked& asked) const {
  return options_.verify && inode.attributes_known &&
         asked.at_mono_ns < inode.trusted_until_mono_ns &&
         inode.session.kind != Session::Kind::kWrite && !same(inode.attributes, now);
}

void Vfs::compare_name(const Inode& directory, const std::string& name, const Inode* now,
                       const Asked& asked) {
  const NameTree::Found known = names_.find(directory, name);
  const bool was_trusted = known.inode && asked.at_mono_ns < known.trusted_until_mono_ns;
  if (was_trusted && known.inode.get() != now)
    found_stale("a name", names_.path_of(directory, name).value_or(name));
}

// REQUIRES: `operation` is in progress. The pages that are not `missing`, as the store has them.
void Vfs::set_aside(ParkedRead& read, const cache::Operation& operation,
                    const std::vector<PageRange>& missing) const {
  read.aside = std::make_unique<AlignedBuffer>(to_bytes(read.pages.count).value());
  {
    MutexLock lock(read.inode().mutex);
    read.aside_change = read.inode().last_change;
  }
  const auto take = [&](PageRange range) {
    if (range.empty()) return;
    const std::span<std::byte> into = read.aside->span().subspan(
        to_bytes(range.first - read.pages.first).value(), to_bytes(range.count).value());
    const PageCount served = read_store(operation, range, into);
    if (served.value() != 0) read.aside_ranges.push_back({range.first, served});
  };
  PageIndex at = read.pages.first;
  for (const PageRange& range : missing) {
    take({at, range.first - at});
    at = range.end();
  }
  take({at, read.pages.end() - at});
}

// What the share has just brought lies in the payload.
bool Vfs::lies_aside(ParkedRead& read) {
  const std::uint64_t begin = to_bytes(read.pages.first).value();
  const std::uint64_t end = read.offset.value() + read.count.value();
  for (const PageRange& range : read.aside_ranges) {
    const std::uint64_t from = std::max(to_bytes(range.first).value(), read.offset.value());
    const std::uint64_t to = std::min(to_bytes(range.end()).value(), end);
    if (from < to && std::memcmp(read.aside->data() + (from - begin),
                                 read.reply.payload().data() + (from - begin), to - from) != 0)
      return true;
  }
  return false;
}

// The bytes of one version are two: nothing that is kept of it can be believed.
void Vfs::retire_liar(const ParkedRead& read) {
  Inode& inode = read.inode();
  {
    MutexLock lock(inode.mutex);
    // Of another version by now, or written by us in between.
    if (inode.generation.load() != read.generation || inode.last_change != read.aside_change ||
        inode.session.covers(read.pages))
      return;
    if (inode.session.kind == Session::Kind::kWrite)
      forget_pages_locked(inode);
    else
      new_version_locked(inode, inode.identity);
  }
  found_stale("content", names_.path_of(inode).value_or("a file without a name"));
  kernel_->drop_pages(inode.node());
}

}  // namespace larder
