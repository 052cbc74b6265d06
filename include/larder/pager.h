// SPDX-License-Identifier: Apache-2.0
// Pager: a long text that is made while it is read, as a seq_file of the kernel is. Each call
// appends the next piece and holds locks no longer than that piece takes, so a listing of a million
// objects stops nobody. What is listed may change between two pieces: an entry that comes or goes
// meanwhile is shown or not; none is shown twice.
#pragma once

#include <absl/functional/any_invocable.h>

#include <string>

namespace larder {

// Appends what comes next; false: there is no more. Not to be called again behind that. Thread: one
// at a time.
using Pager = absl::AnyInvocable<bool(std::string& text)>;

// One that has all of its text at once.
inline Pager one_page(std::string whole) {
  return [whole = std::move(whole)](std::string& text) {
    text += whole;
    return false;
  };
}

// All of it.
inline std::string read_all(Pager pager) {
  std::string text;
  while (pager(text)) {
  }
  return text;
}

}  // namespace larder
