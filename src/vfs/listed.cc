// SPDX-License-Identifier: Apache-2.0
#include "vfs/listed.h"

#include <absl/container/flat_hash_map.h>

#include <numeric>
#include <string_view>
#include <utility>

namespace larder {
namespace {

constexpr std::uint64_t kNoPlace = 0;

void sort_by_place(Listed& listed) {
  if (std::ranges::is_sorted(listed.places)) return;
  std::vector<std::size_t> order(listed.places.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) { return listed.places[i]; });
  std::vector<Dirent> entries;
  std::vector<std::uint64_t> places;
  entries.reserve(order.size());
  places.reserve(order.size());
  for (const std::size_t i : order) {
    entries.push_back(std::move(listed.entries[i]));
    places.push_back(listed.places[i]);
  }
  listed.entries = std::move(entries);
  listed.places = std::move(places);
}

}  // namespace

ListedRef Places::number(std::vector<Dirent> entries, Nanoseconds asked_mono_ns) {
  auto listed = std::make_shared<Listed>();
  listed->entries = std::move(entries);
  listed->places.assign(listed->entries.size(), kNoPlace);
  listed->number = ++last_number_;
  listed->asked_mono_ns = asked_mono_ns;
  if (const ListedRef before = last_.lock()) keep_places(*listed, *before);
  give_places(*listed);
  last_ = listed;
  return listed;
}

void Places::keep_places(Listed& listed, const Listed& before) const {
  absl::flat_hash_map<std::string_view, std::uint64_t> known;
  known.reserve(before.entries.size());
  for (std::size_t i = 0; i < before.entries.size(); ++i)
    known.emplace(before.entries[i].name, before.places[i]);
  for (std::size_t i = 0; i < listed.entries.size(); ++i) {
    const auto found = known.find(listed.entries[i].name);
    if (found == known.end()) continue;
    listed.places[i] = found->second;
    known.erase(found);  // a share that lists a name twice does not get one place for both
  }
}

void Places::give_places(Listed& listed) {
  for (std::uint64_t& place : listed.places)
    if (place == kNoPlace) place = ++last_place_;
  sort_by_place(listed);
}

KernelListing::Offer KernelListing::open(const Listed* known, Nanoseconds now_mono_ns) {
  const bool right =
      known != nullptr && number_ == known->number && now_mono_ns < names_until_mono_ns_;
  if (right) {
    ++handles_;
    return {.keeps = true, .fills = true};
  }
  // Another copy is in the making, or being read: it is left alone.
  if (handles_ != 0) return {.keeps = true, .fills = false};
  handles_ = 1;
  number_ = 0;
  names_until_mono_ns_ = kAlways;
  return {.keeps = false, .fills = true};
}

}  // namespace larder
