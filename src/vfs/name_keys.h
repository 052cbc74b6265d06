// SPDX-License-Identifier: Apache-2.0
// NameKeys: under which key a name of the share stands in larder's tables, its memos and its store.
//
// Where case tells names apart, that is the name. On a share that folds case (SMB, FAT), two
// spellings are one name: the key has its ASCII letters in lower case. Which of the letters beyond
// those are one to the share differs from one to the next, so they are left alone, and what has any
// is not trusted (is_sure): a key that took two files for one would show the wrong one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

namespace larder {

class NameKeys {
 public:
  enum class Case : std::uint8_t { kTells, kFolds };
  explicit NameKeys(Case kind) : folds_(kind == Case::kFolds) {}

  bool folds() const { return folds_; }
  // `room` holds the key where it is not the name itself.
  std::string_view key(std::string_view name, std::string& room) const {
    if (!folds_ || std::ranges::none_of(name, is_upper)) return name;
    room = name;
    std::ranges::transform(room, room.begin(), lower);
    return room;
  }
  std::string key(std::string_view name) const {
    std::string room;
    return std::string(key(name, room));
  }
  bool same(std::string_view a, std::string_view b) const {
    return folds_ ? std::ranges::equal(a, b, {}, lower, lower) : a == b;
  }
  // Each spelling of it that the share takes for the same has the same key.
  bool is_sure(std::string_view name) const {
    return !folds_ ||
           std::ranges::all_of(name, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  }

 private:
  static bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
  static char lower(char c) { return is_upper(c) ? static_cast<char>(c + ('a' - 'A')) : c; }

  const bool folds_;
};

}  // namespace larder
