// SPDX-License-Identifier: Apache-2.0
#include "bench/no_data.h"

#include <cstring>

#include "bench/store_rig.h"

namespace larder::bench {

NoData::NoData(std::unique_ptr<IoEngine> real, ByteOffset from)
    : real_(std::move(real)), from_(from.value()) {}

std::span<const std::byte> NoData::page() {
  static const AlignedBuffer bytes = [] {
    AlignedBuffer made(4096);
    paint(made.span(), 0x6c61'7264'6572);
    return made;
  }();
  return bytes.span();
}

// A write of such pages is one of data.
void NoData::submit(IoRequest& request) {
  const bool data = request.kind == IoRequest::Kind::kWrite && request.length >= page().size() &&
                    std::memcmp(request.data, page().data(), 64) == 0;
  if (!data) return real_->submit(request);
  std::uint64_t first = from_.load();
  while (request.offset.value() < first &&
         !from_.compare_exchange_weak(first, request.offset.value())) {
  }
  request.done(request, {});
}

Status NoData::read_now(int fd, ByteOffset offset, std::span<std::byte> into, ReadMode mode) {
  if (offset.value() < from_.load()) return real_->read_now(fd, offset, into, mode);
  for (std::size_t at = 0; at < into.size(); at += page().size())
    std::memcpy(into.data() + at, page().data(), page().size());
  return {};
}

}  // namespace larder::bench
