// SPDX-License-Identifier: Apache-2.0
#include "vfs/store_path.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <system_error>

#include "base/crc32c.h"

namespace larder {
namespace {

constexpr std::size_t kKeyMax = 255;
constexpr std::size_t kNameMax = 64;

std::uint32_t sum_of(const std::string& text) { return crc32c(std::as_bytes(std::span(text))); }

SetUp<std::filesystem::path> cache_directory() {
  if (::geteuid() == 0) return std::filesystem::path("/var/cache");
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg && *xdg == '/')
    return std::filesystem::path(xdg);
  if (const char* home = std::getenv("HOME"); home && *home == '/')
    return std::filesystem::path(home) / ".cache";
  return complain(ErrorCode::kStorePlace,
                  "there is no HOME to keep the store in; say where with store=PATH");
}

}  // namespace

SetUp<std::string> default_store_path(const std::string& share) {
  TRY(const std::filesystem::path cache, cache_directory());
  const std::filesystem::path directory = cache / "larder";
  std::error_code error;
  std::filesystem::create_directories(cache, error);
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    return complain(
        ErrorCode::kStorePlace,
        fmt::format("{} cannot be made: {}; say where the store may lie with store=PATH",
                    directory.string(), std::generic_category().message(errno)),
        errno);
  // The end of the path says most; leading slashes say nothing.
  std::string name = share.substr(share.size() > kNameMax ? share.size() - kNameMax : 0);
  std::replace(name.begin(), name.end(), '/', '-');
  name.erase(0, name.find_first_not_of('-'));
  return (directory / fmt::format("{}-{:08x}.store", name, sum_of(share))).string();
}

std::string share_key(const ShareIdentity& identity) {
  const std::string key = identity.key();
  if (key.size() <= kKeyMax) return key;
  const std::string sum = fmt::format("~{:08x}{:08x}", sum_of(key), sum_of(key + "2"));
  return key.substr(0, kKeyMax - sum.size()) + sum;
}

}  // namespace larder
