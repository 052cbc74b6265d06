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

#include "cache/pool.h"

namespace larder::cache {

class ShortBytes {
 public:
  static constexpr std::size_t kMost = 255;

  ShortBytes() = default;
  // REQUIRES: bytes.size() <= kMost
  explicit ShortBytes(std::span<const std::byte> bytes) {
    check(bytes.size() <= kMost, "a key or aux data of at most 255 bytes");
    if (bytes.empty()) return;
    block_.reset(take(bytes.size() + 1));
    block_[0] = static_cast<std::byte>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), block_.get() + 1);
  }

  std::span<const std::byte> bytes() const {
    if (!block_) return {};
    return {block_.get() + 1, std::to_integer<std::size_t>(block_[0])};
  }
  // Never null, also where it is empty: who formats it hands it to memcpy.
  std::string_view view() const {
    if (!block_) return "";
    return {reinterpret_cast<const char*>(bytes().data()), bytes().size()};
  }

 private:
  // The usual lengths have pools of their own sizes: an allocator's header and rounding would cost
  // as much as a key.
  struct GiveBack {
    void operator()(std::byte* block) const {
      const std::size_t size = std::to_integer<std::size_t>(block[0]) + 1;
      if (size <= 16) return SmallBlocks<16>::give(block);
      if (size <= 24) return SmallBlocks<24>::give(block);
      if (size <= 32) return SmallBlocks<32>::give(block);
      if (size <= 48) return SmallBlocks<48>::give(block);
      delete[] block;
    }
  };
  static std::byte* take(std::size_t size) {
    if (size <= 16) return SmallBlocks<16>::take();
    if (size <= 24) return SmallBlocks<24>::take();
    if (size <= 32) return SmallBlocks<32>::take();
    if (size <= 48) return SmallBlocks<48>::take();
    return new std::byte[size];
  }
  std::unique_ptr<std::byte[], GiveBack> block_;  // the length, then the bytes
};

}  // namespace larder::cache
