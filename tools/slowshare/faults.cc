// SPDX-License-Identifier: Apache-2.0
#include "slowshare/faults.h"

#include <fnmatch.h>
#include <string.h>

#include <algorithm>
#include <charconv>

namespace larder::slowshare {
namespace {

constexpr int kErrnoEnd = 134;  // one past EHWPOISON, the last of Linux

bool matches(const std::string& pattern, std::string_view name) {
  return !name.empty() && fnmatch(pattern.c_str(), std::string(name).c_str(), 0) == 0;
}

bool matches(const Target& target, Call call, Names names) {
  return (!target.call || *target.call == call) &&
         (matches(target.pattern, names.first) || matches(target.pattern, names.second));
}

}  // namespace

void Faults::release() {
  hang_.clear();
  hang_next_ = 0;
}

void Faults::clear() {
  release();
  fail_.clear();
  short_.clear();
}

Verdict Faults::judge(Call call, Names names) {
  Verdict verdict;
  verdict.hangs = std::any_of(hang_.begin(), hang_.end(),
                              [&](const Target& target) { return matches(target, call, names); });
  if (!verdict.hangs && hang_next_ > 0) {
    --hang_next_;
    verdict.hangs = true;
  }
  for (const Failure& failure : fail_) {
    if (verdict.error == 0 && matches(failure.target, call, names)) verdict.error = failure.error;
  }
  return verdict;
}

bool Faults::shortens(std::string_view name) const {
  return std::any_of(short_.begin(), short_.end(),
                     [&](const std::string& pattern) { return matches(pattern, name); });
}

int errno_of(std::string_view name) {
  int number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error == std::errc{} && end == name.data() + name.size()) {
    return number > 0 && number < kErrnoEnd ? number : 0;
  }
  for (int i = 1; i < kErrnoEnd; ++i) {
    const char* known = strerrorname_np(i);
    if (known != nullptr && name == known) return i;
  }
  return 0;
}

}  // namespace larder::slowshare
