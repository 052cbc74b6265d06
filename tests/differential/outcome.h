// SPDX-License-Identifier: Apache-2.0
// Outcome: what a system call brought, in a form that is the same on both sides where nothing
// differs that a program could tell.
//
// Two sides: `plain`, a directory of the machine, and `other`, the same through larder. Each step
// is done on plain first, then on other, and what they brought is compared; a difference ends the
// run with the seed, the step and the last steps before it.
#pragma once

#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <string>
#include <utility>

#include "base/random.h"

namespace larder::differ {

struct Outcome {
  long returned = 0;
  int error = 0;       // where it is -1
  std::string detail;  // what it brought beside: bytes, names, attributes
  bool operator==(const Outcome&) const = default;
};

// Of a call that returns -1 and sets errno.
inline Outcome outcome_of(long returned) {
  return {returned < 0 ? -1 : returned, returned < 0 ? errno : 0, {}};
}
inline Outcome success_of(long returned) {
  return {returned < 0 ? -1 : 0, returned < 0 ? errno : 0, {}};
}

// Inode numbers are the sides' own: they are compared by which names share one.
class InodeNames {
 public:
  std::uint64_t name(std::uint64_t device, std::uint64_t inode) {
    return names_.try_emplace({device, inode}, names_.size()).first->second;
  }

 private:
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> names_;
};

struct Side {
  int root = -1;
  std::string path;
};

using Sides = std::array<Side, 2>;

// Times that a step set are far in the past and compared to the nanosecond; others are "now".
std::string time_text(const struct timespec& time);
enum class Times : bool { kNone, kModified };
std::string stat_text(const struct stat& st, Times times);

// The steps so far, for who looks at a difference.
class Journal {
 public:
  explicit Journal(std::uint64_t seed) : seed_(seed) {}
  void step(std::string text);
  // Ends the run.
  [[noreturn]] void differs(const Outcome& plain, const Outcome& other) const;
  void compare(const Outcome& plain, const Outcome& other) const {
    if (!(plain == other)) differs(plain, other);
  }

 private:
  static constexpr std::size_t kShown = 40;
  const std::uint64_t seed_;
  std::uint64_t count_ = 0;
  std::deque<std::string> last_;
};

// Everything below a directory: names, attributes, links, content, extended attributes.
std::string tree_text(int root);
// Removes everything below it.
void clear(int root);

}  // namespace larder::differ
