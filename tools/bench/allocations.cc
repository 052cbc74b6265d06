// SPDX-License-Identifier: Apache-2.0
#include "bench/allocations.h"

#include <cerrno>
#include <cstddef>

namespace larder::bench {
namespace {

// Plain, so that it needs no memory itself when a thread asks first.
thread_local std::uint64_t calls = 0;

}  // namespace

std::uint64_t allocations_so_far() { return calls; }

}  // namespace larder::bench

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

// Of every sanitizer's runtime; gcc does not bring its header along.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void* at,
                                                                           std::size_t bytes),
                                                         void (*on_free)(const volatile void* at));

namespace {

[[maybe_unused]] const int installed = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t) { ++larder::bench::calls; }, [](const volatile void*) {});

}  // namespace

#else

// The C library's own, under the names that it keeps for this.
extern "C" {

void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* at, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);

void* malloc(std::size_t bytes) {
  ++larder::bench::calls;
  return __libc_malloc(bytes);
}
void* calloc(std::size_t count, std::size_t bytes) {
  ++larder::bench::calls;
  return __libc_calloc(count, bytes);
}
void* realloc(void* at, std::size_t bytes) {
  ++larder::bench::calls;
  return __libc_realloc(at, bytes);
}
void* memalign(std::size_t alignment, std::size_t bytes) {
  ++larder::bench::calls;
  return __libc_memalign(alignment, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) { return memalign(alignment, bytes); }
int posix_memalign(void** at, std::size_t alignment, std::size_t bytes) {
  void* const got = memalign(alignment, bytes);
  if (got == nullptr) return ENOMEM;
  *at = got;
  return 0;
}
}

#endif
