// SPDX-License-Identifier: Apache-2.0
// BusyFiles: which files are read and written most, of every eighth request.
//
// A fixed number of places; a file that is not among them takes the place of the one with the
// fewest, and its count ("space saving": a file that makes up a large share of all is always
// there). Thread: any.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/mutex.h"

namespace larder {

class BusyFiles {
 public:
  // `path` is only asked for when the file takes a place. `key` stands for the file.
  template <class Path>
  void count(const void* key, std::uint64_t bytes, Path path) {
    if (add(key, bytes)) return;
    put(key, bytes, path());
  }
  // "requests bytes path" lines, the busiest first.
  std::string to_text() const;

 private:
  struct Place {
    const void* key = nullptr;
    std::uint64_t requests = 0, bytes = 0;
    std::string path;
  };
  bool add(const void* key, std::uint64_t bytes);
  void put(const void* key, std::uint64_t bytes, std::string path);

  mutable Mutex mutex_{Rank::kLeaf};
  std::array<Place, 32> places_ GUARDED_BY(mutex_);
};

}  // namespace larder
