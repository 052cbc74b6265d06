// SPDX-License-Identifier: Apache-2.0
#include "bench/readers.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <larder/buffer.h>
#include <larder/clock.h>
#include <larder/fd.h>
#include <larder/reactor.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace larder::bench {
namespace {

double now_s() { return static_cast<double>(system_clock().mono_ns()) / 1e9; }

tl::unexpected<Complaint> failed(const std::string& path, int error) {
  return complain(ErrorCode::kSystem, fmt::format("{}: {}", path, std::strerror(error)), error);
}

// Drawn beforehand: the measured loop holds nothing but reads.
std::vector<off_t> places_of(const OpenFile& file, const RandomRead& how, std::size_t job) {
  std::mt19937_64 random(how.seed * 1000 + job);
  const std::vector<off_t> blocks = file.blocks(how.block);
  std::uniform_int_distribution<std::size_t> number(0, blocks.size() - 1);
  std::vector<off_t> places(1 << 14);
  for (off_t& place : places) place = blocks[number(random)];
  return places;
}

// One of the reads of a deep reader: asks for the next as soon as it is answered.
struct DeepRead : Completion {
  Reactor* reactor = nullptr;
  const std::vector<off_t>* places = nullptr;
  std::uint64_t* started = nullptr;
  std::uint64_t* answered = nullptr;
  int fd = -1;
  int failed_with = 0;
  bool ends = false, out = false;
  AlignedBuffer buffer;

  void start() {
    out = true;
    const off_t place = (*places)[(*started)++ % places->size()];
    reactor->read(fd, ByteOffset{static_cast<std::uint64_t>(place)}, buffer.span(), 0, *this);
  }
};

SetUp<double> random_job(const OpenFile& file, const RandomRead& how, std::size_t job) {
  if (file.size() < how.block) return complain(ErrorCode::kInvalid, file.path() + " is too small");
  const std::vector<off_t> places = places_of(file, how, job);
  AlignedBuffer buffer(how.block);
  const double start = now_s();
  double passed = 0;
  std::uint64_t reads = 0;
  do {
    for (int i = 0; i < 64; ++i) {
      const off_t place = places[reads++ % places.size()];
      if (::pread(file.fd(job), buffer.data(), how.block, place) !=
          static_cast<ssize_t>(how.block)) {
        return failed(file.path(), errno);
      }
    }
    passed = now_s() - start;
  } while (passed < how.seconds);
  return static_cast<double>(reads) / passed;
}

}  // namespace

SetUp<OpenFile> OpenFile::open(const std::string& path, unsigned jobs, Past past) {
  const int flags = O_RDONLY | O_CLOEXEC | (past == Past::kPageCache ? O_DIRECT : 0);
  OpenFile file;
  file.path_ = path;
  for (unsigned job = 0; job < jobs; ++job) {
    file.fds_.emplace_back(::open(path.c_str(), flags));
    struct stat info {};
    if (!file.fds_.back().valid() || ::fstat(file.fd(job), &info) != 0) return failed(path, errno);
    file.size_ = static_cast<std::uint64_t>(info.st_size);
  }
  return file;
}

SetUp<std::monostate> OpenFile::skip_zeros(std::size_t block) {
  AlignedBuffer buffer(1 << 20);
  written_.clear();
  for (std::uint64_t at = 0; at < size_; at += buffer.size()) {
    const ssize_t got = ::pread(fd(0), buffer.data(), buffer.size(), static_cast<off_t>(at));
    if (got < 0) return failed(path_, errno);
    const auto bytes = buffer.span().first(static_cast<std::size_t>(got));
    for (std::size_t in = 0; in + block <= bytes.size(); in += block) {
      if (std::ranges::any_of(bytes.subspan(in, block),
                              [](std::byte b) { return b != std::byte{}; }))
        written_.push_back(static_cast<off_t>(at + in));
    }
  }
  if (written_.empty()) return complain(ErrorCode::kInvalid, path_ + " holds nothing");
  return std::monostate{};
}

std::vector<off_t> OpenFile::blocks(std::size_t block) const {
  if (!written_.empty()) return written_;
  std::vector<off_t> all(size_ / block);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<off_t>(i * block);
  return all;
}

SetUp<double> read_sequential(const OpenFile& file, std::size_t block, double seconds) {
  std::vector<char> buffer(block);
  const double start = now_s();
  double passed = 0;
  std::uint64_t bytes = 0;
  do {
    for (std::uint64_t at = 0; at < file.size();) {
      const ssize_t got = ::pread(file.fd(0), buffer.data(), block, static_cast<off_t>(at));
      if (got <= 0) return failed(file.path(), got < 0 ? errno : EIO);
      at += static_cast<std::uint64_t>(got);
      bytes += static_cast<std::uint64_t>(got);
    }
    passed = now_s() - start;
  } while (passed < seconds);
  return static_cast<double>(bytes) / passed;
}

SetUp<double> read_random(const OpenFile& file, const RandomRead& how) {
  std::vector<SetUp<double>> rates(file.jobs(), SetUp<double>(0.0));
  {
    std::vector<std::jthread> jobs;
    for (std::size_t job = 0; job < file.jobs(); ++job) {
      jobs.emplace_back([&, job] { rates[job] = random_job(file, how, job); });
    }
  }
  double sum = 0;
  for (SetUp<double>& rate : rates) {
    TRY(const double one, std::move(rate));
    sum += one;
  }
  return sum;
}

SetUp<double> read_random_deep(const OpenFile& file, const RandomRead& how, unsigned depth) {
  if (file.size() < how.block) return complain(ErrorCode::kInvalid, file.path() + " is too small");
  const std::vector<off_t> places = places_of(file, how, 0);
  TRY(const std::unique_ptr<Reactor> reactor, open_reactor({.entries = 64, .completions = 256}));
  if (const Status begun = reactor->begin(); !begun)
    return complain(begun.error().code, "io_uring: " + to_text(begun.error()));
  std::uint64_t started = 0, answered = 0;
  std::vector<DeepRead> reads(depth);
  for (DeepRead& read : reads) {
    read.reactor = reactor.get();
    read.places = &places;
    read.started = &started;
    read.answered = &answered;
    read.fd = file.fd(0);
    read.buffer = AlignedBuffer(how.block);
    read.done = [](Completion& self, int result) {
      DeepRead& whose = static_cast<DeepRead&>(self);
      whose.out = false;
      ++*whose.answered;
      if (result != static_cast<int>(whose.buffer.size()))
        whose.failed_with = result < 0 ? -result : EIO;
      if (!whose.ends && whose.failed_with == 0) whose.start();
    };
  }
  const double start = now_s();
  double passed = 0;
  for (DeepRead& read : reads) read.start();
  while (passed < how.seconds) {
    reactor->turn();
    passed = now_s() - start;
  }
  const double rate = static_cast<double>(answered) / passed;
  for (DeepRead& read : reads) read.ends = true;
  const auto is_out = [](const DeepRead& read) { return read.out; };
  while (std::any_of(reads.begin(), reads.end(), is_out)) reactor->turn();
  for (const DeepRead& read : reads)
    if (read.failed_with != 0) return failed(file.path(), read.failed_with);
  return rate;
}

SetUp<std::monostate> write_noise(const std::string& path, ByteCount bytes, std::uint64_t seed) {
  const Fd fd{::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)};
  if (!fd.valid()) return failed(path, errno);
  std::mt19937_64 random(seed);
  std::vector<std::uint64_t> block(128 << 10);  // 1 MiB
  for (std::uint64_t left = bytes.value(); left > 0;) {
    for (std::uint64_t& word : block) word = random();
    const std::size_t part = std::min<std::uint64_t>(left, block.size() * sizeof block[0]);
    const ssize_t wrote = ::write(fd.get(), block.data(), part);
    if (wrote <= 0) return failed(path, errno);
    left -= static_cast<std::uint64_t>(wrote);
  }
  timespec hour_ago{::time(nullptr) - 3600, 0};
  const timespec times[2] = {hour_ago, hour_ago};
  if (::fsync(fd.get()) != 0 || ::futimens(fd.get(), times) != 0) return failed(path, errno);
  return std::monostate{};
}

SetUp<std::monostate> compare_files(const std::string& a, const std::string& b) {
  TRY(const OpenFile one, OpenFile::open(a));
  TRY(const OpenFile other, OpenFile::open(b));
  bool same = one.size() == other.size();
  std::vector<char> left(1 << 20), right(1 << 20);
  for (std::uint64_t at = 0; same && at < one.size(); at += left.size()) {
    const std::size_t part = std::min<std::uint64_t>(left.size(), one.size() - at);
    const auto want = static_cast<ssize_t>(part);
    if (::pread(one.fd(0), left.data(), part, static_cast<off_t>(at)) != want)
      return failed(a, EIO);
    if (::pread(other.fd(0), right.data(), part, static_cast<off_t>(at)) != want)
      return failed(b, EIO);
    same = std::memcmp(left.data(), right.data(), part) == 0;
  }
  if (!same) return complain(ErrorCode::kInvalid, fmt::format("{} and {} differ", a, b));
  return std::monostate{};
}

}  // namespace larder::bench
