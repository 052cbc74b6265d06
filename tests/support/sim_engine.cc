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

SimEngine::SimEngine(SimImage image)
    : medium_(std::make_shared<const SimImage>(image)), seen_(std::move(image)) {}

int SimEngine::fault_of_operation() {
  ++operations_;
  if (stop_at_ && operations_ >= *stop_at_) return EIO;
  if (operation_fault_ && operations_ == operation_fault_->at) return operation_fault_->sys_errno;
  return 0;
}

void SimEngine::submit(IoRequest& request) {
  if (request.kind == IoRequest::Kind::kRead) {
    if (delay_every_ == 0) return perform_read(request);
    held_.push_back(&request);
    return;
  }
  if (request.kind == IoRequest::Kind::kWrite && hold_from_ && request.offset >= *hold_from_) {
    held_.push_back(&request);
    return;
  }
  if (request.kind == IoRequest::Kind::kWriteback) return request.done(request, {});
  perform(request);
}

void SimEngine::perform_read(IoRequest& request) {
  request.done(request, read_now(request.fd, request.offset, {request.data, request.length}));
}

void SimEngine::perform(IoRequest& request) {
  if (request.kind == IoRequest::Kind::kRead) return perform_read(request);
  const int fault = fault_of_operation();
  if (fault != 0) {
    request.done(request, fail(ErrorCode::kStoreIo, fault));
    return;
  }
  if (request.kind == IoRequest::Kind::kFlush) {
    flush();
    if (on_operation) on_operation();
    request.done(request, {});
    return;
  }
  ++writes_;
  std::uint64_t at = request.offset.value();
  if (at + request.length > seen_.size().value()) {
    request.done(request, fail(ErrorCode::kStoreIo, ENOSPC));
    return;
  }
  if (writes_ == misdirect_at_) at += static_cast<std::uint64_t>(misdirect_by_);
  std::span<const std::byte> data{request.data, request.length};
  Status status;
  if (write_fault_ && writes_ == write_fault_->at) {
    data = data.first(std::min(data.size(), write_fault_->sectors * kSector));
    status = fail(ErrorCode::kStoreIo, write_fault_->sys_errno);
  }
  if (at + data.size() <= seen_.size().value()) write(ByteOffset{at}, data);
  if (on_operation) on_operation();
  request.done(request, status);
}

void SimEngine::write(ByteOffset at, std::span<const std::byte> data) {
  seen_.write(at, data);
  unflushed_.push_back(std::make_shared<const SimWrite>(SimWrite{at, {data.begin(), data.end()}}));
  log_.push_back({at, data.size()});
}

void SimEngine::flush() {
  ++flushes_;
  if (unflushed_.empty()) return;
  auto medium = std::make_shared<SimImage>(*medium_);
  for (const auto& one : unflushed_) medium->write(one->at, one->data);
  medium_ = std::move(medium);
  unflushed_.clear();
}

Status SimEngine::read_now(int, ByteOffset offset, std::span<std::byte> into, ReadMode) {
  if (before_read) before_read(offset);
  ++reads_;
  if (offset.value() + into.size() > seen_.size().value()) return fail(ErrorCode::kStoreIo, EIO);
  const Area& bad = bad_area_;
  if (offset < bad.at + bad.bytes && bad.at < offset + ByteCount{into.size()})
    return fail(ErrorCode::kStoreIo, EIO);
  if (read_fault_ && reads_ == read_fault_->at) {
    seen_.read(offset, into.first(std::min(into.size(), read_fault_->sectors * kSector)));
    return fail(ErrorCode::kStoreIo, read_fault_->sys_errno);
  }
  seen_.read(offset, into);
  return {};
}

Result<bool> SimEngine::read_at_once(int fd, ByteOffset offset, std::span<std::byte> into,
                                     ReadMode mode) {
  if (delay_every_ != 0 && at_once_++ % delay_every_ == 0) return false;
  TRY_OK(read_now(fd, offset, into, mode));
  return true;
}

SimImage SimMoment::crash(Random& random) const {
  SimImage image = *medium;
  for (const auto& one : unflushed) {
    const std::uint64_t fate = random.below(3);
    if (fate == 0) continue;
    if (fate == 1) {
      image.write(one->at, one->data);
      continue;
    }
    for (std::size_t at = 0; at < one->data.size(); at += kSector) {
      const std::size_t part = std::min(kSector, one->data.size() - at);
      if (random.one_in(2))
        image.write(one->at + ByteCount{at}, std::span(one->data).subspan(at, part));
    }
  }
  return image;
}

void SimEngine::fail_operation(std::uint64_t n, int sys_errno) {
  operation_fault_ = {operations_ + n, sys_errno};
}
void SimEngine::stop_at(std::uint64_t n) { stop_at_ = operations_ + n; }
void SimEngine::fail_read(std::uint64_t n, int sys_errno) { read_fault_ = {reads_ + n, sys_errno}; }
void SimEngine::short_read(std::uint64_t n, std::size_t sectors) {
  read_fault_ = {reads_ + n, EIO, sectors};
}
void SimEngine::short_write(std::uint64_t n, std::size_t sectors, int sys_errno) {
  write_fault_ = {writes_ + n, sys_errno, sectors};
}
void SimEngine::misdirect(std::uint64_t n, std::int64_t by) {
  misdirect_at_ = writes_ + n;
  misdirect_by_ = by;
}

bool SimEngine::release(std::size_t which) {
  if (held_.empty()) return false;
  const auto at = held_.begin() + static_cast<std::ptrdiff_t>(which % held_.size());
  IoRequest* request = *at;
  held_.erase(at);
  perform(*request);
  return true;
}

void SimEngine::release_all() {
  hold_from_.reset();
  while (release_one()) {
  }
}

}  // namespace larder::test
