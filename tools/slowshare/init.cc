// SPDX-License-Identifier: Apache-2.0
#include "slowshare/init.h"

#include <fcntl.h>
#include <larder/fd.h>
#include <linux/fuse.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace larder::slowshare {
namespace {

using Message = std::array<char, 4096>;

// Adds the flag to an answer to INIT that went well.
void allow_parallel_lookups(Message& message, std::size_t size) {
  fuse_out_header header;
  fuse_init_out init;
  if (size < sizeof header + offsetof(fuse_init_out, max_background)) return;
  std::memcpy(&header, message.data(), sizeof header);
  if (header.error != 0) return;
  const std::size_t flags_at = sizeof header + offsetof(fuse_init_out, flags);
  std::memcpy(&init.flags, message.data() + flags_at, sizeof init.flags);
  init.flags |= FUSE_PARALLEL_DIROPS;
  std::memcpy(message.data() + flags_at, &init.flags, sizeof init.flags);
}

}  // namespace

Status answer_init(fuse_session* session) {
  struct Buffer : fuse_buf {
    Buffer() : fuse_buf{} {}
    ~Buffer() { std::free(mem); }
  } request;
  int size = 0;
  do {
    size = fuse_session_receive_buf(session, &request);
  } while (size == -EINTR);
  if (size <= 0) return fail(ErrorCode::kSystem, size < 0 ? -size : ENODEV);

  const int place = fuse_session_fd(session);
  const Fd device{fcntl(place, F_DUPFD_CLOEXEC, 3)};
  std::array<int, 2> pair = {-1, -1};
  if (!device.valid() || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return fail(ErrorCode::kSystem, errno);
  }
  const Fd answers{pair[0]};
  const Fd ours{pair[1]};
  if (dup3(answers.get(), place, O_CLOEXEC) < 0) return fail(ErrorCode::kSystem, errno);
  fuse_session_process_buf(session, &request);
  if (dup3(device.get(), place, O_CLOEXEC) < 0) return fail(ErrorCode::kSystem, errno);

  Message message;
  const ssize_t answered = recv(ours.get(), message.data(), message.size(), MSG_DONTWAIT);
  if (answered <= 0) return fail(ErrorCode::kSystem, EPROTO);
  allow_parallel_lookups(message, static_cast<std::size_t>(answered));
  if (write(device.get(), message.data(), static_cast<std::size_t>(answered)) != answered) {
    return fail(ErrorCode::kSystem, errno);
  }
  return {};
}

}  // namespace larder::slowshare
