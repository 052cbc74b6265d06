// SPDX-License-Identifier: Apache-2.0
// Cache: one of the caches that may back cookies: a tag, a backend, and how many objects it has.
//
// Lives as long as any object of it: a finished operation's record or a piece of work left in a
// queue may outlive FsCache, and then touches only the counters of the tree.
#pragma once

#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <cstdint>
#include <memory>
#include <string>

#include <larder/backend.h>

namespace larder::cache {

struct Tree;

class Cache : public boost::intrusive_ref_counter<Cache> {
 public:
  Cache(std::shared_ptr<Tree> the_tree, std::string the_tag, std::unique_ptr<Backend> the_backend);

  Tree& tree;
  const std::string tag;
  // From the beginning until the last object is gone. Not guarded: who asks holds an object of the
  // cache that is not dead, or the tree's mutex while `withdrawing` is not set.
  std::unique_ptr<Backend> backend;

  // Guarded by the tree's mutex.
  bool withdrawing = false;     // no object is made any more
  std::uint32_t n_objects = 0;  // that are not dead
  std::uint32_t n_guests = 0;   // who use the backend and hold no object: it stays for them too

 private:
  const std::shared_ptr<Tree> keep_tree_;
};
using CachePtr = boost::intrusive_ptr<Cache>;

}  // namespace larder::cache
