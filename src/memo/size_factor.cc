// SPDX-License-Identifier: Apache-2.0
#include "memo/size_factor.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <limits>

namespace larder::memo {
namespace {

double from_environment() {
  const char* text = std::getenv("LARDER_CACHE_FACTOR");
  if (text == nullptr) return 1;
  char* end = nullptr;
  const double factor = std::strtod(text, &end);
  return end != text && *end == '\0' && factor >= 0 ? factor : 1;
}

std::atomic<double>& factor_now() {
  static std::atomic<double> factor{from_environment()};
  return factor;
}

}  // namespace

void set_size_factor(double factor) { factor_now().store(std::max(factor, 0.0)); }
double size_factor() { return factor_now().load(); }

std::size_t scaled(std::size_t capacity) {
  const double size = static_cast<double>(capacity) * size_factor();
  constexpr auto kMost = std::numeric_limits<std::size_t>::max() / 2;
  return size >= static_cast<double>(kMost) ? kMost : static_cast<std::size_t>(size);
}

}  // namespace larder::memo
