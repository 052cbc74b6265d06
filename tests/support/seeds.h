// SPDX-License-Identifier: Apache-2.0
// Which seeds a model is run with: LARDER_SEED=7 is one, LARDER_SEED=7-99 many, LARDER_LONG=1 more
// than by default.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace larder::test {

struct Seeds {
  std::uint64_t first = 1, last = 1;
};
inline Seeds chosen_seeds(Seeds by_default, Seeds in_long) {
  const char* chosen = std::getenv("LARDER_SEED");
  if (chosen == nullptr) return std::getenv("LARDER_LONG") != nullptr ? in_long : by_default;
  char* end = nullptr;
  const std::uint64_t first = std::strtoull(chosen, &end, 0);
  return {first, *end == '-' ? std::strtoull(end + 1, nullptr, 0) : first};
}

// What a variable chooses among several; all where it is not set.
inline bool is_chosen(const char* variable, std::string_view text) {
  const char* chosen = std::getenv(variable);
  return chosen == nullptr || text == chosen;
}

}  // namespace larder::test
