// SPDX-License-Identifier: Apache-2.0
#include <larder/buffer.h>
#include <larder/result.h>
#include <larder/units.h>
#include <sys/mman.h>

#include <utility>

namespace larder {

AlignedBuffer::AlignedBuffer(std::size_t size)
    : size_((size + kPageSize - 1) / kPageSize * kPageSize) {
  void* memory = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  check(memory != MAP_FAILED, "memory for a buffer can be mapped");
  data_ = static_cast<std::byte*>(memory);
}

AlignedBuffer::AlignedBuffer(AlignedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

AlignedBuffer& AlignedBuffer::operator=(AlignedBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

AlignedBuffer::~AlignedBuffer() {
  if (data_) ::munmap(data_, size_);
}

}  // namespace larder
