// SPDX-License-Identifier: Apache-2.0
#include "bench/readers.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <larder/clock.h>
#include <larder/fd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

namespace larder::bench {
namespace {

double now_s() { return static_cast<double>(system_clock().mono_ns()) / 1e9; }

tl::unexpected<Complaint> failed(const std::string& path, int error) {
  return complain(ErrorCode::kSystem, fmt::format("{}: {}", path, std::strerror(error)), error);
}

SetUp<double> random_job(const OpenFile& file, const RandomRead& how, std::size_t job) {
  if (file.size() < how.block) return complain(ErrorCode::kInvalid, file.path() + " is too small");
  // Drawn beforehand: the measured loop holds nothing but reads.
  std::mt19937_64 random(how.seed * 1000 + job);
  std::uniform_int_distribution<std::uint64_t> block(0, file.size() / how.block - 1);
  std::vector<off_t> places(1 << 14);
  for (off_t& place : places) place = static_cast<off_t>(block(random) * how.block);

  std::vector<char> buffer(how.block);
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

SetUp<OpenFile> OpenFile::open(const std::string& path, unsigned jobs) {
  OpenFile file;
  file.path_ = path;
  for (unsigned job = 0; job < jobs; ++job) {
    file.fds_.emplace_back(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat info {};
    if (!file.fds_.back().valid() || ::fstat(file.fd(job), &info) != 0) return failed(path, errno);
    file.size_ = static_cast<std::uint64_t>(info.st_size);
  }
  return file;
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
