// SPDX-License-Identifier: Apache-2.0
// Faults: what goes wrong on request. Rules name files by a shell pattern for the last part of a
// name
// ("*.so"); "*" matches each, the root ("/") too. A rule may be for one kind of call only. Of
// several rules the first that matches counts.
//
// Thread: one at a time (the Gate locks).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "slowshare/calls.h"

namespace larder::slowshare {

// The names that a request is about; rename has two.
struct Names {
  std::string_view first;
  std::string_view second = {};
};

struct Verdict {
  bool hangs = false;
  int error = 0;  // errno; 0: none
};

// The requests that a rule is for.
struct Target {
  std::string pattern;
  std::optional<Call> call = {};  // each kind where none is named
};

class Faults {
 public:
  void hang(Target target) { hang_.push_back(std::move(target)); }
  void hang_next(std::uint64_t requests) { hang_next_ = requests; }
  void fail(int error, Target target) { fail_.push_back({error, std::move(target)}); }
  void shorten(std::string pattern) { short_.push_back(std::move(pattern)); }

  // No new request hangs; errors and short reads stay.
  void release();
  void clear();

  // What happens to a request for `names`. Uses up one of hang_next.
  Verdict judge(Call call, Names names);
  bool shortens(std::string_view name) const;

 private:
  struct Failure {
    int error;
    Target target;
  };
  std::vector<Target> hang_;
  std::vector<Failure> fail_;
  std::vector<std::string> short_;
  std::uint64_t hang_next_ = 0;
};

// "EIO" or "5" -> 5; 0 where there is no such error.
int errno_of(std::string_view name);

}  // namespace larder::slowshare
