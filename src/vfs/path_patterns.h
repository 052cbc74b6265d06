// SPDX-License-Identifier: Apache-2.0
// PathPatterns: which files a setting is about, by where they lie.
//
// A pattern as the shell has them (*, ?, [...]), without escapes. One without a slash is held
// against each name on a path; one with a slash against the path from the share's root on, where
// * and ? take no slash. What lies below a directory that is meant is meant as well.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace larder {

class PathPatterns {
 public:
  enum class Case : bool { kTells, kFolds };
  PathPatterns() = default;
  PathPatterns(std::vector<std::string> patterns, Case letters);

  bool empty() const { return patterns_.empty(); }
  // `path`: relative to the root, without a leading slash; the root itself is never meant.
  bool mean(std::string_view path) const;

 private:
  struct Pattern {
    std::string text;
    bool of_path = false;  // else of a name
  };
  bool means(const Pattern& pattern, const std::string& path, const std::string& name) const;

  std::vector<Pattern> patterns_;
  int flags_ = 0;
};

}  // namespace larder
