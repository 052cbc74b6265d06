// SPDX-License-Identifier: Apache-2.0
// Settings: what applies to one inode, read through one seam.
//
// Code that needs a setting asks `resolve(inode)`, never a global. Today one Settings serves all
// paths; a policy by path changes resolve() and nothing else.
#pragma once

#include <larder/units.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace larder {

enum class Coherency : std::uint8_t {
  kStrict,       // each open and each read asks the share; the kernel keeps nothing
  kCloseToOpen,  // an open asks the share; in between attributes are trusted for attr_ttl_ns
  kTtl,          // nothing is asked again within ttl_ns
  kImmutable,    // nothing is asked again
};

struct Settings {
  Coherency coherency = Coherency::kCloseToOpen;
  Nanoseconds ttl_ns = 0;  // of kTtl
  Nanoseconds attr_ttl_ns = kSecond;
  Nanoseconds entry_ttl_ns = kSecond;
  Nanoseconds negative_ttl_ns = 0;
  bool read_only = false;
  // Overrides what the share says of every file.
  std::optional<std::uint32_t> uid, gid;
  std::uint32_t umask = 0;
  std::string select_cache;  // the tag of the cache to use; empty: the first
};

class Inode;

class Policy {
 public:
  explicit Policy(Settings settings) : settings_(std::move(settings)) {}
  // Valid as long as the mount. Thread: any.
  const Settings& resolve(const Inode&) const { return settings_; }
  // For what happens before there is an inode: the root's.
  const Settings& root() const { return settings_; }

 private:
  Settings settings_;
};

}  // namespace larder
