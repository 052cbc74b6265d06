// SPDX-License-Identifier: Apache-2.0
// Attributes: stat, chmod and their kind, truncate, xattrs, statfs.
#include <cerrno>
#include <cstring>

#include "vfs/ask_share.h"

namespace larder {
namespace {

// df cannot hang: figures are asked for anew when they are older than this, or than what else is
// trusted, but never a minute old; and nobody waits longer for them.
constexpr Nanoseconds kFiguresTrust_ns = kSecond;
constexpr Nanoseconds kFiguresTrustMost_ns = 60 * kSecond;
constexpr std::string_view kCapability = "security.capability";

}  // namespace

void Vfs::answer_question(const Inode& inode, NodeId node, Reply reply) {
  const bool of_before = inode.is_regular() && node != inode.node();
  if (options_.writeback_cache && (of_before || inode.kernel_shows_another())) {
    names_.distrust(*inode_of(node));  // so that the look-up asks
    return reply.error({ErrorCode::kShareStale});
  }
  auto [attributes, ttl_ns] = attributes_of(inode);
  if (is_of_removed(inode, node)) {
    MutexLock lock(inode.mutex);
    if (inode.removed) attributes = *inode.removed;
  }
  reply.attributes(inode.inode_number, attributes, ttl_ns);
}

// By the kernel's inode of a file that was removed; another has its number by now.
bool Vfs::is_of_removed(const Inode& inode, NodeId node) const {
  if (options_.writeback_cache && inode.is_regular()) return false;  // of another version
  return node != node_of(inode);
}

void Vfs::answer_attributes(const Inode& inode, Reply reply) {
  const auto [attributes, ttl_ns] = attributes_of(inode);
  reply.attributes(inode.inode_number, attributes, ttl_ns);
}

// By this name alone.
Target Vfs::target_at(const Inode& inode, std::string path) {
  return {.path = std::move(path), .id = inode.file_id, .type_bits = inode.type_bits};
}

Target Vfs::target_by(const Inode& inode, std::shared_ptr<NetfsFile> file) const {
  std::vector<std::string> paths;
  if (&inode != root_.get()) paths = names_.paths_of(inode);
  Target target = target_at(inode, paths.empty() ? std::string() : std::move(paths.front()));
  target.file = std::move(file);
  for (std::size_t i = 1; i < paths.size(); ++i) target.other_paths.push_back(std::move(paths[i]));
  return target;
}

// By names; without one by a file that is open.
Result<Target> Vfs::named_or_open(const Inode& inode) const {
  Target target = target_by(inode, nullptr);
  if (!target.path.empty() || &inode == root_.get()) return target;
  target.file = inode.any_open_file(OpenFiles::Use::kAny);
  if (!target.file) return fail(ErrorCode::kShareStale);
  return target;
}

Result<Target> Vfs::target_of(const Inode& inode) const {
  Target target = target_by(inode, inode.open_file(OpenFiles::Use::kAny));
  const bool has_name = !target.path.empty() || &inode == root_.get();
  if (has_name || target.file) return target;
  target.file = inode.any_open_file(OpenFiles::Use::kAny);
  if (!target.file) return fail(ErrorCode::kShareStale);
  return target;
}

// Its last name was removed through us, and no file of the share is open on it (it is a directory,
// a FIFO, a link ...): who still holds it sees it as it was, and changes what nobody else sees.
bool Vfs::was_removed(Inode& inode) {
  MutexLock lock(inode.mutex);
  if (!inode.unlinked || !inode.attributes_known) return false;
  inode.attributes.nlink = 0;
  return true;
}

// Of what was removed and is not open on the share nothing can be asked: to whoever still holds it
// it is a file that has none.
Error Vfs::no_xattrs(Inode& inode, const Error& error) {
  return was_removed(inode) ? Error{ErrorCode::kShareAnswer, EOPNOTSUPP} : error;
}

void Vfs::change_removed(Inode& inode, NodeId node, const AttributeChange& change) {
  const bool other_has_number = is_of_removed(inode, node);
  MutexLock lock(inode.mutex);
  Attributes& is = other_has_number && inode.removed ? *inode.removed : inode.attributes;
  const std::int64_t now_ns = parts_.clock.wall_ns();
  const auto time = [&](std::int64_t t) { return t == AttributeChange::kNow ? now_ns : t; };
  if (change.mode) is.mode = (is.mode & 0170000) | (*change.mode & 07777);
  if (change.uid) is.uid = *change.uid;
  if (change.gid) is.gid = *change.gid;
  if (change.atime_ns) is.atime_ns = time(*change.atime_ns);
  if (change.mtime_ns) is.mtime_ns = time(*change.mtime_ns);
  is.ctime_ns = now_ns;
  if (inode.removed_by_us && !other_has_number) *inode.removed = is;
}

void Vfs::get_attributes(NodeId node, HandleId, Reply reply) {
  if (parts_.control.owns(node)) return parts_.control.get_attributes(node, std::move(reply));
  const InodeRef inode = inode_of(node);
  if (trusted(*inode)) return answer_question(*inode, node, std::move(reply));
  if (serve_unasked(*inode)) {
    counters_.served_unasked.add();
    probe();
    return answer_question(*inode, node, std::move(reply));
  }
  Result<Target> target = target_of(*inode);
  if (!target && was_removed(*inode)) return answer_question(*inode, node, std::move(reply));
  if (!target) return reply.error(target.error());
  bool known = false;
  std::uint64_t last_change = 0;
  {
    MutexLock lock(inode->mutex);
    known = inode->attributes_known;
    last_change = inode->last_change;
  }
  const CredentialsRef as = caller_of(reply);
  if (!park_question(reply)) return;
  const Asked asked = ask();
  // Behind a change of our own nobody joins a question of before: its number is part of the key.
  auto ticket = memos_.attributes.get(
      key_for(as, *inode, "attr", last_change),
      {.waiter = [this, inode, node, known,
                  reply = std::move(reply)](const AttributeCache::Answer& answer) mutable {
        if (!answer) {
          const bool serve = known && unreachable(answer.error()) && may_serve_unasked(*inode);
          if (!serve) return reply.error(answer.error());
          counters_.served_unasked.add();
        }
        answer_question(*inode, node, std::move(reply));
      }});
  if (!ticket) return;
  parts_.share.call<Attributes>(
      CallKind::kNames, asking(*inode, known, as),
      [target = std::move(*target)](Netfs& netfs) { return target.stat(netfs); },
      [this, inode, asked, ticket = std::move(*ticket)](const Result<Attributes>& result) mutable {
        if (!result) {
          memos_.attributes.land(std::move(ticket), fail(lost_path(*inode, result.error())));
        } else if (!still_is(*inode, *result)) {
          memos_.attributes.land(std::move(ticket), fail(ErrorCode::kShareStale));
        } else {
          learn(*inode, *result, asked);
          memos_.attributes.land(std::move(ticket), std::make_shared<const Attributes>(*result));
        }
      });
}

void Vfs::set_attributes(NodeId node, const SetAttributes& change, Reply reply) {
  if (parts_.control.owns(node)) return reply.error({ErrorCode::kPermission});
  const InodeRef inode = inode_of(node);
  Result<Target> target = target_of(*inode);
  const bool other_has_number = is_of_removed(*inode, node);
  if (!change.size && (other_has_number || (!target && was_removed(*inode)))) {
    change_removed(*inode, node, change);
    return answer_question(*inode, node, std::move(reply));
  }
  // Through a file that somebody else has open for writing the share would let anybody truncate.
  if (target && options_.as_caller && change.size && !target->path.empty()) target->file = nullptr;
  // The handle's own may be open for writing: ftruncate(2) asks nobody for permission again.
  if (target && change.handle != kNoHandle && inode->is_regular()) {
    if (auto own = handle_of(change.handle).share_file()) target->file = std::move(own);
  }
  if (!target) return reply.error(target.error());
  if (!park(reply)) return;
  const Asked asked = ask();
  const Look look = change.size ? Look::kBehind : look_at(*inode);
  const Cut cut = change.size ? begin_truncate(*inode, *change.size, asked) : Cut{};
  const CredentialsRef as = caller_of(reply);
  parts_.share.call<Changed>(
      CallKind::kNames, until_answered(as),
      [target = std::move(*target), look, change = AttributeChange(change)](Netfs& netfs) {
        return target.ask(netfs, [&](const Target& by) -> Result<Changed> {
          Changed changed{seen(netfs, by, look), {}};
          TRY(changed.now, netfs.set_attributes(by.path, by.file.get(), change));
          return changed;
        });
      },
      [this, inode, asked, change = AttributeChange(change), cut,
       reply = std::move(reply)](Result<Changed> result) mutable {
        const bool is_other = result && !still_is(*inode, result->now);
        if (change.size && is_other) not_truncated(*inode, cut);
        if (change.size && !is_other)
          truncated(*inode, cut, result ? Result<Attributes>(result->now) : fail(result.error()));
        if (!result) return reply.error(lost_path(*inode, result.error()));
        if (is_other) return reply.error({ErrorCode::kShareStale});
        if (!change.size) adopt(*inode, *result, asked, change);
        answer_attributes(*inode, std::move(reply));
      });
}

void Vfs::access(NodeId node, int mask, Reply reply) {
  if (parts_.control.owns(node)) return reply.ok();
  const InodeRef inode = inode_of(node);
  ask_share<std::monostate>(
      *inode, std::move(reply),
      [mask](Netfs& netfs, const Target& target) -> Result<std::monostate> {
        TRY_OK(netfs.access(target.path, mask));
        return std::monostate{};
      },
      [](Reply r, std::monostate) { r.ok(); });
}

void Vfs::stat_fs(NodeId, Reply reply) {
  const Nanoseconds now = parts_.clock.mono_ns();
  struct statvfs figures;
  bool fresh = false;
  {
    MutexLock lock(figures_mutex_);
    figures = figures_;
    fresh = now - figures_at_mono_ns_ <
            std::clamp(listing_trust_ns(*root_), kFiguresTrust_ns, kFiguresTrustMost_ns);
  }
  if (fresh) return reply.stat_fs(figures);
  if (parts_.share.state() != ShareState::kOk) {
    probe();
    return reply.stat_fs(figures);
  }
  if (!park(reply)) return;
  parts_.share.call<struct statvfs>(
      CallKind::kNames, {.deadline_ns = kFiguresTrust_ns},
      [](Netfs& netfs) { return netfs.stat_fs(); },
      [this, figures, reply = std::move(reply)](Result<struct statvfs> result) mutable {
        if (!result) return reply.stat_fs(figures);
        {
          MutexLock lock(figures_mutex_);
          figures_ = *result;
          figures_at_mono_ns_ = parts_.clock.mono_ns();
        }
        reply.stat_fs(*result);
      });
}

// -- xattrs

void Vfs::answer_text(const Text& text, std::size_t size, Reply reply) {
  if (text.sys_errno != 0) return reply.error({ErrorCode::kShareAnswer, text.sys_errno});
  const std::string_view value = text.text;
  if (size == 0) return reply.xattr_size(ByteCount{value.size()});
  if (value.size() > size) return reply.error({ErrorCode::kShareAnswer, ERANGE});
  std::memcpy(reply.payload().data(), value.data(), value.size());
  reply.data(ByteCount{value.size()});
}

template <class Work, class Answer>
void Vfs::recall(TextCache& cache, std::string_view kind, std::string_view name, Inode& inode,
                 Reply reply, Work work, Answer answer) {
  const CredentialsRef as = caller_of(reply);
  const memo::TreeKey key = key_for(as, inode, kind, name);
  const Nanoseconds now = parts_.clock.mono_ns();
  const bool unasked = serve_unasked(inode);
  const auto good = [now, unasked, trust_ns = attr_trust_ns(inode)](const TextCache::Kept& kept) {
    return unasked || now - kept->asked_mono_ns < trust_ns;
  };
  if (const auto kept = cache.find(key, good)) {
    if (unasked) {
      counters_.served_unasked.add();
      probe();
    }
    return answer(**kept, std::move(reply));
  }
  Result<Target> target = target_of(inode);
  if (!target) {
    const bool of_xattrs = &cache == &memos_.xattrs;
    return reply.error(of_xattrs ? no_xattrs(inode, target.error()) : target.error());
  }
  if (!park_question(reply)) return;
  auto ticket =
      cache.get(key, {.waiter =
                          [this, &cache, key, inode = InodeRef(&inode), reply = std::move(reply),
                           answer](const TextCache::Answer& told) mutable {
                            if (!reply.stay()) return;
                            if (told) return answer(**told, std::move(reply));
                            const auto before = cache.peek(key);
                            const bool serve =
                                before && unreachable(told.error()) && may_serve_unasked(*inode);
                            if (!serve) return reply.error(told.error());
                            counters_.served_unasked.add();
                            answer(**before, std::move(reply));
                          },
                      .accept = good});
  if (!ticket) return;
  parts_.share.call<Text>(
      CallKind::kNames, asking(inode, cache.peek(key).has_value(), as),
      [target = std::move(*target), work = std::move(work), now](Netfs& netfs) -> Result<Text> {
        Result<std::string> text =
            target.ask(netfs, [&](const Target& by) { return work(netfs, by); });
        if (text) return Text{std::move(*text), 0, now};
        const Error error = text.error();
        // That there is none, or can be none, is an answer.
        const bool none = error.code == ErrorCode::kShareAnswer &&
                          (error.sys_errno == ENODATA || error.sys_errno == EOPNOTSUPP);
        if (none) return Text{{}, error.sys_errno, now};
        return fail(error);
      },
      [this, &cache, inode = InodeRef(&inode),
       ticket = std::move(*ticket)](Result<Text> text) mutable {
        if (text)
          cache.land(std::move(ticket), std::make_shared<const Text>(std::move(*text)));
        else
          cache.land(std::move(ticket), fail(lost_path(*inode, text.error())));
      });
}

void Vfs::get_xattr(NodeId node, std::string_view name, std::size_t size, Reply reply) {
  if (parts_.control.owns(node)) return reply.error({ErrorCode::kShareAnswer, ENODATA});
  const InodeRef inode = inode_of(node);
  if (is_own_xattr(name)) return get_own_xattr(inode, name, size, std::move(reply));
  // Each write(2) asks for this one: "has none" is believed as long as the attributes are.
  const bool capability = name == kCapability;
  if (capability) {
    MutexLock lock(inode->mutex);
    const bool believed = parts_.clock.mono_ns() < inode->trusted_until_mono_ns ||
                          inode->session.kind == Session::Kind::kWrite;
    if (inode->no_capability && believed && !options_.verify) {
      lock.unlock();
      return reply.error({ErrorCode::kShareAnswer, ENODATA});
    }
  }
  recall(
      memos_.xattrs, "xattr", name, *inode, std::move(reply),
      [name = std::string(name)](Netfs& netfs, const Target& target) {
        return netfs.get_xattr(target.path, target.file.get(), name);
      },
      [inode, size, capability](const Text& text, Reply r) {
        if (!capability || text.sys_errno == 0) return answer_text(text, size, std::move(r));
        {
          MutexLock lock(inode->mutex);
          inode->no_capability = true;
        }
        r.error({ErrorCode::kShareAnswer, ENODATA});
      });
}

void Vfs::list_xattr(NodeId node, std::size_t size, Reply reply) {
  if (parts_.control.owns(node)) return answer_text({}, size, std::move(reply));
  const InodeRef inode = inode_of(node);
  recall(
      memos_.xattrs, "xattr", "", *inode, std::move(reply),
      [](Netfs& netfs, const Target& target) -> Result<std::string> {
        TRY(const std::vector<std::string> names, netfs.list_xattr(target.path, target.file.get()));
        std::string list;
        for (const std::string& name : names)
          if (!is_own_xattr(name)) list.append(name).push_back('\0');
        return list;
      },
      [size](const Text& text, Reply r) { answer_text(text, size, std::move(r)); });
}

void Vfs::set_xattr(NodeId node, std::string_view name, std::span<const std::byte> value, int flags,
                    Reply reply) {
  if (!parts_.control.owns(node) && name == kCullXattr)
    return cull(*inode_of(node), std::move(reply));
  if (!parts_.control.owns(node) && name == kPinXattr)
    return pin(inode_of(node), value, std::move(reply));
  if (parts_.control.owns(node) || is_own_xattr(name)) return reply.error({ErrorCode::kPermission});
  change_xattrs(*inode_of(node), std::move(reply),
                [name = std::string(name), value = std::vector(value.begin(), value.end()), flags](
                    Netfs& netfs, const Target& target) {
                  return netfs.set_xattr(target.path, target.file.get(), name, value, flags);
                });
}

void Vfs::remove_xattr(NodeId node, std::string_view name, Reply reply) {
  if (parts_.control.owns(node) || is_own_xattr(name)) return reply.error({ErrorCode::kPermission});
  change_xattrs(*inode_of(node), std::move(reply),
                [name = std::string(name)](Netfs& netfs, const Target& target) {
                  return netfs.remove_xattr(target.path, target.file.get(), name);
                });
}

void Vfs::read_link(NodeId node, Reply reply) {
  const InodeRef inode = inode_of(node);
  recall(
      memos_.links, "link", "", *inode, std::move(reply),
      [](Netfs& netfs, const Target& target) { return netfs.read_link(target.path); },
      [](const Text& text, Reply r) {
        text.sys_errno == 0 ? r.link(text.text)
                            : r.error({ErrorCode::kShareAnswer, text.sys_errno});
      });
}

}  // namespace larder
