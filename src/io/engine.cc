// SPDX-License-Identifier: Apache-2.0
// Which engine a mount gets, and the two calls that wait for one.
#include <fmt/format.h>
#include <larder/io_engine.h>

#include "base/mutex.h"
#include "io/thread_engine.h"
#include "io/uring_engine.h"

namespace larder {
namespace {

// A request whose submitter sleeps until it is done.
struct Waited : IoRequest {
  Status wait_in(IoEngine& engine) {
    done = [](IoRequest& self, Status answer) {
      Waited& waited = static_cast<Waited&>(self);
      const MutexLock lock(waited.mutex);
      waited.status = answer;
      waited.told = true;
      waited.changed.notify_one();
    };
    engine.submit(*this);
    const MutexLock lock(mutex);
    while (!told) changed.wait(mutex);
    return status;
  }

  Mutex mutex{Rank::kLeaf};
  CondVar changed;
  bool told GUARDED_BY(mutex) = false;
  Status status GUARDED_BY(mutex);
};

OpenedEngine thread_engine(const EngineOptions& options, std::string reason) {
  return {std::make_unique<ThreadEngine>(ThreadEngineOptions{.threads = options.threads}),
          std::move(reason)};
}

}  // namespace

Result<bool> IoEngine::read_at_once(int fd, ByteOffset offset, std::span<std::byte> into,
                                    ReadMode mode) {
  TRY_OK(read_now(fd, offset, into, mode));
  return true;
}

Status write_and_wait(IoEngine& engine, int fd, ByteOffset offset,
                      std::span<const std::byte> data) {
  Waited request;
  request.kind = IoRequest::Kind::kWrite;
  request.fd = fd;
  request.offset = offset;
  request.data = const_cast<std::byte*>(data.data());  // a write only reads it
  request.length = data.size();
  return request.wait_in(engine);
}

Status flush_and_wait(IoEngine& engine, int fd) {
  Waited request;
  request.kind = IoRequest::Kind::kFlush;
  request.fd = fd;
  return request.wait_in(engine);
}

SetUp<OpenedEngine> open_engine(const EngineOptions& options) {
  if (options.depth == 0 || options.threads == 0) {
    return complain(ErrorCode::kInvalid,
                    "the engine needs a depth and a number of threads above 0");
  }
  if (options.choice == EngineChoice::kThreads) {
    return thread_engine(options, fmt::format("threads: {}, as asked", options.threads));
  }
  auto uring = UringEngine::open({.depth = options.depth});
  if (uring) {
    return OpenedEngine{std::move(*uring), fmt::format("io_uring: {} entries", options.depth)};
  }
  if (options.choice == EngineChoice::kUring) {
    return complain(uring.error().error.code, "engine=uring: " + uring.error().line,
                    uring.error().error.sys_errno);
  }
  return thread_engine(options, "threads: " + uring.error().line);
}

}  // namespace larder
