// SPDX-License-Identifier: Apache-2.0
#include "vfs/path_patterns.h"

#include <fnmatch.h>

#include <algorithm>

namespace larder {

PathPatterns::PathPatterns(std::vector<std::string> patterns, Case letters)
    : flags_(FNM_NOESCAPE | FNM_PATHNAME | (letters == Case::kFolds ? FNM_CASEFOLD : 0)) {
  for (std::string& text : patterns) {
    const bool of_path = text.find('/') != std::string::npos;
    text.erase(0, text.find_first_not_of('/'));
    while (text.ends_with('/')) text.pop_back();
    if (!text.empty()) patterns_.push_back({std::move(text), of_path});
  }
}

bool PathPatterns::means(const Pattern& pattern, const std::string& path,
                         const std::string& name) const {
  const std::string& subject = pattern.of_path ? path : name;
  return ::fnmatch(pattern.text.c_str(), subject.c_str(), flags_) == 0;
}

bool PathPatterns::mean(std::string_view path) const {
  if (patterns_.empty()) return false;
  for (std::size_t begin = 0; begin < path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string so_far(path.substr(0, end)), name(path.substr(begin, end - begin));
    if (std::ranges::any_of(patterns_, [&](const Pattern& p) { return means(p, so_far, name); }))
      return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace larder
