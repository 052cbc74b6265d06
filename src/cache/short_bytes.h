// SPDX-License-Identifier: Apache-2.0
// ShortBytes: up to 255 bytes behind one pointer: a key or aux data. Nothing is allocated for none.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include <larder/result.h>

namespace larder::cache {

class ShortBytes {
 public:
  static constexpr std::size_t kMost = 255;

  ShortBytes() = default;
  // REQUIRES: bytes.size() <= kMost
  explicit ShortBytes(std::span<const std::byte> bytes) {
    check(bytes.size() <= kMost, "a key or aux data of at most 255 bytes");
    if (bytes.empty()) return;
    block_ = std::make_unique_for_overwrite<std::byte[]>(bytes.size() + 1);
    block_[0] = static_cast<std::byte>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), block_.get() + 1);
  }

  std::span<const std::byte> bytes() const {
    if (!block_) return {};
    return {block_.get() + 1, std::to_integer<std::size_t>(block_[0])};
  }
  std::string_view view() const {
    return {reinterpret_cast<const char*>(bytes().data()), bytes().size()};
  }

 private:
  std::unique_ptr<std::byte[]> block_;  // the length, then the bytes
};

}  // namespace larder::cache
