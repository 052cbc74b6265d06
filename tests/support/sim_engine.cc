// SPDX-License-Identifier: Apache-2.0
#include "support/sim_engine.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace larder::test {

namespace {
constexpr std::size_t kSector = 512;
}

SimImage::SimImage(ByteCount size) : blocks_(size.value() / kBlockSize) {}

void SimImage::read(ByteOffset at, std::span<std::byte> into) const {
  std::uint64_t offset = at.value();
  while (!into.empty()) {
    const std::uint64_t skip = offset % kBlockSize;
    const std::size_t part = std::min<std::size_t>(kBlockSize - skip, into.size());
    const auto& block = blocks_.at(offset / kBlockSize);
    if (block) {
      std::memcpy(into.data(), block->data() + skip, part);
    } else {
      std::memset(into.data(), 0, part);
    }
    into = into.subspan(part);
    offset += part;
  }
}

void SimImage::write(ByteOffset at, std::span<const std::byte> data) {
  std::uint64_t offset = at.value();
  while (!data.empty()) {
    const std::uint64_t skip = offset % kBlockSize;
    const std::size_t part = std::min<std::size_t>(kBlockSize - skip, data.size());
    auto& block = blocks_.at(offset / kBlockSize);
    auto changed = block ? std::make_shared<Block>(*block) : std::make_shared<Block>();
    std::memcpy(changed->data() + skip, data.data(), part);
    block = std::move(changed);
    data = data.subspan(part);
    offset += part;
  }
}

void SimImage::flip_bit(ByteOffset at, unsigned bit) {
  std::array<std::byte, 1> byte{};
  read(at, byte);
  byte[0] ^= std::byte{1} << (bit % 8);
  write(at, byte);
}

SimEngine::SimEngine(SimImage image) : medium_(image), seen_(std::move(image)) {}

int SimEngine::fault_of_operation() {
  ++operations_;
  if (stop_at_ && operations_ >= *stop_at_) return EIO;
  if (operation_fault_ && operations_ == operation_fault_->at) return operation_fault_->sys_errno;
  return 0;
}

void SimEngine::submit(IoRequest& request) {
  if (request.kind == IoRequest::Kind::kRead) {
    request.done(request, read_now(request.fd, request.offset, {request.data, request.length}));
    return;
  }
  if (request.kind == IoRequest::Kind::kWrite && hold_from_ && request.offset >= *hold_from_) {
    held_.push_back(&request);
    return;
  }
  perform(request);
}

void SimEngine::perform(IoRequest& request) {
  const int fault = fault_of_operation();
  if (fault != 0) {
    request.done(request, fail(ErrorCode::kStoreIo, fault));
    return;
  }
  if (request.kind == IoRequest::Kind::kFlush) {
    for (const Pending& write : unflushed_) medium_.write(write.at, write.data);
    unflushed_.clear();
    ++flushes_;
    request.done(request, {});
    return;
  }
  ++writes_;
  ByteOffset at = request.offset;
  if (writes_ == misdirect_at_) {
    at = ByteOffset{at.value() + static_cast<std::uint64_t>(misdirect_by_)};
  }
  if (at.value() + request.length > seen_.size().value()) {
    request.done(request, fail(ErrorCode::kStoreIo, ENOSPC));
    return;
  }
  const std::span<const std::byte> data{request.data, request.length};
  seen_.write(at, data);
  unflushed_.push_back({at, {data.begin(), data.end()}});
  log_.push_back({at, data.size()});
  request.done(request, {});
}

Status SimEngine::read_now(int, ByteOffset offset, std::span<std::byte> into, ReadMode) {
  ++reads_;
  if (read_fault_ && reads_ == read_fault_->at)
    return fail(ErrorCode::kStoreIo, read_fault_->sys_errno);
  if (offset.value() + into.size() > seen_.size().value()) return fail(ErrorCode::kStoreIo, EIO);
  seen_.read(offset, into);
  return {};
}

SimImage SimEngine::crash(Random& random) const {
  SimImage image = medium_;
  for (const Pending& write : unflushed_) {
    const std::uint64_t fate = random.below(3);
    if (fate == 0) continue;
    if (fate == 1) {
      image.write(write.at, write.data);
      continue;
    }
    for (std::size_t at = 0; at < write.data.size(); at += kSector) {
      const std::size_t part = std::min(kSector, write.data.size() - at);
      if (random.one_in(2))
        image.write(write.at + ByteCount{at}, std::span(write.data).subspan(at, part));
    }
  }
  return image;
}

void SimEngine::fail_operation(std::uint64_t n, int sys_errno) {
  operation_fault_ = {operations_ + n, sys_errno};
}
void SimEngine::stop_at(std::uint64_t n) { stop_at_ = operations_ + n; }
void SimEngine::fail_read(std::uint64_t n, int sys_errno) { read_fault_ = {reads_ + n, sys_errno}; }
void SimEngine::misdirect(std::uint64_t n, std::int64_t by) {
  misdirect_at_ = writes_ + n;
  misdirect_by_ = by;
}

bool SimEngine::release_one() {
  if (held_.empty()) return false;
  IoRequest* request = held_.front();
  held_.pop_front();
  perform(*request);
  return true;
}

void SimEngine::release_all() {
  hold_from_.reset();
  while (release_one()) {
  }
}

}  // namespace larder::test
