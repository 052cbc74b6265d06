// SPDX-License-Identifier: Apache-2.0
#include "io/ring_read.h"

#include <algorithm>
#include <cerrno>

#include "io/transfer.h"

namespace larder {
namespace {

void submit_rest(IoRequest& request) {
  const std::size_t length = std::min(request.length - request.moved, kMaxTransfer);
  current_reactor()->read(request.fd, request.offset + ByteCount{request.moved},
                          {request.data + request.moved, length}, flags_of(request.mode),
                          request.on_ring);
}

void settle(IoRequest& request, int result) {
  const bool again = result == -EINTR || result == -EAGAIN ||
                     (result < 0 && forget_unknown_mode(-result, request.mode));
  if (result > 0) request.moved += static_cast<std::size_t>(result);
  if (again || (result > 0 && request.moved < request.length)) return submit_rest(request);
  if (result > 0) return request.done(request, {});
  request.done(request, fail(ErrorCode::kStoreIo, result == 0 ? EIO : -result));
}

}  // namespace

void read_on_this_ring(IoRequest& request) {
  if (request.length == 0) return request.done(request, {});
  request.on_ring.request = &request;
  request.on_ring.done = [](Completion& self, int result) {
    settle(*static_cast<IoRequest::OnRing&>(self).request, result);
  };
  submit_rest(request);
}

}  // namespace larder
