// SPDX-License-Identifier: Apache-2.0
#include "init_reply.h"

#include <larder/units.h>

#include <algorithm>
#include <cstring>

namespace larder::fuse {

InitOffer read_init(std::span<const std::byte> request) {
  InHeader head{};
  InitIn in{};
  std::memcpy(&head, request.data(), std::min(request.size(), sizeof head));
  if (request.size() > sizeof head)
    std::memcpy(&in, request.data() + sizeof head,
                std::min(request.size() - sizeof head, sizeof in));
  InitOffer offer{head.unique, in.flags};
  if ((in.flags & kInitExtended) != 0) offer.flags |= std::uint64_t{in.flags2} << 32;
  return offer;
}

InitOut amend(std::span<const std::byte> answer, const InitAmendment& amendment) {
  InitOut out{};
  std::memcpy(static_cast<void*>(&out), answer.data(), std::min(answer.size(), sizeof out));
  out.flags |= static_cast<std::uint32_t>(amendment.flags);
  out.flags2 |= static_cast<std::uint32_t>(amendment.flags >> 32);
  if (out.flags2 != 0) out.flags |= static_cast<std::uint32_t>(kInitExtended);
  if (amendment.stack_depth != 0) out.max_stack_depth = amendment.stack_depth;
  if (amendment.max_bytes != 0) {
    out.flags |= static_cast<std::uint32_t>(kMaxPages);
    out.max_write = std::min(out.max_write, amendment.max_bytes);
    out.max_pages = static_cast<std::uint16_t>(amendment.max_bytes / kPageSize);
  }
  return out;
}

}  // namespace larder::fuse
