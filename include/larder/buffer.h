// SPDX-License-Identifier: Apache-2.0
// AlignedBuffer: page-aligned memory straight from the kernel, untouched until used.
//
// Untouched pages cost no memory, so a buffer may be as large as the largest request. Movable,
// freed at the end of its life; who holds it while a call may still write to it is the caller's
// promise (an abandoned call of a share keeps its buffer alive through a
// shared_ptr<AlignedBuffer>).
#pragma once

#include <cstddef>
#include <span>

namespace larder {

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // `size` is rounded up to whole pages. Stops the program where memory cannot be mapped.
  explicit AlignedBuffer(std::size_t size);
  AlignedBuffer(AlignedBuffer&& other) noexcept;
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept;
  ~AlignedBuffer();

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::span<std::byte> span() { return {data_, size_}; }
  std::span<const std::byte> span() const { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace larder
