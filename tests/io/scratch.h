// SPDX-License-Identifier: Apache-2.0
// What the tests of src/io share: a file that leaves nothing behind, the seed of the run, and a
// count that a test waits on.
#pragma once

#include <larder/clock.h>
#include <larder/fd.h>
#include <stdlib.h>
#include <unistd.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>

#include "base/random.h"
#include "support/catch.h"

namespace larder::test {

inline Fd scratch_file() {
  std::string path = "/tmp/larder-io-XXXXXX";
  Fd file(::mkstemp(path.data()));
  REQUIRE(file.valid());
  ::unlink(path.c_str());
  return file;
}

inline Seed seed_of_run() {
  const char* text = std::getenv("LARDER_SEED");
  return fresh_if_zero(Seed{text == nullptr ? 0 : std::strtoull(text, nullptr, 0)});
}

// The byte of the file's position `at` in its version `version`.
inline std::byte pattern(std::uint64_t at, std::uint64_t version) {
  return static_cast<std::byte>((at * 31 + (at >> 12) * 7 + version * 131) & 0xff);
}

class Tally {
 public:
  void add() {
    const std::lock_guard lock(mutex_);
    ++count_;
    changed_.notify_all();
  }
  void wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ >= count; });
  }
  std::size_t count() {
    const std::lock_guard lock(mutex_);
    return count_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t count_ = 0;
};

}  // namespace larder::test
