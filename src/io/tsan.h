// SPDX-License-Identifier: Apache-2.0
// What the thread sanitizer cannot see: the kernel hands memory on between a submission and its
// completion, and completions come on other threads than the one that filled the buffer.
#pragma once

#if defined(__SANITIZE_THREAD__)
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#endif

namespace larder {

// All that this thread did before submit_annotation(x) has happened before what follows
// complete_annotation(x).
inline void submit_annotation([[maybe_unused]] void* whose) {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(whose);
#endif
}
inline void complete_annotation([[maybe_unused]] void* whose) {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(whose);
#endif
}

}  // namespace larder
