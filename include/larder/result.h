// SPDX-License-Identifier: Apache-2.0
// Errors are values. `Result<T>` is a T or an `Error`; `Status` is a Result with nothing in it.
//
// An Error is eight bytes: a code of ours, which says what the caller can do about it, and the
// errno that the system gave, where there was one. No strings: the text is `to_text(error)`. An
// errno is made of an Error in one place only, at the FUSE edge (fuse/errno.h).
//
// Rules: I/O faults are Errors; a broken invariant of our own is `check()`, which stops the
// program.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace larder {

// name, what it means (a sentence a user can read)
#define LARDER_ERROR_CODES(X)                                              \
  X(kShareAnswer, "the share refused")                                     \
  X(kShareAway, "the share is away: not mounted, or not the share it was") \
  X(kShareDeadline, "the share did not answer in time")                    \
  X(kShareBusy, "too many calls wait for the share")                       \
  X(kShareStale, "the file behind the handle is gone")                     \
  X(kStoreIo, "reading or writing the store failed")                       \
  X(kStoreFull, "the store has no room")                                   \
  X(kStoreSum, "a page of the store does not match its sum")               \
  X(kStoreFormat, "this is not a store of this version")                   \
  X(kStoreLocked, "the store is in use")                                   \
  X(kStorePlace, "the store may not lie there")                            \
  X(kMiss, "not in the cache")                                             \
  X(kNoBufs, "the object cannot cache")                                    \
  X(kNoData, "nothing is cached there yet")                                \
  X(kStale, "the content changed")                                         \
  X(kConflict, "it ran into another change; to be tried again")            \
  X(kCancelled, "cancelled")                                               \
  X(kInvalid, "invalid argument")                                          \
  X(kNotFound, "no such name")                                             \
  X(kNotSupported, "not supported")                                        \
  X(kReadOnly, "mounted read-only")                                        \
  X(kPermission, "not permitted")                                          \
  X(kShutdown, "larder is being unmounted")                                \
  X(kSystem, "a system call failed")

enum class ErrorCode : std::int32_t {
#define X(name, text) name,
  LARDER_ERROR_CODES(X)
#undef X
};

struct Error {
  ErrorCode code = ErrorCode::kSystem;
  std::int32_t sys_errno = 0;  // 0: none
  friend bool operator==(const Error&, const Error&) = default;
};

// "the share refused: No such file or directory"
std::string to_text(Error error);
std::string_view name_of(ErrorCode code);

template <class T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
};

using Status = Result<void>;

inline tl::unexpected<Error> fail(ErrorCode code, int sys_errno = 0) {
  return tl::unexpected<Error>(Error{code, sys_errno});
}
inline tl::unexpected<Error> fail(Error error) { return tl::unexpected<Error>(error); }

// An error with the sentence for a user: for set-up (options, opening a store), never on a data
// path.
struct Complaint {
  Error error;
  std::string line;  // one line: what is wrong, and what would be right
};

template <class T>
class [[nodiscard]] SetUp : public tl::expected<T, Complaint> {
 public:
  using tl::expected<T, Complaint>::expected;
};

inline tl::unexpected<Complaint> complain(ErrorCode code, std::string line, int sys_errno = 0) {
  return tl::unexpected<Complaint>(Complaint{Error{code, sys_errno}, std::move(line)});
}

// Stops the program with the place and the sentence when a rule of our own is broken. Always on: a
// cache that has lost its bearings must not go on answering.
[[noreturn]] void check_failed(const char* what, const char* file, int line);
inline void check(bool holds, const char* what, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) {
  if (!holds) [[unlikely]]
    check_failed(what, file, line);
}

}  // namespace larder

// The one control-flow macro: TRY(auto x, call()) gives x or returns call()'s error.
#define LARDER_TRY_CAT2(a, b) a##b
#define LARDER_TRY_CAT(a, b) LARDER_TRY_CAT2(a, b)
#define TRY(var, expr) LARDER_TRY_IMPL(LARDER_TRY_CAT(try_, __LINE__), var, expr)
#define LARDER_TRY_IMPL(tmp, var, expr)                         \
  auto tmp = (expr);                                            \
  if (!tmp) return tl::make_unexpected(std::move(tmp).error()); \
  var = std::move(*tmp)
#define TRY_OK(expr) LARDER_TRY_OK_IMPL(LARDER_TRY_CAT(try_, __LINE__), expr)
#define LARDER_TRY_OK_IMPL(tmp, expr) \
  if (auto tmp = (expr); !tmp) return tl::make_unexpected(std::move(tmp).error())
