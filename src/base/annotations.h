// SPDX-License-Identifier: Apache-2.0
// clang's thread-safety attributes; nothing under other compilers. `-Wthread-safety` checks them.
#pragma once

#if defined(__clang__)
#define LARDER_TS(x) __attribute__((x))
#else
#define LARDER_TS(x)
#endif

// abseil's containers bring macros of the same names and the same meaning.
#undef GUARDED_BY
#undef PT_GUARDED_BY
#undef NO_THREAD_SAFETY_ANALYSIS

#define CAPABILITY(name) LARDER_TS(capability(name))
#define SCOPED_CAPABILITY LARDER_TS(scoped_lockable)
#define GUARDED_BY(m) LARDER_TS(guarded_by(m))
#define PT_GUARDED_BY(m) LARDER_TS(pt_guarded_by(m))
#define REQUIRES(...) LARDER_TS(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) LARDER_TS(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) LARDER_TS(acquire_capability(__VA_ARGS__))
#define RELEASE(...) LARDER_TS(release_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) LARDER_TS(try_acquire_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS LARDER_TS(no_thread_safety_analysis)
