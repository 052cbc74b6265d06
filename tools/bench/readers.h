// SPDX-License-Identifier: Apache-2.0
// Readers: plain pread(2) in a loop, without O_DIRECT, as programs read. (With O_DIRECT a
// passthrough would go to the disk, and whatever is compared with it would win for nothing; only
// where both sides are to go to the disk both are opened with it.)
// Thread: any; they start their own.
#pragma once

#include <larder/fd.h>
#include <larder/result.h>
#include <larder/units.h>

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace larder::bench {

// Opened once and read many times, so that a measurement holds reads and nothing else.
class OpenFile {
 public:
  enum class Past { kNothing, kPageCache };
  // `jobs`: descriptors of its own for each.
  static SetUp<OpenFile> open(const std::string& path, unsigned jobs = 1,
                              Past past = Past::kNothing);
  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }
  std::size_t jobs() const { return fds_.size(); }
  int fd(std::size_t job) const { return fds_[job].get(); }
  // Random reads go only to blocks of `block` bytes that hold something: what was never written is
  // no read of the disk. Reads all of the file, past the page cache where it was opened so.
  SetUp<std::monostate> skip_zeros(std::size_t block);
  // Where the blocks of that size begin that random reads go to.
  std::vector<off_t> blocks(std::size_t block) const;

 private:
  std::string path_;
  std::uint64_t size_ = 0;
  std::vector<off_t> written_;  // empty: all
  std::vector<Fd> fds_;
};

// Bytes per second over whole passes of `block` bytes, for at least `seconds`.
SetUp<double> read_sequential(const OpenFile& file, std::size_t block, double seconds);

struct RandomRead {
  std::size_t block = 4096;
  double seconds = 1;
  std::uint64_t seed = 1;  // which places; the same for both sides of a round
};
// Reads per second; each job is a thread with one read at a time.
SetUp<double> read_random(const OpenFile& file, const RandomRead& how);

// The same by one thread that keeps `depth` reads under way, through io_uring.
SetUp<double> read_random_deep(const OpenFile& file, const RandomRead& how, unsigned depth);

// Writes `bytes` of noise with a time stamp of an hour ago: a version so old is never racy.
SetUp<std::monostate> write_noise(const std::string& path, ByteCount bytes, std::uint64_t seed);

// A complaint where the two differ: a fast reader of wrong bytes is worth nothing.
SetUp<std::monostate> compare_files(const std::string& a, const std::string& b);

}  // namespace larder::bench
