// SPDX-License-Identifier: Apache-2.0
#include "vfs/options_rules.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <optional>
#include <system_error>
#include <utility>

#include "vfs/options_kinds.h"

namespace larder::option {
namespace {

constexpr Nanoseconds kLongestCommit = 60 * kSecond;

}  // namespace

bool set_store(MountOptions& options, std::string_view value) {
  if (value.empty() || value.back() == '/') return false;
  if (value == "auto") {
    options.store.clear();
    return true;
  }
  // Made absolute here: a daemon has left the directory in which the user wrote it.
  std::error_code error;
  const auto path = std::filesystem::absolute(std::filesystem::path(value), error);
  if (error) return false;
  options.store = path.string();
  return true;
}
std::string get_store(const MountOptions& options) {
  return options.store.empty() ? "auto" : options.store;
}

bool set_tag(MountOptions& options, std::string_view value) {
  if (!is_tag(value)) return false;
  options.tag = value;
  return true;
}

bool set_select_cache(MountOptions& options, std::string_view value) {
  if (value != "first" && !is_tag(value)) return false;
  options.settings.select_cache = value == "first" ? "" : value;
  return true;
}

// Any number of times; several at once as cache_text() joins them.
bool set_cache(MountOptions& options, std::string_view value) {
  if (value == "none") {
    options.caches.clear();
    return true;
  }
  while (!value.empty()) {
    const std::size_t end = value.find(';');
    std::optional<CacheSpec> cache = parse_cache(value.substr(0, end));
    if (!cache) return false;
    for (const CacheSpec& other : options.caches)
      if (other.tag == cache->tag && other != *cache) return false;
    if (std::find(options.caches.begin(), options.caches.end(), *cache) == options.caches.end())
      options.caches.push_back(std::move(*cache));
    if (end == value.npos) return true;
    value.remove_prefix(end + 1);
  }
  return false;
}

std::string get_caches(const MountOptions& options) {
  std::string text;
  for (const CacheSpec& cache : options.caches)
    text += (text.empty() ? "" : ";") + cache_text(cache);
  return text.empty() ? "none" : text;
}

bool set_coherency(MountOptions& options, std::string_view value) {
  constexpr std::string_view kTtlPrefix = "ttl=";
  if (value == "cto" || value == "strict" || value == "immutable") {
    options.settings.coherency = value == "cto"      ? Coherency::kCloseToOpen
                                 : value == "strict" ? Coherency::kStrict
                                                     : Coherency::kImmutable;
    return true;
  }
  if (!value.starts_with(kTtlPrefix)) return false;
  if (!keep(parse_duration(value.substr(kTtlPrefix.size())), options.settings.ttl_ns)) return false;
  options.settings.coherency = Coherency::kTtl;
  return true;
}
std::string get_coherency(const MountOptions& options) {
  switch (options.settings.coherency) {
    case Coherency::kStrict:
      return "strict";
    case Coherency::kCloseToOpen:
      return "cto";
    case Coherency::kImmutable:
      return "immutable";
    case Coherency::kTtl:
      return "ttl=" + duration_text(options.settings.ttl_ns);
  }
  return "?";
}

bool set_umask(MountOptions& options, std::string_view value) {
  const auto mask = parse_number(value, 8);
  if (!mask || *mask > 0777) return false;
  options.settings.umask = static_cast<std::uint32_t>(*mask);
  return true;
}

bool set_factor(MountOptions& options, std::string_view value) {
  const std::string text(value);
  char* end = nullptr;
  const double factor = std::strtod(text.c_str(), &end);
  const bool plain = !text.empty() && *end == '\0' && std::isfinite(factor);
  if (!plain || factor < 0 || factor > 1000) return false;
  options.cache_factor = factor;
  return true;
}

bool set_threads(MountOptions& options, std::string_view value) {
  if (value == "auto") {
    options.threads = 0;
    return true;
  }
  return set_count(value, 64, options.threads);
}

bool set_share_id(MountOptions& options, std::string_view value) {
  if (value.empty() || value.size() > 255) return false;
  options.share_id = value == "auto" ? std::string_view() : value;
  return true;
}

bool set_commit(MountOptions& options, std::string_view value) {
  const auto time = parse_duration_in(value, kMillisecond);
  return time && *time >= kMillisecond && *time <= kLongestCommit && keep(time, options.commit_ns);
}

bool set_control(MountOptions& options, std::string_view value) {
  if (value.empty() || value == "." || value == ".." || value.size() > 255) return false;
  if (value.find('/') != std::string_view::npos) return false;
  options.control = value;
  return true;
}

bool set_debug(MountOptions& options, std::string_view value) {
  const bool hex = value.starts_with("0x") || value.starts_with("0X");
  const auto mask = hex ? parse_number(value.substr(2), 16) : parse_number(value, 10);
  if (!mask || *mask > std::numeric_limits<std::uint32_t>::max()) return false;
  options.debug = static_cast<std::uint32_t>(*mask);
  return true;
}

}  // namespace larder::option
