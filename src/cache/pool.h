// SPDX-License-Identifier: Apache-2.0
// Pooled: records that come by the million have a pool of their own size, without an allocator's
// header on each. The pools are the program's, grow by chunks and are never given back. Sanitizers
// see plain allocations: a pool would hide what is used after it was freed.
//
// Thread: any.
#pragma once

#include <larder/result.h>

#include <boost/pool/singleton_pool.hpp>

#include <cstddef>

#include "base/small_mutex.h"

namespace larder::cache {

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

template <class T>
class Pooled {
 public:
  static void* operator new(std::size_t) {
    void* at = pool::malloc();
    check(at != nullptr, "there is memory for a record");
    return at;
  }
  static void operator delete(void* at) { pool::free(at); }

 private:
  static constexpr unsigned kFirst = 64, kMost = 1024;  // records in a chunk
  struct Tag {};
  struct pool {
    using type = boost::singleton_pool<Tag, sizeof(T), boost::default_user_allocator_malloc_free,
                                       SmallMutex<Rank::kLeaf>, kFirst, kMost>;
    static void* malloc() { return type::malloc(); }
    static void free(void* at) { type::free(at); }
  };
};

// The same for blocks of bytes.
template <std::size_t kSize>
struct SmallBlocks {
  struct Block : Pooled<Block> {
    std::byte bytes[kSize];
  };
  static std::byte* take() { return static_cast<std::byte*>(Block::operator new(kSize)); }
  static void give(std::byte* block) { Block::operator delete(block); }
};

#else

template <class T>
class Pooled {};

template <std::size_t kSize>
struct SmallBlocks {
  static std::byte* take() { return new std::byte[kSize]; }
  static void give(std::byte* block) { delete[] block; }
};

#endif

}  // namespace larder::cache
