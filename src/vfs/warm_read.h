// SPDX-License-Identifier: Apache-2.0
// WarmRead: a read whose pages are in the store, and have to come from the disk.
//
// It waits on the ring of the thread that its request came on, without that thread, in the buffer
// that the kernel takes the answer from. The records are kept by each thread and used again: a warm
// read allocates nothing.
#pragma once

#include <larder/cookie.h>
#include <larder/reply.h>
#include <larder/store.h>

#include <cstddef>
#include <memory>
#include <utility>

#include "vfs/vfs.h"

namespace larder {

struct Vfs::WarmRead {
  WarmRead(Vfs& v, Handle& h, const Span& s, ByteOffset offset, ByteCount count,
           Nanoseconds began_ns, Reply r)
      : vfs(v),
        handle(h),
        span(s),
        asked_offset(offset),
        asked_count(count),
        began_mono_ns(began_ns),
        reply(std::move(r)) {
    operation.kind = cache::OperationKind::kRead;
  }

  static void* operator new(std::size_t bytes);
  static void operator delete(void* memory) noexcept;

  Vfs& vfs;
  Handle& handle;
  const Span span;
  const ByteOffset asked_offset;
  const ByteCount asked_count;
  const Nanoseconds began_mono_ns;
  Reply reply;
  cache::Operation operation;
  struct FromStore : store::StoreRead {
    explicit FromStore(WarmRead& r) : whose(r) {}
    WarmRead& whose;
  } from_store{*this};
};

}  // namespace larder
