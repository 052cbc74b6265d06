// SPDX-License-Identifier: Apache-2.0
#include "vfs/busy_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace larder {

bool BusyFiles::add(const void* key, std::uint64_t bytes) {
  MutexLock lock(mutex_);
  for (Place& place : places_) {
    if (place.key != key) continue;
    ++place.requests;
    place.bytes += bytes;
    return true;
  }
  return false;
}

void BusyFiles::put(const void* key, std::uint64_t bytes, std::string path) {
  MutexLock lock(mutex_);
  Place& least =
      *std::min_element(places_.begin(), places_.end(),
                        [](const Place& a, const Place& b) { return a.requests < b.requests; });
  least.key = key;
  ++least.requests;
  least.bytes += bytes;
  least.path = std::move(path);
}

std::string BusyFiles::to_text() const {
  std::vector<Place> places;
  {
    MutexLock lock(mutex_);
    for (const Place& place : places_)
      if (place.requests != 0) places.push_back(place);
  }
  std::sort(places.begin(), places.end(),
            [](const Place& a, const Place& b) { return a.requests > b.requests; });
  std::string text;
  for (const Place& place : places)
    text += fmt::format("{} {} {}\n", 8 * place.requests, 8 * place.bytes, place.path);
  return text;
}

}  // namespace larder
