// SPDX-License-Identifier: Apache-2.0
// Names: from what is in memory and trusted, else from the share.
#include <larder/store.h>

#include <cerrno>

#include "base/random.h"
#include "vfs/vfs.h"

namespace larder {
namespace {

constexpr Nanoseconds kProbeInterval_ns = kSecond;

// 64 bits for a file of a share without stable numbers. Never 0 or 1, so that it can be an st_ino.
FileId give_file_id() {
  static thread_local Random random{Seed{}};
  return {random.next() | 2, FileId::kGiven, FileId::kGiven};
}

// st_ino: the share's own where there is one; the device is mixed in for file systems mounted
// inside it.
std::uint64_t inode_number_of(const FileId& file) {
  if (file.given() || file.device == 0) return file.inode;
  return std::hash<FileId>{}({file.inode, file.device, 0}) | (std::uint64_t{1} << 63);
}

}  // namespace

InodeRef Vfs::inode_of(NodeId node) {
  if (node == kRootNode) return root_;
  return InodeRef(Inode::of(node));
}

NodeId Vfs::node_of(const Inode& inode) const {
  return &inode == root_.get() ? kRootNode : inode.node();
}

bool Vfs::unreachable(const Error& error) {
  return error.code == ErrorCode::kShareAway || error.code == ErrorCode::kShareDeadline ||
         error.code == ErrorCode::kShareBusy;
}

// With something to fall back on, a question waits no longer than it takes to call the share slow.
CallOptions Vfs::asking(const Inode& about, bool known, CredentialsRef as) const {
  if (!known || !may_serve_unasked(about)) return {.as = std::move(as)};
  return {.deadline_ns = options_.share_slow_ns, .fallback = Fallback::kKnown, .as = std::move(as)};
}

// Who wants to know for certain gets the share's error instead.
bool Vfs::may_serve_unasked(const Inode& inode) const {
  return parts_.policy.resolve(inode).coherency != Coherency::kStrict;
}

// A share that is slow or away is not asked for what we know: but now and then, so that we notice
// when it is back.
bool Vfs::serve_unasked(const Inode& inode) const {
  if (parts_.share.state() == ShareState::kOk || !may_serve_unasked(inode)) return false;
  MutexLock lock(inode.mutex);
  return inode.attributes_known;
}

void Vfs::probe() {
  const Nanoseconds now = parts_.clock.mono_ns();
  Nanoseconds last = last_probe_mono_ns_.load();
  if (now - last < kProbeInterval_ns || !last_probe_mono_ns_.compare_exchange_strong(last, now))
    return;
  parts_.share.call<Attributes>(
      CallKind::kNames, {.deadline_ns = options_.share_slow_ns},
      [](Netfs& netfs) { return netfs.stat("", Freshness::kServer); }, [](Result<Attributes>) {});
}

cache::IndexPlace Vfs::names_object(Inode& directory) {
  cache::CookieRef cookie;
  {
    MutexLock lock(directory.mutex);
    ensure_cookie_locked(directory);
    cookie = directory.cookie;
  }
  return parts_.cache.index_of(cookie);
}

// Which file this name is. Where the share's numbers do not tell, what we gave it before.
FileId Vfs::identify(Inode& directory, std::string_view name, const Attributes& attributes) {
  if (const auto id = file_id_of(attributes, parts_.share.traits())) return *id;
  const std::uint32_t type = attributes.mode & 0170000;
  MutexLock one_giver(given_mutex_);
  if (const InodeRef known = names_.find(directory, name).inode; known && known->type_bits == type)
    return known->file_id;
  const cache::IndexPlace place = names_object(directory);
  if (!place) return give_file_id();
  const std::string key = names_.keys().key(name);
  const auto record = place.store->find_name(place.object, key);
  if (record && (record->attributes.mode & 0170000) == type) return record->file;
  const FileId given = give_file_id();
  place.store->put_name(place.object, key, {given, attributes});
  return given;
}

// What the share said of a path of `inode`: is it still that file? If not, its names are looked up
// anew; the kernel does so by itself when it is told ESTALE.
bool Vfs::still_is(Inode& inode, const Attributes& attributes) {
  if (target_at(inode, {}).is(attributes, parts_.share.traits())) return true;
  names_.distrust(inode);
  return false;
}

// Its number came back under a name, or another client gave it one again.
void Vfs::has_name(Inode& inode) {
  {
    MutexLock lock(inode.mutex);
    if (!std::exchange(inode.unlinked, false)) return;
    // Where we removed it, and nobody keeps it open, the number is another file's, made perhaps
    // within the same time stamp; and the kernel, which may hold the inode of the one that was
    // removed (as somebody's working directory), would let nothing be made in it any more. What
    // others did may have been a rename.
    const bool removed_by_us = std::exchange(inode.removed_by_us, false);
    if (removed_by_us && inode.open_count == 0) inode.kernel_inode.fetch_add(1);
  }
  memos_.forget(inode);
}

// A path of `inode` that leads nowhere says that one name of it is gone, not that it is: told
// ESTALE, the kernel looks its own name up anew, and that may be another one.
Error Vfs::lost_path(Inode& inode, const Error& error) {
  if (!leads_nowhere(error)) return error;
  names_.distrust(inode);
  return {ErrorCode::kShareStale};
}

InodeRef Vfs::install(Inode& directory, std::string_view name, const Attributes& attributes,
                      const Asked& asked) {
  const FileId file = identify(directory, name, attributes);
  InodeRef inode = table_.find_or_make(file, attributes.mode & 0170000, inode_number_of(file));
  learn(*inode, attributes, asked);
  has_name(*inode);
  names_.put(directory, name, *inode, asked.at_mono_ns + entry_trust_ns(*inode, name));
  counters_.inodes.set(table_.size());
  keep_within_memory();
  return inode;
}

// What it holds goes with its last handle, unless it is given a name.
InodeRef Vfs::install_unnamed(const Attributes& attributes, const Asked& asked) {
  const auto told = file_id_of(attributes, parts_.share.traits());
  const FileId file = told ? *told : give_file_id();
  InodeRef inode = table_.find_or_make(file, attributes.mode & 0170000, inode_number_of(file));
  learn(*inode, attributes, asked);
  {
    MutexLock lock(inode->mutex);
    inode->unlinked = true;
  }
  counters_.inodes.set(table_.size());
  return inode;
}

Entry Vfs::entry_of(Inode& inode, Nanoseconds entry_until_mono_ns) {
  Entry entry;
  const auto [node, generation] =
      options_.writeback_cache ? inode.for_kernel() : inode.for_kernel_now();
  entry.node = &inode == root_.get() ? kRootNode : node;
  entry.generation = generation;
  entry.inode = inode.inode_number;
  std::tie(entry.attributes, entry.attr_ttl_ns) = attributes_of(inode);
  const Nanoseconds left = entry_until_mono_ns - parts_.clock.mono_ns();
  entry.entry_ttl_ns = options_.verify ? 0 : std::max<Nanoseconds>(left, 0);
  return entry;
}

// The kernel holds one more reference from this answer on.
void Vfs::answer_entry(Inode& inode, Nanoseconds entry_until_mono_ns, Reply reply) {
  const Entry entry = entry_of(inode, entry_until_mono_ns);
  hold(inode);
  reply.entry(entry);
}

void Vfs::hold(Inode& inode) {
  intrusive_ptr_add_ref(&inode);
  MutexLock lock(inode.mutex);
  ++inode.lookups;
}

void Vfs::forget(NodeId node, std::uint64_t lookups) {
  if (node == kRootNode || parts_.control.owns(node)) return;
  const InodeRef inode = inode_of(node);
  bool unknown = false;  // to the kernel
  {
    MutexLock lock(inode->mutex);
    check(inode->lookups >= lookups, "the kernel forgets no more than it learned");
    inode->lookups -= lookups;
    unknown = inode->lookups == 0;
  }
  if (unknown && kernel_keeps_listings(*inode)) {
    for (const Link& link : names_.links_of(*inode)) {
      MutexLock lock(link.parent->mutex);
      if (link.parent->directory) link.parent->directory->kernel.lost_name();
    }
  }
  for (; lookups > 0; --lookups) intrusive_ptr_release(inode.get());
}

// The share says that the name is gone.
void Vfs::forget_name(Inode& directory, std::string_view name, LostTo whom) {
  NameTree::Dropped dropped;
  names_.remove(directory, name, dropped);
  take_back_spelling(dropped, name);
  if (dropped.inode) lost_name(*dropped.inode, whom);
  forget_given(directory, name);
}

// Of the spellings of one name the kernel trusts one.
Nanoseconds Vfs::kernel_trusts_until(const Inode& directory, std::string_view name,
                                     Nanoseconds until_mono_ns) const {
  if (!names_.keys().folds() || names_.find(directory, name).as_spelled) return until_mono_ns;
  return 0;
}

// We made `name` something else, and the kernel knew it by another spelling.
void Vfs::take_back_spelling(const NameTree::Dropped& dropped, std::string_view name) {
  for (const Link& link : dropped.links) {
    if (link.name == name) continue;
    kernel_->drop_name(node_of(*link.parent), link.name);
  }
}

void Vfs::forget_given(Inode& directory, std::string_view name) {
  if (parts_.share.traits().inode_numbers == InodeNumbers::kStable) return;
  if (const auto place = names_object(directory))
    place.store->remove_name(place.object, names_.keys().key(name));
}

void Vfs::lookup(NodeId parent, std::string_view name, Reply reply) {
  counters_.lookups.add();
  if (parts_.control.owns(parent) || (parent == kRootNode && parts_.control.is_name(name)))
    return parts_.control.lookup(parent, name, std::move(reply));
  const InodeRef directory = inode_of(parent);
  const Nanoseconds now = parts_.clock.mono_ns();
  const NameTree::Found found = names_.find(*directory, name);
  if (found.inode) {
    const bool fresh = now < found.trusted_until_mono_ns && trusted(*found.inode);
    if (fresh)
      return answer_entry(*found.inode, found.as_spelled ? found.trusted_until_mono_ns : 0,
                          std::move(reply));
    if (serve_unasked(*found.inode)) {
      counters_.served_unasked.add();
      probe();
      return answer_entry(*found.inode, 0, std::move(reply));
    }
  }
  const CredentialsRef as = caller_of(reply);
  const memo::TreeKey key = name_key(as, *directory, name);
  const auto absent = [now](const std::shared_ptr<const Looked>& looked) {
    return now < looked->until_mono_ns;
  };
  if (const auto known = memos_.names.find(key, absent))
    return answer_absent((*known)->until_mono_ns, std::move(reply));
  Result<std::string> path = names_.path_of(*directory, name);
  if (!path) return reply.error(path.error());
  // Who may leave takes the request with him, and the name lies in it.
  const std::string own_name(name);
  if (!park_question(reply)) return;
  auto ticket = memos_.names.get(
      key, {.waiter =
                [this, directory, name = own_name, known = found.inode,
                 reply = std::move(reply)](const NameCache::Answer& answer) mutable {
                  answer_looked(*directory, name, known.get(), answer, std::move(reply));
                },
            .accept = absent});
  if (!ticket) return;
  const Asked asked = ask();
  parts_.share.call<Attributes>(
      CallKind::kNames, asking(*directory, found.inode != nullptr, as),
      [path = std::move(*path)](Netfs& netfs) { return netfs.stat(path, Freshness::kServer); },
      [this, directory, name = own_name, asked,
       ticket = std::move(*ticket)](const Result<Attributes>& result) mutable {
        looked_up(*directory, name, asked, result, std::move(ticket));
      });
}

// The share has answered. What we changed of the name meanwhile makes the answer one of before: it
// is told to who asked, and believed no longer than that.
void Vfs::looked_up(Inode& directory, const std::string& name, const Asked& asked,
                    const Result<Attributes>& result, NameCache::Ticket ticket) {
  NameTree::Dropped dropped;
  if (result) {
    const FileId file = identify(directory, name, *result);
    const InodeRef inode = table_.find_or_make(file, result->mode & 0170000, inode_number_of(file));
    if (options_.verify) compare_name(directory, name, inode.get(), asked);
    learn(*inode, *result, asked);
    const Nanoseconds until = asked.at_mono_ns + entry_trust_ns(*inode, name);
    const bool kept = memos_.guard.keep_if_unchanged(
        ticket.stamp(), [&] { names_.put(directory, name, *inode, until, dropped); });
    if (kept) has_name(*inode);
    counters_.inodes.set(table_.size());
    keep_within_memory();
    memos_.names.land(std::move(ticket),
                      std::make_shared<const Looked>(Looked{inode, kept ? until : 0}));
    return;
  }
  const Error error = result.error();
  if (error.code != ErrorCode::kShareAnswer || error.sys_errno != ENOENT) {
    memos_.names.land(std::move(ticket), fail(error));
    return;
  }
  if (options_.verify) compare_name(directory, name, nullptr, asked);
  const bool kept = memos_.guard.keep_if_unchanged(
      ticket.stamp(), [&] { names_.remove(directory, name, dropped); });
  if (dropped.inode) lost_name(*dropped.inode, LostTo::kOthers);
  if (kept) forget_given(directory, name);
  memos_.names.land(std::move(ticket),
                    std::make_shared<const Looked>(
                        Looked{nullptr, asked.at_mono_ns + absent_trust_ns(directory)}));
}

void Vfs::answer_looked(Inode& directory, std::string_view name, Inode* known,
                        const NameCache::Answer& answer, Reply reply) {
  if (!reply.stay()) return;
  if (answer) {
    const Looked& looked = **answer;
    return looked.inode ? answer_entry(*looked.inode,
                                       kernel_trusts_until(directory, name, looked.until_mono_ns),
                                       std::move(reply))
                        : answer_absent(looked.until_mono_ns, std::move(reply));
  }
  if (known == nullptr || !unreachable(answer.error()) || !may_serve_unasked(*known))
    return reply.error(answer.error());
  counters_.served_unasked.add();
  answer_entry(*known, 0, std::move(reply));
}

void Vfs::answer_absent(Nanoseconds until_mono_ns, Reply reply) const {
  const Nanoseconds left = until_mono_ns - parts_.clock.mono_ns();
  if (left <= 0 || options_.verify) return reply.error({ErrorCode::kShareAnswer, ENOENT});
  Entry nothing;
  nothing.entry_ttl_ns = left;
  reply.entry(nothing);
}

// A request that leaves its thread. False: refused, because no more may wait; it has been answered.
bool Vfs::park(Reply& reply) {
  counters_.parked.add();
  if (reply.park()) return true;
  reply.error(Error{ErrorCode::kShareBusy});
  return false;
}

// The same for what changes nothing: whoever asked may leave (leaving.h); again, where he could
// before.
bool Vfs::park_question(Reply& reply) {
  if (!park(reply)) return false;
  if (reply.slot().is_guarded()) {
    reply.may_leave();
    return true;
  }
  leaving_.guard(reply);
  return true;
}

}  // namespace larder
