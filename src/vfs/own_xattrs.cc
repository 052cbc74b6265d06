// SPDX-License-Identifier: Apache-2.0
// The extended attributes user.larder.*: what larder knows of one file, readable by name and never
// listed, so that cp -a, rsync -X and tar do not copy them.
//
//   cached        per cent of the file's pages that are in the store
//   cached_bytes  the same in bytes
//   ranges        which: "0-1048575,2097152-2101247", cut with "..." when there are many
//   state         of its object, as in `objects`; "none" where it has none
//   generation    how many versions of it have been seen since it came into memory
//   hits          reads of it that were answered from the store
//   validated     seconds since the share was asked; "no" when it will be asked at the next use
//   source        its path in the share
//   pinned        1 where what is cached of it is not evicted
//
// Two can be set: `pin` to 1 or 0 (EAGAIN where nothing can be cached of it now), and `cull` lets
// go of what is cached of the file. EBUSY where it is being written, or an operation on it is under
// way.
#include <fmt/format.h>
#include <larder/store.h>

#include <cerrno>
#include <iterator>
#include <memory>
#include <utility>

#include "vfs/vfs.h"

namespace larder {
namespace {

constexpr std::string_view kPrefix = "user.larder.";
constexpr std::size_t kRangesMax = 100;

// What the store holds of a file.
struct Held {
  std::uint64_t file_size = 0;
  std::vector<PageRange> ranges;
};

std::uint64_t bytes_of(const Held& held) {
  std::uint64_t bytes = 0;
  for (const PageRange& range : held.ranges) {
    const std::uint64_t from = to_bytes(range.first).value();
    bytes += std::min(to_bytes(range.end()).value(), held.file_size) - from;
  }
  return bytes;
}

std::string ranges_text(const Held& held) {
  std::string text;
  std::size_t n = 0;
  for (const PageRange& range : held.ranges) {
    if (++n > kRangesMax) return text + ",...";
    if (!text.empty()) text += ',';
    fmt::format_to(std::back_inserter(text), "{}-{}", to_bytes(range.first).value(),
                   std::min(to_bytes(range.end()).value(), held.file_size) - 1);
  }
  return text;
}

std::string cached_text(const Held& held) {
  if (held.file_size == 0) return "100";
  // Never "100" while a byte is missing.
  return fmt::format("{}", bytes_of(held) * 100 / held.file_size);
}

Held held_by(const cache::Operation& operation, std::uint64_t file_size) {
  Held held{file_size, {}};
  const PageRange all{PageIndex{0}, pages_for(ByteCount{file_size})};
  PageIndex at{0};
  for (const PageRange& gap :
       cache::FsCache::store_of(operation).missing(cache::FsCache::data_of(operation), all)) {
    if (gap.first > at) held.ranges.push_back({at, gap.first - at});
    at = gap.end();
  }
  if (all.end() > at) held.ranges.push_back({at, all.end() - at});
  return held;
}

}  // namespace

// A question about what the store holds; waits for the object's look-up where it must.
struct Vfs::OwnXattr : cache::Operation {
  OwnXattr(InodeRef i, std::string n, std::size_t s, Reply r)
      : inode(std::move(i)), name(std::move(n)), size(s), reply(std::move(r)) {
    type = cache::OperationType::kFast;
    run = [](cache::Operation& self) { static_cast<OwnXattr&>(self).look(); };
    cancelled = [](cache::Operation& self) {
      const std::unique_ptr<OwnXattr> last(&static_cast<OwnXattr&>(self));
      // There is no object that could be pinned: the cache has gone, or has no room for it.
      if (last->sets()) return last->reply.error({ErrorCode::kShareAnswer, EAGAIN});
      if (last->name == "pinned")
        return answer_text({.text = "0"}, last->size, std::move(last->reply));
      last->answer(Held{last->file_size(), {}});
    };
  }

  static constexpr std::string_view kPin = "pin", kUnpin = "unpin";
  bool sets() const { return name == kPin || name == kUnpin; }
  void set_pinning(store::Store::Pinning pinning) {
    cache::FsCache::store_of(*this).set_pinning(cache::FsCache::data_of(*this), pinning);
  }
  std::uint64_t file_size() const {
    MutexLock lock(inode->mutex);
    return inode->attributes.size;
  }
  void look() {
    const std::unique_ptr<OwnXattr> last(this);
    if (sets()) {
      set_pinning(name == kPin ? store::Store::Pinning::kPinned : store::Store::Pinning::kFree);
      vfs->parts_.cache.complete(*this);
      return reply.ok();
    }
    const bool pinned = cache::FsCache::store_of(*this).pinning(cache::FsCache::data_of(*this)) ==
                        store::Store::Pinning::kPinned;
    const Held held = held_by(*this, file_size());
    vfs->parts_.cache.complete(*this);
    if (name == "pinned") return answer_text({.text = pinned ? "1" : "0"}, size, std::move(reply));
    answer(held);
  }
  void answer(const Held& held) {
    std::string text;
    if (name == "cached") text = cached_text(held);
    if (name == "cached_bytes") text = fmt::format("{}", bytes_of(held));
    if (name == "ranges") text = ranges_text(held);
    answer_text({.text = std::move(text)}, size, std::move(reply));
  }

  Vfs* vfs = nullptr;
  InodeRef inode;
  std::string name;
  std::size_t size;
  Reply reply;
};

void Vfs::cull(Inode& inode, Reply reply) {
  if (!inode.is_regular()) return reply.error({ErrorCode::kShareAnswer, EOPNOTSUPP});
  cache::CookieRef cookie;
  {
    MutexLock lock(inode.mutex);
    if (inode.session.kind == Session::Kind::kWrite) {
      lock.unlock();
      return reply.error({ErrorCode::kShareAnswer, EBUSY});
    }
    ensure_cookie_locked(inode);
    cookie = inode.cookie;
  }
  if (parts_.cache.cull(cookie) == cache::Culled::kInUse)
    return reply.error({ErrorCode::kShareAnswer, EBUSY});
  reply.ok();
}

void Vfs::pin(const InodeRef& inode, std::span<const std::byte> value, Reply reply) {
  const bool plain =
      value.size() == 1 && (value[0] == std::byte{'0'} || value[0] == std::byte{'1'});
  if (!inode->is_regular()) return reply.error({ErrorCode::kShareAnswer, EOPNOTSUPP});
  if (!plain) return reply.error({ErrorCode::kInvalid, EINVAL});
  ask_store(inode, value[0] == std::byte{'1'} ? OwnXattr::kPin : OwnXattr::kUnpin, 0,
            std::move(reply));
}

bool Vfs::is_own_xattr(std::string_view name) { return name.starts_with(kPrefix); }

void Vfs::get_own_xattr(const InodeRef& inode, std::string_view name, std::size_t size,
                        Reply reply) {
  name.remove_prefix(kPrefix.size());
  const bool of_content =
      name == "cached" || name == "cached_bytes" || name == "ranges" || name == "pinned";
  if (of_content && inode->is_regular()) return ask_store(inode, name, size, std::move(reply));
  std::string text;
  if (name == "state") {
    text = parts_.cache.state_of(inode->cookie_now());
  } else if (name == "generation") {
    text = fmt::format("{}", inode->generation.load());
  } else if (name == "hits") {
    text = fmt::format("{}", inode->warm_reads.load(std::memory_order_relaxed));
  } else if (name == "validated") {
    text = validated_text(*inode);
  } else if (name == "source") {
    const Result<std::string> path = names_.path_of(*inode);
    if (!path) return reply.error(path.error());
    text = path->empty() ? options_.share : options_.share + "/" + *path;
  } else {
    return reply.error({ErrorCode::kShareAnswer, ENODATA});
  }
  answer_text({.text = std::move(text)}, size, std::move(reply));
}

void Vfs::ask_store(const InodeRef& inode, std::string_view name, std::size_t size, Reply reply) {
  cache::CookieRef cookie;
  {
    MutexLock lock(inode->mutex);
    ensure_cookie_locked(*inode);
    cookie = inode->cookie;
  }
  if (!park(reply)) return;
  auto question = std::make_unique<OwnXattr>(inode, std::string(name), size, std::move(reply));
  question->vfs = this;
  OwnXattr& asked = *question.release();
  if (parts_.cache.submit(cookie, asked) == cache::Submitted::kNever) asked.cancelled(asked);
}

std::string Vfs::validated_text(const Inode& inode) const {
  const Nanoseconds trust_ns = attr_trust_ns(inode);
  const Nanoseconds now_ns = parts_.clock.mono_ns();
  MutexLock lock(inode.mutex);
  if (!inode.attributes_known || inode.trusted_until_mono_ns < now_ns) return "no";
  const Nanoseconds asked_ns = inode.trusted_until_mono_ns - trust_ns;
  return fmt::format("{:.3f}", static_cast<double>(now_ns - asked_ns) / kSecond);
}

}  // namespace larder
