// SPDX-License-Identifier: Apache-2.0
#include "base/random.h"

namespace larder {

Seed fresh_if_zero(Seed seed) {
  if (seed.value != 0) return seed;
  std::random_device device;
  const std::uint64_t high = device();
  return Seed{(high << 32 | device()) | 1};
}

}  // namespace larder
