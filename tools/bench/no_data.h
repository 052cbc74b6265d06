// SPDX-License-Identifier: Apache-2.0
// NoData: an engine that keeps a store's metadata and forgets its pages, for stores that are larger
// than any disk. Every page that is filled through it holds the same bytes, so a read can be
// answered, and its sums checked, without them.
// Thread: any.
#pragma once

#include <larder/buffer.h>
#include <larder/io_engine.h>

#include <atomic>
#include <memory>

namespace larder::bench {

class NoData final : public IoEngine {
 public:
  // `from`: where the data area begins, where that is known already.
  explicit NoData(std::unique_ptr<IoEngine> real, ByteOffset from = ByteOffset{~std::uint64_t{0}});

  // What every page must hold.
  static std::span<const std::byte> page();

  void submit(IoRequest& request) override;
  Status read_now(int fd, ByteOffset offset, std::span<std::byte> into, ReadMode mode) override;
  std::string name() const override { return "no data"; }
  ByteOffset from() const { return ByteOffset{from_.load()}; }  // where the first page went

 private:
  std::unique_ptr<IoEngine> real_;
  std::atomic<std::uint64_t> from_;
};

}  // namespace larder::bench
