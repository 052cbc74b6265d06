// SPDX-License-Identifier: Apache-2.0
// Calls: the kinds of requests, by the names that `stats` counts them under.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace larder::slowshare {

// clang-format off
#define LARDER_SLOWSHARE_CALLS(X)                                                            \
  X(lookup) X(forget) X(getattr) X(setattr) X(readlink) X(mknod) X(mkdir) X(unlink) X(rmdir) \
  X(symlink) X(rename) X(link) X(open) X(create) X(read) X(write) X(flush) X(release)        \
  X(fsync) X(opendir) X(readdir) X(readdirplus) X(releasedir) X(fsyncdir) X(statfs)          \
  X(setxattr) X(getxattr) X(listxattr) X(removexattr) X(fallocate) X(lseek)
// clang-format on

enum class Call : std::uint8_t {
#define X(name) name,
  LARDER_SLOWSHARE_CALLS(X)
#undef X
};

inline constexpr auto kCallNames = std::to_array<std::string_view>({
#define X(name) #name,
    LARDER_SLOWSHARE_CALLS(X)
#undef X
});
inline constexpr std::size_t kCalls = kCallNames.size();

constexpr std::optional<Call> call_named(std::string_view name) {
  for (std::size_t i = 0; i < kCalls; ++i) {
    if (kCallNames.at(i) == name) return static_cast<Call>(i);
  }
  return std::nullopt;
}

}  // namespace larder::slowshare
