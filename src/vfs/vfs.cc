// SPDX-License-Identifier: Apache-2.0
#include "vfs/vfs.h"

#include <sys/stat.h>

#include "vfs/late_settling.h"
#include "vfs/lock_wait.h"

namespace larder {
namespace {

FileId root_file(const Attributes& attributes, const Traits& traits) {
  return file_id_of(attributes, traits).value_or(FileId{1, FileId::kGiven, FileId::kGiven});
}

}  // namespace

Vfs::Vfs(VfsParts parts, VfsOptions options, const Attributes& root, const struct statvfs& figures)
    : parts_(std::move(parts)),
      options_(std::move(options)),
      leaving_(parts_.clock, parts_.timers, parts_.answer, options_.share_slow_ns, counters_.left),
      store_waits_(parts_.clock, parts_.timers, parts_.answer, parts_.cache,
                   options_.store_deadline_ns, counters_.store_passed),
      table_(&Vfs::inode_gone, this),
      root_(table_.find_or_make(root_file(root, parts_.share.traits()), S_IFDIR,
                                root_file(root, parts_.share.traits()).inode)),
      names_(*root_,
             NameKeys(parts_.share.traits().folds_case ? NameKeys::Case::kFolds
                                                       : NameKeys::Case::kTells),
             parts_.clock),
      figures_(figures) {
  learn(*root_, root, ask());
  if (options_.verify) verify_all();
}

// The root goes while the names, which it is taken out of, are still there.
Vfs::~Vfs() { root_.reset(); }

void Vfs::close() {
  // Sessions that wait for their stamps to age end unsettled: what they wrote is not kept.
  std::list<LateSettling> waiting;
  {
    MutexLock lock(settling_mutex_);
    for (auto at = settling_.begin(); at != settling_.end();) {
      const auto here = at++;
      if (parts_.timers.cancel(*here)) waiting.splice(waiting.end(), settling_, here);
    }
  }
  waiting.clear();
  for (const InodeRef& inode : table_.all()) {
    std::uint64_t lookups = 0;
    {
      MutexLock lock(inode->mutex);
      lookups = std::exchange(inode->lookups, 0);
    }
    for (; lookups > 0; --lookups) intrusive_ptr_release(inode.get());
  }
  // What is left is held by a handle that the kernel never released (a signal or a lazy unmount,
  // while files are open), by a fill that is under way, or is the root. Its cookie goes all the
  // same, since the share's cookie, their parent, goes next.
  for (const InodeRef& inode : table_.all()) relinquish_cookie(*inode);
  table_.wait_until_gone();
}

void Vfs::register_in(stats::Registry& registry) {
  using stats::Unit;
  counters_.register_in(registry);
  memos_.register_in(registry);
  registry.add("vfs.memory", Unit::kBytes, "memory for inodes, listings, fetches and copies, about",
               [this] { return memory_used(); });
  registry.add("vfs.memory_limit", Unit::kBytes, "what that may come to (memory=)",
               [this] { return options_.memory_bytes; });
}

void VfsCounters::register_in(stats::Registry& registry) {
  using stats::Unit;
  registry.add("vfs.reads", Unit::kCount, "reads that the kernel asked for", reads);
  registry.add("vfs.read_bytes", Unit::kBytes, "bytes answered to reads", read_bytes);
  registry.add("vfs.warm_reads", Unit::kCount, "reads answered from the store alone", warm_reads);
  registry.add("vfs.warm_bytes", Unit::kBytes, "bytes of them", warm_bytes);
  registry.add("vfs.cold_reads", Unit::kCount, "reads that waited for the share", cold_reads);
  registry.add("vfs.cold_bytes", Unit::kBytes, "bytes of them", cold_bytes);
  registry.add("vfs.uncached_reads", Unit::kCount,
               "reads of files that changed faster than they could be fetched", uncached_reads);
  registry.add("vfs.parked", Unit::kCount, "requests that left the thread they came on", parked);
  registry.add("vfs.store_passed", Unit::kCount,
               "reads that went to the share, as their turn at the store did not come within "
               "store_deadline",
               store_passed);
  registry.add("vfs.left", Unit::kCount, "of these, those whose askers were interrupted and went",
               left);
  registry.add("vfs.copied_bytes", Unit::kBytes, "bytes copied between buffers of ours",
               copied_bytes);
  registry.add("vfs.flights", Unit::kCount, "fetches begun", flights);
  registry.add("vfs.flight_joins", Unit::kCount, "reads that joined a fetch of another",
               flight_joins);
  registry.add("vfs.flight_bytes", Unit::kBytes, "bytes that fetches brought", flight_bytes);
  registry.add("vfs.stale_flights", Unit::kCount, "fetches under which the file changed",
               stale_flights);
  registry.add("vfs.fills_skipped", Unit::kCount, "fetched runs that did not go to the store",
               fills_skipped);
  registry.add("vfs.writes", Unit::kCount, "writes that the kernel asked for", writes);
  registry.add("vfs.write_bytes", Unit::kBytes, "bytes that the share took", write_bytes);
  registry.add("vfs.sessions_kept", Unit::kCount, "write sessions whose pages stayed cached",
               sessions_kept);
  registry.add("vfs.sessions_dropped", Unit::kCount, "sessions whose pages were dropped",
               sessions_dropped);
  registry.add("vfs.lookups", Unit::kCount, "look-ups that the kernel asked for", lookups);
  registry.add("vfs.opens", Unit::kCount, "opens that the kernel asked for", opens);
  registry.add("vfs.excluded_opens", Unit::kCount, "opens of files that nocache= names",
               excluded_opens);
  registry.add("vfs.pass_through_opens", Unit::kCount,
               "of these, those that the kernel serves by itself", pass_through_opens);
  registry.add("vfs.pass_through_refused", Unit::kCount,
               "files of the share that the kernel would not take", pass_through_refused);
  registry.add("vfs.opens_unasked", Unit::kCount, "opens answered without asking the share",
               opens_unasked);
  registry.add("vfs.new_versions", Unit::kCount, "files found to have changed", new_versions);
  registry.add("vfs.served_unasked", Unit::kCount,
               "answers from what is known, the share being slow or away", served_unasked);
  registry.add("vfs.given_back", Unit::kCount,
               "names that the kernel was asked to let go of, for want of memory", given_back);
  registry.add("vfs.stale_answers", Unit::kCount,
               "answers that the cache would have given and the share did not confirm (verify)",
               stale_answers);
  registry.add("vfs.inodes", Unit::kGauge, "inodes in memory", inodes);
  registry.add("vfs.handles", Unit::kGauge, "open files and directories", handles);
  registry.add("vfs.warm_read_ns", Unit::kNanoseconds, "time of warm reads", warm_read_ns);
  registry.add("vfs.cold_read_ns", Unit::kNanoseconds, "time of cold reads", cold_read_ns);
  registry.add("stage.lookup_ns", Unit::kNanoseconds,
               "time of a read until the store is asked, of every eighth", stage_lookup_ns);
  registry.add("stage.store_ns", Unit::kNanoseconds,
               "time of a read at the store, sums checked, of every eighth", stage_store_ns);
}

}  // namespace larder
