// SPDX-License-Identifier: Apache-2.0
// Host: what the mounts of one process share: the work queues, the I/O engine, the store and the
// cache floor. A mount has a share, a share pool, inodes and a FUSE session of its own; its objects
// lie in the host's caches, side by side with those of the other mounts.
//
// The first mount decides how the host runs; a later one fits, or is refused with a line.
// Thread: any.
#pragma once

#include <larder/options.h>
#include <larder/pager.h>
#include <larder/result.h>
#include <larder/work_queue.h>

#include <memory>
#include <string>
#include <vector>

namespace larder {

class Host {
 public:
  // Starts threads. REQUIRES: the process will not fork any more; its signals are blocked.
  Host();
  ~Host();  // REQUIRES: close() was called and nothing hangs; no mount is open

  // Behind the last mount: withdraws the caches, writes the stores' checkpoints, ends all threads.
  // False: a store does not answer (see ends()); the process ends now, without tearing down.
  bool close();
  // Runs `work`, the end of something that may wait for a store, on a thread of its own, and waits
  // for it. False: nothing has moved in any store for store_deadline, 10 s at least; `work` goes
  // on, and what it uses must live until it has ended or the process does. Not on a queue's thread.
  bool ends(Callback<> work);

  // The files of the stores; empty before the first mount.
  std::vector<std::string> stores() const;
  // The path of the store that a mount with these options would use. Touches no file system.
  // Errors: kStorePlace.
  static SetUp<std::string> store_of(const MountOptions& options);

  // While mounted. Cookies without an object are bound to what is added at their next use; those
  // whose cache is withdrawn go without until then, and their readers to the share. What is stored
  // stays. Returns a line for the user. Not on a thread that a mount needs: a withdrawal blocks
  // until what is under way in the cache is done, 10 s at most; what takes longer goes on behind
  // the error kStoreIo. `gone` is called, on some thread, when the cache is gone.
  SetUp<std::string> add_cache(const CacheSpec& wanted);
  SetUp<std::string> withdraw_cache(const std::string& tag, Callback<> gone);

  // Evicts from each cache that can hold so much, what goes next first, until so much is free. A
  // line for the user. Errors: kInvalid where none can.
  SetUp<std::string> make_room(ByteCount wanted);
  // Gives the cache's store another size. `tag` may be empty where there is one cache. A line for
  // the user. Blocks: until what lies behind a new end has moved.
  SetUp<std::string> resize(const std::string& tag, ByteCount size);
  // Empties it. Blocks: until the reads that are under way have ended.
  SetUp<std::string> clear(const std::string& tag);

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace larder
