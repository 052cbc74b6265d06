// SPDX-License-Identifier: Apache-2.0
// Listings. A handle lists a snapshot of its directory; with attributes, what is not known of its
// entries is asked for in parallel, so that `ls -l` and `find` cost a few round trips instead of
// one a name.
#include <sys/stat.h>

#include <algorithm>
#include <limits>

#include "vfs/vfs.h"

namespace larder {
namespace {

DirectoryHandle& directory_of(HandleId id) {
  return *reinterpret_cast<DirectoryHandle*>(id.value());
}

constexpr std::uint32_t mode_of(std::uint8_t dirent_type) {
  return static_cast<std::uint32_t>(dirent_type) << 12;  // DTTOIF
}

// What one entry of a READDIRPLUS takes at least; so many are asked for at once.
constexpr std::size_t kPlusBytes = 160;
constexpr std::size_t kPlusBatchMin = 16, kPlusBatchMax = 256;

}  // namespace

// One READDIRPLUS that waits for attributes of some of its entries.
struct Vfs::Listing {
  Listing(InodeRef d, Reply r) : directory(std::move(d)), reply(std::move(r)) {}

  InodeRef directory;
  ListedRef entries;
  std::uint64_t offset = 0;
  std::size_t size = 0;
  std::vector<Looked> found;  // of entries[offset...]; null: unknown, or gone meanwhile
  Reply reply;
};

void Vfs::open_directory(NodeId node, Reply reply) {
  if (parts_.control.owns(node)) return parts_.control.open(node, std::move(reply));
  counters_.opens.add();
  counters_.handles.add();
  InodeRef inode = inode_of(node);
  const KernelListing::Offer offer = offer_listing(*inode, caller_of(reply));
  DirectoryHandleRef handle(new DirectoryHandle(std::move(inode), offer));
  // The kernel's, until RELEASEDIR.
  const HandleId id = handle.detach()->id();
  reply.opened({.handle = id, .keep_cache = offer.keeps, .cache_dir = offer.fills});
}

Vfs::GoodListing Vfs::good_listing(const Inode& directory) const {
  return {parts_.clock.mono_ns(), listing_trust_ns(directory), serve_unasked(directory)};
}

DirectoryState& Vfs::state_locked(Inode& directory) {
  if (!directory.directory) directory.directory = std::make_unique<DirectoryState>();
  return *directory.directory;
}

bool Vfs::kernel_keeps_listings(const Inode& directory) const {
  return options_.cache_directories && !options_.verify && listing_trust_ns(directory) != 0;
}

KernelListing::Offer Vfs::offer_listing(Inode& directory, const CredentialsRef& as) {
  if (!kernel_keeps_listings(directory)) return {};
  const GoodListing good = good_listing(directory);
  const auto known = memos_.listings.find(key_for(as, directory, "list"), good);
  MutexLock lock(directory.mutex);
  return state_locked(directory).kernel.open(known ? known->get() : nullptr, good.now_mono_ns);
}

void Vfs::release_directory(NodeId node, HandleId id, Reply reply) {
  if (parts_.control.owns(node)) return parts_.control.release(id, std::move(reply));
  counters_.handles.sub();
  const DirectoryHandleRef gone(&directory_of(id), false);
  if (gone->offer.fills) {
    MutexLock lock(gone->inode->mutex);
    state_locked(*gone->inode).kernel.close();
  }
  reply.ok();
}

// What was made and removed here went through at once: the rest is the share's.
void Vfs::sync_directory(NodeId node, SyncWhat what, Reply reply) {
  if (parts_.control.owns(node)) return reply.ok();
  const InodeRef inode = inode_of(node);
  if (was_removed(*inode)) return reply.ok();
  if (!park(reply)) return;
  const CredentialsRef as = caller_of(reply);
  sync_names(inode, what, as, std::move(reply));
}

// Who has a directory open may sync it, whatever its mode is by now; but the share is asked by its
// name, and whoever may not open that any more is refused there. Then larder asks for itself.
void Vfs::sync_names(const InodeRef& directory, SyncWhat what, const CredentialsRef& as,
                     Reply reply) {
  Result<Target> target = target_of(*directory);
  if (!target) return reply.error(target.error());
  parts_.share.call<std::monostate>(
      CallKind::kNames, {.as = as},
      [target = std::move(*target), what](Netfs& netfs) {
        return target.ask(netfs, [&](const Target& by) -> Result<std::monostate> {
          TRY_OK(netfs.sync_directory(by.path, what));
          return std::monostate{};
        });
      },
      [this, directory, what, as, reply = std::move(reply)](Result<std::monostate> result) mutable {
        if (result) return reply.ok();
        if (as && is_refused(result.error()))
          return sync_names(directory, what, nullptr, std::move(reply));
        reply.error(lost_path(*directory, result.error()));
      });
}

void Vfs::told_names(Inode& directory, const Listed& listed, Nanoseconds until_mono_ns) {
  MutexLock lock(directory.mutex);
  state_locked(directory).kernel.told_names(listed, until_mono_ns);
}

void Vfs::take_listing(DirectoryHandle& handle, const ListedRef& listed) {
  {
    MutexLock lock(handle.mutex);
    handle.entries = listed;
  }
  if (!handle.offer.fills) return;
  MutexLock lock(handle.inode->mutex);
  state_locked(*handle.inode).kernel.took(*listed);
}

// Takes the snapshot at offset 0, then goes on with `then`.
template <class Then>
void Vfs::with_listing(DirectoryHandle& handle, std::uint64_t offset, Reply reply, Then then) {
  if (offset != 0) {
    ListedRef entries;
    {
      MutexLock lock(handle.mutex);
      entries = handle.entries;
    }
    if (entries) return then(std::move(entries), std::move(reply));
  }
  Inode& directory = *handle.inode;
  const CredentialsRef as = caller_of(reply);
  const memo::TreeKey key = key_for(as, directory, "list");
  auto take = [this, held = DirectoryHandleRef(&handle), then = std::move(then)](
                  const ListedRef& entries, Reply r) mutable {
    if (!r.stay()) return;
    take_listing(*held, entries);
    then(entries, std::move(r));
  };
  const GoodListing good = good_listing(directory);
  if (const auto kept = memos_.listings.find(key, good)) {
    if (good.unasked) {
      counters_.served_unasked.add();
      probe();
    }
    return take(*kept, std::move(reply));
  }
  Result<std::string> path = names_.path_of(directory);
  if (!path) return reply.error(path.error());
  if (!park_question(reply)) return;
  auto ticket = memos_.listings.get(
      key, {.waiter =
                [this, key, directory = handle.inode, take = std::move(take),
                 reply = std::move(reply)](const Result<ListedRef>& listed) mutable {
                  if (listed) return take(*listed, std::move(reply));
                  const auto before = memos_.listings.peek(key);
                  const bool serve =
                      before && unreachable(listed.error()) && may_serve_unasked(*directory);
                  if (!serve) return reply.error(listed.error());
                  counters_.served_unasked.add();
                  take(*before, std::move(reply));
                },
            .accept = good});
  if (!ticket) return;
  parts_.share.call<std::vector<Dirent>>(
      CallKind::kNames, asking(directory, memos_.listings.peek(key).has_value(), as),
      [path = std::move(*path)](Netfs& netfs) { return netfs.list(path); },
      [this, now = good.now_mono_ns, directory = handle.inode,
       ticket = std::move(*ticket)](Result<std::vector<Dirent>> result) mutable {
        if (!result) {
          memos_.listings.land(std::move(ticket), fail(result.error()));
          return;
        }
        ListedRef listed;
        {
          MutexLock lock(directory->mutex);
          listed = state_locked(*directory).places.number(std::move(*result), now);
        }
        memos_.listings.land(std::move(ticket), std::move(listed));
      });
}

bool Vfs::add_dots(Inode& directory, std::uint64_t& offset, std::size_t& used, std::size_t size,
                   ReplySlot& slot) {
  for (const std::string_view name : {".", ".."}) {
    const std::uint64_t next = name.size();  // Listed::kDot, Listed::kDotDot
    if (offset >= next) continue;
    if (!slot.add_dirent(used, size, name, directory.inode_number, S_IFDIR, next)) return false;
    offset = next;
  }
  return true;
}

void Vfs::read_directory(NodeId node, HandleId id, std::uint64_t offset, std::size_t size,
                         Reply reply) {
  if (parts_.control.owns(node))
    return parts_.control.read_directory(offset, size, std::move(reply));
  DirectoryHandle& handle = directory_of(id);
  with_listing(
      handle, offset, std::move(reply),
      [this, directory = handle.inode, offset, size](const ListedRef& listed, Reply r) mutable {
        std::size_t used = 0;
        bool room = add_dots(*directory, offset, used, size, r.slot());
        const auto& entries = listed->entries;
        Nanoseconds until_mono_ns = std::numeric_limits<Nanoseconds>::max();
        for (std::size_t i = listed->first_behind(offset); room && i < entries.size(); ++i) {
          const Dirent& entry = entries[i];
          const NameTree::Found known = names_.find(*directory, entry.name);
          const std::uint64_t number = known.inode ? known.inode->inode_number : entry.inode;
          until_mono_ns = std::min(
              until_mono_ns, known.inode && known.as_spelled ? known.trusted_until_mono_ns : 0);
          room = r.slot().add_dirent(used, size, entry.name, number, mode_of(entry.type),
                                     listed->places[i]);
        }
        told_names(*directory, *listed, until_mono_ns);
        r.data(ByteCount{used});
      });
}

void Vfs::read_directory_plus(NodeId node, HandleId id, std::uint64_t offset, std::size_t size,
                              Reply reply) {
  if (parts_.control.owns(node))
    return parts_.control.read_directory_plus(offset, size, std::move(reply));
  DirectoryHandle& handle = directory_of(id);
  with_listing(handle, offset, std::move(reply),
               [this, directory = handle.inode, offset, size](const ListedRef& entries, Reply r) {
                 auto listing = std::make_shared<Listing>(directory, std::move(r));
                 listing->entries = entries;
                 listing->offset = offset;
                 listing->size = size;
                 gather(listing);
               });
}

// Asks for what is not known or not trusted of the next entries, all at once, and for as many
// behind them as well, so that the share is at work while the kernel takes these in.
void Vfs::gather(const std::shared_ptr<Listing>& listing) {
  const std::size_t total = listing->entries->entries.size();
  const std::size_t first = listing->entries->first_behind(listing->offset);
  const std::size_t batch = std::clamp(listing->size / kPlusBytes, kPlusBatchMin, kPlusBatchMax);
  const std::size_t count = std::min(batch, total - first);
  listing->found.resize(count);
  const CredentialsRef as = caller_of(listing->reply);
  auto wanted = plan_names(*listing, as, first, count,
                           [this, listing](const std::vector<NameCache::Answer>& answers) {
                             std::size_t at = 0;
                             // Without attributes an entry is listed by name only, and looked up
                             // when it is used.
                             for (Looked& looked : listing->found) {
                               if (looked.inode) continue;
                               const NameCache::Answer& answer = answers[at++];
                               if (answer && *answer) looked = **answer;
                             }
                             answer_listing(*listing);
                           });
  ask_names(listing->directory, as, std::move(wanted));
}

// Fills in what is trusted of these entries, and says which of the others nobody asks for yet.
std::vector<Vfs::WantedName> Vfs::plan_names(Listing& listing, const CredentialsRef& as,
                                             std::size_t first, std::size_t count,
                                             NameCache::BulkWaiter waiter) {
  const Nanoseconds now = parts_.clock.mono_ns();
  std::vector<memo::TreeKey> keys;
  std::vector<std::string_view> names;  // of the keys, as the share spells them
  for (std::size_t i = 0; i < count; ++i) {
    const std::string& name = listing.entries->entries[first + i].name;
    const NameTree::Found known = names_.find(*listing.directory, name);
    const bool fresh = known.inode && now < known.trusted_until_mono_ns && trusted(*known.inode);
    if (fresh)
      listing.found[i] = {known.inode, known.trusted_until_mono_ns};
    else if (known.inode && serve_unasked(*known.inode))
      listing.found[i] = {known.inode, 0};
    else {
      keys.push_back(name_key(as, *listing.directory, name));
      names.push_back(name);
    }
  }
  if (!keys.empty() && !park_question(listing.reply)) return {};
  const auto never = [](const NameCache::Kept&) { return false; };
  std::vector<WantedName> wanted;
  std::size_t at = 0;
  for (NameCache::Ticket& ticket : memos_.names.get_many(keys, std::move(waiter), never)) {
    while (keys[at] != ticket.key()) ++at;
    wanted.push_back({std::string(names[at++]), std::move(ticket)});
  }
  return wanted;
}

// One question for several names, several questions at once: the more the longer the share takes.
void Vfs::ask_names(const InodeRef& directory, const CredentialsRef& as,
                    std::vector<WantedName> wanted) {
  const std::size_t each = names_a_call();
  for (std::size_t from = 0; from < wanted.size(); from += each) {
    struct Question {
      std::vector<std::string> names;
      Asked asked;
      std::vector<NameCache::Ticket> tickets;
    };
    Question question{.names = {}, .asked = ask(), .tickets = {}};
    for (std::size_t i = from; i < std::min(from + each, wanted.size()); ++i) {
      question.names.push_back(std::move(wanted[i].name));
      question.tickets.push_back(std::move(wanted[i].ticket));
    }
    Result<std::string> path = names_.path_of(*directory);
    if (!path) continue;  // the tickets land as cancelled
    std::vector<std::string> names = question.names;
    struct Answers {
      std::vector<Result<Attributes>> of;
      Nanoseconds took_ns = 0;
    };
    parts_.share.call<Answers>(
        CallKind::kNames, asking(*directory, true, as),
        [&clock = parts_.clock, path = std::move(*path),
         names = std::move(names)](Netfs& netfs) -> Result<Answers> {
          const Nanoseconds began = clock.mono_ns();
          std::vector<Result<Attributes>> answers = netfs.stat_names(path, names);
          return Answers{std::move(answers), clock.mono_ns() - began};
        },
        [this, directory, question = std::move(question)](Result<Answers> answers) mutable {
          const std::size_t count = question.names.size();
          if (answers) took_a_name(answers->took_ns / static_cast<Nanoseconds>(count));
          for (std::size_t i = 0; i < count; ++i) {
            const Result<Attributes> one =
                answers ? answers->of[i] : Result<Attributes>(fail(answers.error()));
            looked_up(*directory, question.names[i], question.asked, one,
                      std::move(question.tickets[i]));
          }
        });
  }
}

// A call of about half a millisecond: hand-overs cost little of it, and slow shares are asked for
// each name at once.
std::size_t Vfs::names_a_call() const {
  constexpr Nanoseconds kCall_ns = kMillisecond / 2;
  const Nanoseconds each = std::max<Nanoseconds>(name_takes_ns_.load(), 1);
  return static_cast<std::size_t>(std::clamp<Nanoseconds>(kCall_ns / each, 1, 64));
}

void Vfs::took_a_name(Nanoseconds took_ns) {
  const Nanoseconds before = name_takes_ns_.load();
  name_takes_ns_.store(before + (took_ns - before) / 4);
}

void Vfs::answer_listing(Listing& listing) {
  if (!listing.reply.stay()) return;
  ReplySlot& slot = listing.reply.slot();
  std::size_t used = 0;
  std::uint64_t offset = listing.offset;
  bool room = add_dots_plus(*listing.directory, offset, used, listing.size, slot);
  const std::size_t first = listing.entries->first_behind(listing.offset);
  Nanoseconds names_until_mono_ns = std::numeric_limits<Nanoseconds>::max();
  for (std::size_t i = 0; room && i < listing.found.size(); ++i) {
    const Dirent& dirent = listing.entries->entries[first + i];
    Inode* const inode = listing.found[i].inode.get();
    Entry entry;
    Nanoseconds until_mono_ns = 0;
    if (inode != nullptr) {
      until_mono_ns =
          kernel_trusts_until(*listing.directory, dirent.name, listing.found[i].until_mono_ns);
      entry = entry_of(*inode, until_mono_ns);
    } else {
      // Node 0: the kernel takes the name and type only.
      entry.inode = dirent.inode;
      entry.attributes.mode = mode_of(dirent.type);
    }
    room = slot.add_dirent_plus(used, listing.size, dirent.name, entry,
                                listing.entries->places[first + i]);
    if (!room || inode == nullptr) continue;
    hold(*inode);
    names_until_mono_ns = std::min(names_until_mono_ns, until_mono_ns);
  }
  told_names(*listing.directory, *listing.entries, names_until_mono_ns);
  listing.reply.data(ByteCount{used});
}

// The kernel takes no reference for the dots.
bool Vfs::add_dots_plus(Inode& directory, std::uint64_t& offset, std::size_t& used,
                        std::size_t size, ReplySlot& slot) {
  for (const std::string_view name : {".", ".."}) {
    const std::uint64_t next = name.size();
    if (offset >= next) continue;
    Entry entry;
    entry.inode = directory.inode_number;
    entry.attributes.mode = S_IFDIR;
    if (!slot.add_dirent_plus(used, size, name, entry, next)) return false;
    offset = next;
  }
  return true;
}

}  // namespace larder
