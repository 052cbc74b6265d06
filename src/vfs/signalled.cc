// SPDX-License-Identifier: Apache-2.0
#include "vfs/signalled.h"

#include <fmt/format.h>
#include <signal.h>

#include <charconv>
#include <fstream>
#include <sstream>

namespace larder {
namespace {

// "SigPnd:\t0000000000000100"
std::uint64_t mask_of(std::string_view status, std::string_view name) {
  const std::size_t at = status.find(name);
  if (at == std::string_view::npos) return 0;
  const std::string_view rest = status.substr(at + name.size());
  const std::size_t digits = rest.find_first_not_of(" \t");
  std::uint64_t mask = 0;
  if (digits != std::string_view::npos)
    std::from_chars(rest.data() + digits, rest.data() + rest.size(), mask, 16);
  return mask;
}

std::uint64_t bit(int signal) { return std::uint64_t{1} << (signal - 1); }

}  // namespace

std::optional<Signalled> signalled(std::string_view status) {
  if (status.find("SigPnd:") == std::string_view::npos) return std::nullopt;
  const std::uint64_t pending = mask_of(status, "SigPnd:") | mask_of(status, "ShdPnd:");
  if ((pending & bit(SIGKILL)) != 0) return Signalled::kEnds;
  const std::uint64_t noticed =
      pending & ~mask_of(status, "SigBlk:") & ~mask_of(status, "SigIgn:") & ~bit(SIGSTOP);
  const std::uint64_t caught = noticed & mask_of(status, "SigCgt:");
  const std::uint64_t ends_nobody = bit(SIGCHLD) | bit(SIGURG) | bit(SIGWINCH) | bit(SIGCONT) |
                                    bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU);
  if ((noticed & ~caught & ~ends_nobody) != 0) return Signalled::kEnds;
  return caught != 0 ? Signalled::kCaught : Signalled::kNothing;
}

std::optional<Signalled> signalled_now(std::uint32_t thread) {
  if (thread == 0) return std::nullopt;
  std::ifstream file(fmt::format("/proc/{}/status", thread));
  std::ostringstream text;
  text << file.rdbuf();
  return signalled(text.str());
}

}  // namespace larder
