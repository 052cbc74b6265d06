// SPDX-License-Identifier: Apache-2.0
// Which version of a file is current, and what an answer of the share means for it.
#include "vfs/vfs.h"

namespace larder {
namespace {

const cache::CookieDefinition& file_definition(cache::AuxCheck (*check)(void*,
                                                                        std::span<const std::byte>,
                                                                        ByteCount)) {
  static const cache::CookieDefinition definition{"larder.file", ObjectType::kData, check};
  return definition;
}

const cache::CookieDefinition kDirectoryDefinition{"larder.dir", ObjectType::kIndex, nullptr};

}  // namespace

Vfs::Asked Vfs::ask() const { return {parts_.clock.mono_ns(), changes_.load()}; }

// By the level of coherency; close-to-open trusts each thing for a time of its own.
static Nanoseconds trust_of(const Settings& settings, Nanoseconds between_opens_ns) {
  constexpr Nanoseconds kForGood = 365 * 24 * 3600 * kSecond;
  switch (settings.coherency) {
    case Coherency::kStrict:
      return 0;
    case Coherency::kCloseToOpen:
      return between_opens_ns;
    case Coherency::kTtl:
      return settings.ttl_ns;
    case Coherency::kImmutable:
      return kForGood;
  }
  return 0;
}

Nanoseconds Vfs::attr_trust_ns(const Inode& inode) const {
  if (inode.passed_through.load()) return 0;
  const Settings& settings = parts_.policy.resolve(inode);
  return trust_of(settings, settings.attr_ttl_ns);
}

Nanoseconds Vfs::entry_trust_ns(const Inode& inode, std::string_view name) const {
  if (!names_.keys().is_sure(name)) return 0;
  const Settings& settings = parts_.policy.resolve(inode);
  return trust_of(settings, settings.entry_ttl_ns);
}

// On a share that folds case, "no such name" of one spelling says nothing of what comes next.
Nanoseconds Vfs::absent_trust_ns(const Inode& directory) const {
  if (parts_.share.traits().folds_case) return 0;
  const Settings& settings = parts_.policy.resolve(directory);
  return trust_of(settings, settings.negative_ttl_ns);
}

// Opening a directory asks for its names, as opening a file asks for its version.
Nanoseconds Vfs::listing_trust_ns(const Inode& directory) const {
  return trust_of(parts_.policy.resolve(directory), 0);
}

bool Vfs::asks_at_open(const Inode& inode) const {
  const Coherency level = parts_.policy.resolve(inode).coherency;
  return level == Coherency::kStrict || level == Coherency::kCloseToOpen;
}

bool Vfs::asks_at_read(const Inode& inode) const {
  return parts_.policy.resolve(inode).coherency == Coherency::kStrict;
}

bool Vfs::trusted(const Inode& inode) const {
  if (options_.verify) return false;
  MutexLock lock(inode.mutex);
  return inode.attributes_known && parts_.clock.mono_ns() < inode.trusted_until_mono_ns;
}

void Vfs::new_version_locked(Inode& inode, const Identity& identity) {
  // Before anything tells of the new version: what is in flight is of the old one.
  inode.generation.fetch_add(1);
  // The store ends its session with the pages that it was about.
  if (inode.session.kind == Session::Kind::kVolatile) inode.session.kind = Session::Kind::kNone;
  inode.session.begun = false;
  inode.set_identity_locked(identity);
  inode.flights.taint_all();
  parts_.cache.invalidate(inode.cookie, identity.encode(), ByteCount{identity.size});
  counters_.new_versions.add();
}

void Vfs::take_version_locked(Inode& inode, const Attributes& attributes) {
  inode.attributes = attributes;
  inode.attributes_known = true;
  inode.no_capability = false;
  inode.shows_foreign_version_locked();
  new_version_locked(inode, identity_of(attributes, parts_.share.traits()));
}

// Not where a change of our own came between question and answer, nor where a later question has
// been answered: it may be of before.
bool Vfs::is_believed_locked(const Inode& inode, const Asked& asked) {
  return inode.last_change <= asked.last_change && inode.asked_mono_ns <= asked.at_mono_ns;
}

void Vfs::learn(Inode& inode, const Attributes& attributes, const Asked& asked) {
  bool changed = false, lied = false;
  {
    MutexLock lock(inode.mutex);
    if (!is_believed_locked(inode, asked)) return;
    lied = would_have_lied_locked(inode, attributes, asked);
    inode.asked_mono_ns = asked.at_mono_ns;
    // Its change time tells of xattrs, a directory's also of its names; a link's that its number is
    // another link's by now.
    const bool moved =
        inode.attributes_known && (inode.attributes.ctime_ns != attributes.ctime_ns ||
                                   inode.attributes.mtime_ns != attributes.mtime_ns);
    inode.attributes = attributes;
    inode.attributes_known = true;
    inode.no_capability = false;
    inode.trusted_until_mono_ns = asked.at_mono_ns + attr_trust_ns(inode);
    if (moved) memos_.xattrs.invalidate(key_of(inode, "xattr"));
    if (moved && inode.is_symlink()) {
      memos_.links.invalidate(key_of(inode, "link"));
      changed = true;  // the kernel may keep the target
    }
    if (moved && inode.is_directory()) memos_.listings.invalidate(key_of(inode, "list"));
    const Identity identity = identity_of(attributes, parts_.share.traits());
    if (!inode.is_regular()) {
      // No content of ours.
    } else if (!inode.identity_known) {
      inode.set_identity_locked(identity);
    } else if (inode.session.kind != Session::Kind::kWrite && identity != inode.identity) {
      inode.shows_foreign_version_locked();
      new_version_locked(inode, identity);
      changed = true;
    }
  }
  if (lied) found_stale("attributes", names_.path_of(inode).value_or("a file without a name"));
  if (changed) kernel_->drop_pages(inode.node());
}

// What an open was told. Beyond learn(): while the file is being written here, an open still sees
// what the last close elsewhere left, so what our own writes do not explain makes the cached pages
// go.
// Returns whether the answer was believed, or another one that was asked for later.
bool Vfs::validate(Inode& inode, const Attributes& attributes, const Asked& asked) {
  learn(inode, attributes, asked);
  bool changed = false;
  {
    MutexLock lock(inode.mutex);
    if (inode.last_change > asked.last_change) return false;
    if (inode.session.kind != Session::Kind::kWrite || !is_believed_locked(inode, asked))
      return true;
    const bool same = identity_of(attributes, parts_.share.traits()) == inode.session.start;
    if (same && !inode.session.fetched_fresh) return true;
    changed = !explains_locked(inode, attributes);
    if (changed) {
      inode.shows_foreign_version_locked();
      forget_pages_locked(inode);
    }
    begin_write_session_anew_locked(inode, attributes);
  }
  if (changed) kernel_->drop_pages(inode.node());
  return true;
}

// A change of ours moves the change time, and with it covers up what moved nothing else: another
// client's that put the time of modification back. Where content is kept the share is asked first.
Vfs::Look Vfs::look_at(const Inode& inode) {
  MutexLock lock(inode.mutex);
  const bool keeps = inode.is_regular() && inode.cookie && inode.identity_known;
  return keeps && inode.session.kind != Session::Kind::kWrite ? Look::kFirst : Look::kBehind;
}

std::optional<Attributes> Vfs::seen(Netfs& netfs, const Target& target, Look look) {
  if (look == Look::kBehind) return std::nullopt;
  const Result<Attributes> found = target.stat(netfs);
  return found && target.is(*found, netfs.traits()) ? std::optional(*found) : std::nullopt;
}

// The result of a change of our own that leaves the content alone (chmod, rename, link, utimens,
// setxattr): the identity is taken anew. Where more changed than we did, it is a new version.
void Vfs::adopt(Inode& inode, const Changed& by_us, const Asked& asked,
                const AttributeChange& change) {
  if (by_us.before) learn(inode, *by_us.before, asked);
  const Attributes& attributes = by_us.now;
  bool changed = false;
  {
    MutexLock lock(inode.mutex);
    inode.last_change = ++changes_;
    inode.attributes = attributes;
    inode.attributes_known = true;
    inode.no_capability = false;
    inode.trusted_until_mono_ns = parts_.clock.mono_ns() + attr_trust_ns(inode);
    memos_.xattrs.invalidate(key_of(inode, "xattr"));
    if (!inode.is_regular()) return;
    const Identity identity = identity_of(attributes, parts_.share.traits());
    if (inode.session.kind == Session::Kind::kWrite) {
      if (change.mtime_ns) inode.session.own_mtime_ns = attributes.mtime_ns;
    } else if (!inode.identity_known) {
      inode.set_identity_locked(identity);
    } else {
      const bool same_content = identity.size == inode.identity.size &&
                                (change.mtime_ns || identity.mtime_ns == inode.identity.mtime_ns);
      if (same_content) {
        inode.set_identity_locked(identity);
        parts_.cache.update(inode.cookie, identity.encode(), ByteCount{identity.size});
      } else {
        new_version_locked(inode, identity);
        changed = true;
      }
    }
  }
  if (changed) kernel_->drop_pages(inode.node());
}

void Vfs::ensure_cookie_locked(Inode& inode) {
  if (inode.cookie || !parts_.share_cookie || inode.excluded) return;
  if (inode.is_regular() && inode.identity_known) {
    inode.cookie = parts_.cache.acquire(parts_.share_cookie, file_definition(&Vfs::check_aux),
                                        inode.file_id.encode(), inode.identity.encode(),
                                        ByteCount{inode.identity.size}, &inode, inode.inode_number);
  } else if (inode.is_directory()) {
    inode.cookie =
        parts_.cache.acquire(parts_.share_cookie, kDirectoryDefinition, inode.file_id.encode(), {},
                             ByteCount{0}, nullptr, inode.inode_number);
  }
}

// Is what the store holds of the version that is current now?
cache::AuxCheck Vfs::check_aux(void* netfs_data, std::span<const std::byte> aux, ByteCount) {
  const Identity current = static_cast<const Inode*>(netfs_data)->published_identity();
  const std::optional<Identity> stored = Identity::decode(aux);
  return stored == current ? cache::AuxCheck::kOkay : cache::AuxCheck::kObsolete;
}

Attributes Vfs::shown(const Inode& inode, const Attributes& attributes) const {
  const Settings& settings = parts_.policy.resolve(inode);
  Attributes result = attributes;
  result.inode = inode.inode_number;
  if (settings.uid) result.uid = *settings.uid;
  if (settings.gid) result.gid = *settings.gid;
  result.mode &= ~(settings.umask & 0777u);
  // Without stable numbers hard links cannot be told apart: each name is a file of its own.
  if (inode.file_id.given() && !inode.is_directory()) result.nlink = 1;
  return result;
}

// The attributes for the kernel, and how much of larder's own trust is left.
std::pair<Attributes, Nanoseconds> Vfs::attributes_of(const Inode& inode) const {
  MutexLock lock(inode.mutex);
  const Nanoseconds left = inode.trusted_until_mono_ns - parts_.clock.mono_ns();
  inode.told = identity_of(inode.attributes, parts_.share.traits());
  return {shown(inode, inode.attributes), options_.verify ? 0 : std::max<Nanoseconds>(left, 0)};
}

}  // namespace larder
