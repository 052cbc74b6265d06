// SPDX-License-Identifier: Apache-2.0
// The size factor: one number scales the capacity of every memo cache (`cache_factor=`, or
// LARDER_CACHE_FACTOR in the environment, which the option overrides).
#pragma once

#include <cstddef>

namespace larder::memo {

// For the caches that are made from now on. REQUIRES: at least 0; 0 keeps nothing.
void set_size_factor(double factor);
double size_factor();
std::size_t scaled(std::size_t capacity);

}  // namespace larder::memo
