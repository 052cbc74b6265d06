// SPDX-License-Identifier: Apache-2.0
// Daemon: fork first, then threads; the parent waits until the mount stands and exits with its
// code.
#pragma once

#include <larder/fd.h>

#include <string>

namespace larder::fuse {

// Exit codes of mount(8) helpers.
inline constexpr int kExitOk = 0;
inline constexpr int kExitUsage = 1;
inline constexpr int kExitMount = 32;

// Tells whoever started larder how it went: once, from the daemon, or directly in the foreground.
class Starter {
 public:
  // kForeground: no fork. Otherwise returns in the child only; the parent prints what it is told
  // and exits.
  enum class Where : bool { kForeground, kBackground };
  static Starter begin(Where where);

  // The mount stands: the parent exits 0. The daemon lets go of what it was started with.
  void succeeded();
  // Prints `line` where the user sees it and ends the program with `code`.
  [[noreturn]] void failed(int code, const std::string& line);
  // Prints a line where the user sees it.
  void note(const std::string& line);

 private:
  Starter(Fd pipe, Fd terminal) : pipe_(std::move(pipe)), terminal_(std::move(terminal)) {}
  Fd pipe_;      // to the parent; invalid in the foreground
  Fd terminal_;  // standard error of who started us; invalid in the foreground, where it still is 2
};

}  // namespace larder::fuse
